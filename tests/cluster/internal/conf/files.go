package conf

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"quartermaster.dev/tests/cluster/internal/layout"
	"quartermaster.dev/tests/cluster/internal/pki"
	"quartermaster.dev/tests/cluster/internal/settings"
)

// object is a piece of JSON.
type object = map[string]any

// Write writes every configuration file. The certificates must exist.
func Write(c layout.Cluster, s settings.Settings) error {
	failed := []error{
		writeJSON(c.Conf("audit-policy.json"), auditPolicy()),
		writeJSON(c.Conf("kubelet.json"), kubelet(c, s)),
		writeJSON(c.Conf("kube-proxy.json"), proxy(c, s)),
		os.WriteFile(c.Conf("containerd.toml"), containerd(c), 0o600),
		os.WriteFile(c.Conf("Corefile"), corefile(c), 0o600),
		os.WriteFile(c.Conf("resolv.conf"), fmt.Appendf(nil, "nameserver %s\n", s.Block.DNS()), 0o600),
		os.MkdirAll(c.Conf("cni"), 0o700),
		writeJSON(filepath.Join(c.Conf("cni"), "10-quartermaster.conflist"), cni(s)),
		writeKubeconfig(c, s, c.Conf("kubelet.kubeconfig"), Kubelet),
	}
	for _, user := range pki.Users {
		failed = append(failed, writeKubeconfig(c, s, c.Conf(user.File+".kubeconfig"), user.File))
	}
	return errors.Join(failed...)
}

// WriteAdminKubeconfig writes the file for the user. It comes last, so that
// its presence tells that there is something to talk to.
func WriteAdminKubeconfig(c layout.Cluster, s settings.Settings) error {
	return writeKubeconfig(c, s, c.Kubeconfig(), "admin")
}

func writeJSON(path string, value any) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}

// writeKubeconfig writes a kubeconfig that holds its certificates itself, so
// that it can be copied elsewhere.
func writeKubeconfig(c layout.Cluster, s settings.Settings, path, user string) error {
	var data [3]string
	for i, file := range []string{pki.ClusterCA + ".crt", user + ".crt", user + ".key"} {
		text, err := os.ReadFile(c.PKI(file))
		if err != nil {
			return err
		}
		data[i] = base64.StdEncoding.EncodeToString(text)
	}
	name := "quartermaster-" + c.Name
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: %[1]s
clusters:
- name: %[1]s
  cluster:
    server: %[2]s
    certificate-authority-data: %[3]s
contexts:
- name: %[1]s
  context:
    cluster: %[1]s
    user: %[1]s-%[6]s
users:
- name: %[1]s-%[6]s
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
`, name, APIURL(s), data[0], data[1], data[2], user)
	return settings.WriteFile(path, []byte(text), 0o600)
}

func kubelet(c layout.Cluster, s settings.Settings) object {
	return object{
		"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
		"authentication": object{
			"anonymous": object{"enabled": false},
			"webhook":   object{"enabled": true},
			"x509":      object{"clientCAFile": c.PKI(pki.ClusterCA + ".crt")},
		},
		"authorization": object{"mode": "Webhook"},
		"tlsCertFile":   c.PKI("kubelet.crt"), "tlsPrivateKeyFile": c.PKI("kubelet.key"),
		"containerRuntimeEndpoint": "unix://" + ContainerdSocket,
		"cgroupDriver":             "cgroupfs",
		"failCgroupV1":             false, // it refuses cgroup v1 otherwise
		"failSwapOn":               false,
		"enforceNodeAllocatable":   []string{},
		"clusterDNS":               []string{s.Block.DNS().String()}, "clusterDomain": "cluster.local",
		"resolvConf": c.Conf("resolv.conf"),
		"maxPods":    110,
		// A full disk of the developer's is no reason to evict, and pods'
		// disk usage cannot be told apart where the device is not visible.
		"evictionHard":                  object{"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
		"localStorageCapacityIsolation": false,
		"imageGCHighThresholdPercent":   100,
		"imageGCLowThresholdPercent":    99,
		"podLogsDir":                    c.NodeData("pod-logs"),
		"volumePluginDir":               c.NodeData("volume-plugins"),
		"makeIPTablesUtilChains":        false,
		"readOnlyPort":                  0,
		"serializeImagePulls":           false,
		"oomScoreAdj":                   0, // lowering it takes a capability that CI lacks
		"rotateCertificates":            false,
	}
}

func proxy(c layout.Cluster, s settings.Settings) object {
	return object{
		"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration",
		"mode":             "nftables",
		"clientConnection": object{"kubeconfig": c.Conf("kube-proxy.kubeconfig")},
		"clusterCIDR":      s.Block.Pods().String(),
		"hostnameOverride": c.NodeName(),
		"conntrack":        object{"maxPerCore": 0, "min": 0}, // the limit is the whole machine's
		"nftables":         object{"minSyncPeriod": "100ms", "syncPeriod": "30s"},
		"oomScoreAdj":      0,
	}
}

// cni is the pods' network. Each pod has a cable of its own to the node (ptp)
// instead of a port of a bridge: what pods of one node say to each other by a
// service's address must pass the node's packet filter in both directions,
// which on a bridge takes a kernel module that is not everywhere.
func cni(s settings.Settings) object {
	return object{
		"cniVersion": "0.4.0", "name": "quartermaster",
		"plugins": []object{
			{
				"type": "ptp", "ipMasq": false, "mtu": 1500,
				"ipam": object{
					"type":    "host-local",
					"dataDir": "/run/cni",
					"ranges":  [][]object{{{"subnet": s.Block.NodePods().String()}}},
					"routes":  []object{{"dst": "0.0.0.0/0"}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	}
}

func containerd(c layout.Cluster) []byte {
	return fmt.Appendf(nil, `version = 2
root = %[1]q
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.internal.v1.tracing", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]

[grpc]
  address = %[2]q

[plugins."io.containerd.internal.v1.opt"]
  path = %[3]q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[4]q
  # Lowering a process's oom_score_adj takes a capability that CI lacks; without
  # this, containers that want it lowered die as they start.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = %[5]q
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
`, c.NodeData(Containerd), ContainerdSocket, c.NodeData("opt"), SandboxImage, c.Conf("cni"))
}

// corefile configures CoreDNS, which runs beside the kubelet, not in a pod: as
// a pod it would need an image of a hundred megabytes, imported at every start
// of a cluster. To pods there is no difference, for they ask the address of the
// service kube-dns, as everywhere.
//
// It knows the cluster's names only, and refuses all others at once. Pods have
// no way to the outside either, so that no test comes to depend on it.
func corefile(c layout.Cluster) []byte {
	return fmt.Appendf(nil, `.:53 {
    errors
    ready 127.0.0.1:18181
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig %s
        pods insecure
        ttl 5
    }
    cache 5
}
`, c.Conf("coredns.kubeconfig"))
}
