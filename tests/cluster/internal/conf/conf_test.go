package conf

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"quartermaster.dev/tests/cluster/internal/address"
	"quartermaster.dev/tests/cluster/internal/layout"
	"quartermaster.dev/tests/cluster/internal/pki"
	"quartermaster.dev/tests/cluster/internal/settings"
)

func example(t *testing.T) (layout.Cluster, settings.Settings) {
	t.Helper()
	t.Setenv("QUARTERMASTER_STATE", t.TempDir())
	c, err := layout.New("demo")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range c.Folders() {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return c, settings.Settings{
		Name: "demo", Block: address.Block{A: 10, B: 213}, BinDir: "/bin-dir",
		Gates: "HPAScaleToZero=true", HPASync: "3s", GPUs: 4,
	}
}

func TestOptionsReachTheComponents(t *testing.T) {
	c, s := example(t)
	tests := []struct {
		component, argument string
		want                bool
	}{
		{APIServer, "--feature-gates=HPAScaleToZero=true", true},
		{ControllerManager, "--feature-gates=HPAScaleToZero=true", true},
		{Scheduler, "--feature-gates=HPAScaleToZero=true", false},
		{ControllerManager, "--horizontal-pod-autoscaler-sync-period=3s", true},
		{Etcd, "--unsafe-no-fsync=true", true},
		{APIServer, "--enable-aggregator-routing=true", true},
		{APIServer, "--authorization-mode=Node,RBAC", true},
	}
	components := Components(c, s)
	for _, test := range tests {
		if got := slices.Contains(components[test.component].Args, test.argument); got != test.want {
			t.Errorf("%s %s: %t", test.component, test.argument, got)
		}
	}
	if labels := strings.Join(components[Kubelet].Args, " "); !strings.Contains(labels, "nvidia.com/gpu.count=4") {
		t.Errorf("the kubelet is not told of the GPUs: %s", labels)
	}
	s.Gates, s.GPUs = "", 0
	for name, component := range Components(c, s) {
		if line := strings.Join(component.Args, " "); strings.Contains(line, "feature-gates") || strings.Contains(line, "nvidia") {
			t.Errorf("%s: %s", name, line)
		}
	}
	for _, name := range Names {
		if components[name].Name != name {
			t.Errorf("there is no %s", name)
		}
	}
}

// Every file that a command line or a file of ours names must be written.
func TestNamedFilesExist(t *testing.T) {
	c, s := example(t)
	if err := pki.Cluster(c.PKI, s.Block, c.NodeName()); err != nil {
		t.Fatal(err)
	}
	if err := Write(c, s); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, component := range Components(c, s) {
		text.WriteString(strings.Join(component.Args, "\n") + "\n")
	}
	written, err := filepath.Glob(c.Conf("*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range written {
		if content, err := os.ReadFile(file); err == nil {
			text.Write(content)
		}
	}
	for _, dir := range []string{c.Conf(""), c.PKI("")} {
		for _, rest := range strings.Split(text.String(), dir+"/")[1:] {
			name := rest[:strings.IndexAny(rest+"\n", "\n\", ")]
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Errorf("%s is named and not written", name)
			}
		}
	}
	for _, file := range []string{"kubelet.json", "kube-proxy.json", "audit-policy.json", "cni/10-quartermaster.conflist"} {
		content, err := os.ReadFile(c.Conf(file))
		if err != nil || !json.Valid(content) {
			t.Errorf("%s is no JSON: %v", file, err)
		}
	}
}

func TestKubeconfigIsTheOwnersOnly(t *testing.T) {
	c, s := example(t)
	if err := pki.Cluster(c.PKI, s.Block, c.NodeName()); err != nil {
		t.Fatal(err)
	}
	if err := WriteAdminKubeconfig(c, s); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(c.Kubeconfig())
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
	text, err := os.ReadFile(c.Kubeconfig())
	if err != nil || !strings.Contains(string(text), "server: https://10.213.0.2:6443\n") {
		t.Errorf("%s, %v", text, err)
	}
}
