//go:build cluster

package selftest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"quartermaster.dev/tests/cluster/internal/lifecycle"
)

// The names of the clusters that the test makes.
const first, second = "self", "self-2"

const workload = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 2
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec:
      containers:
      - name: app
        image: localhost/selftest:1
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        resources: {limits: {nvidia.com/gpu: 1}}
---
apiVersion: v1
kind: Service
metadata: {name: app}
spec: {selector: {app: app}, ports: [{port: 80, targetPort: 8080}]}
`

const zeroHPA = `
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: zero}
spec:
  minReplicas: 0
  maxReplicas: 3
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: app}
  metrics: [{type: External, external: {metric: {name: m}, target: {type: Value, value: 1}}}]
`

// bench is what the test works with.
type bench struct {
	t            *testing.T
	program, bin string
	state, image string
}

func newBench(t *testing.T) *bench {
	b := &bench{t: t, state: filepath.Join(t.TempDir(), "state"), program: filepath.Join(t.TempDir(), "cluster")}
	t.Setenv("QUARTERMASTER_STATE", b.state)
	app := filepath.Join(t.TempDir(), "app")
	b.image = filepath.Join(t.TempDir(), "app.tar")
	t.Setenv("CGO_ENABLED", "0")
	b.run("", "go", "build", "-o", b.program, "../../cmd/cluster")
	b.run("", "go", "build", "-o", app, "./app")
	b.bin = b.run("", b.program, "tools")
	b.cluster("image", "--out", b.image, "--tag", "localhost/selftest:1", "--entrypoint", "/app", "--user", "65532:65532", "--file", app+"=/app")
	t.Cleanup(func() {
		for _, name := range []string{first, second} {
			_ = exec.Command(b.program, "down", "--name", name).Run()
		}
	})
	return b
}

// with is the same bench, reporting to another test.
func (b bench) with(t *testing.T) *bench {
	b.t = t
	return &b
}

// try runs a command and returns its standard output.
func (b *bench) try(input string, line ...string) (string, error) {
	command := exec.Command(line[0], line[1:]...)
	command.Stdin = strings.NewReader(input)
	var said strings.Builder
	command.Stderr = &said
	output, err := command.Output()
	if err != nil {
		b.t.Logf("%s: %v: %s", strings.Join(line, " "), err, said.String())
	}
	return strings.TrimSpace(string(output)), err
}

func (b *bench) run(input string, line ...string) string {
	b.t.Helper()
	output, err := b.try(input, line...)
	if err != nil {
		b.t.Fatal(err)
	}
	return output
}

func (b *bench) cluster(args ...string) string {
	b.t.Helper()
	return b.run("", append([]string{b.program}, args...)...)
}

func (b *bench) kubectl(args ...string) string {
	b.t.Helper()
	return b.run("", b.kubectlLine(first, args...)...)
}

func (b *bench) kubectlLine(name string, args ...string) []string {
	return append([]string{filepath.Join(b.bin, "kubectl"), "--kubeconfig", filepath.Join(b.state, name, "kubeconfig")}, args...)
}

func (b *bench) status(name string) lifecycle.Status {
	b.t.Helper()
	var status lifecycle.Status
	if err := json.Unmarshal([]byte(b.cluster("status", "--json", "--name", name)), &status); err != nil {
		b.t.Fatal(err)
	}
	return status
}

func (b *bench) eventually(what string, is func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("still not so: %s", what)
		}
	}
}

func (b *bench) up(args ...string) {
	b.t.Helper()
	begun := time.Now()
	b.cluster(append([]string{"up", "--name", first}, args...)...)
	b.t.Logf("up took %.1fs", time.Since(begun).Seconds())
	if status := b.status(first); status.Phase != "Running" || len(status.Nodes) == 0 || !status.Nodes[0].Ready {
		b.t.Fatalf("after up: %+v", status)
	}
}

// down takes a cluster down and compares the machine with how it was.
func (b *bench) down(before []string) {
	b.t.Helper()
	begun := time.Now()
	b.cluster("down", "--name", first)
	b.t.Logf("down took %.1fs", time.Since(begun).Seconds())
	if left := differences(before, traces(b.t, b.state)); len(left) > 0 {
		b.t.Errorf("down left traces:\n%s", strings.Join(left, "\n"))
	}
}

func TestCluster(t *testing.T) {
	b := newBench(t)
	before := traces(t, b.state)
	b.up()
	b.up() // again, to do nothing
	b.cluster("load", "--name", first, b.image)
	b.run(workload, b.kubectlLine(first, "apply", "-f", "-")...)
	b.kubectl("rollout", "status", "deployment/app", "--timeout=60s")
	t.Run("pods", func(t *testing.T) { b.with(t).pods() })
	t.Run("components", func(t *testing.T) { b.with(t).components() })
	t.Run("nodes", func(t *testing.T) { b.with(t).nodes() })
	t.Run("two clusters", func(t *testing.T) { b.with(t).two() })
	b.down(before)
	b.down(before) // again, where there is nothing
}

// pods tries what pods and those who watch them do.
func (b *bench) pods() {
	b.kubectl("scale", "deployment/app", "--replicas=6")
	b.kubectl("rollout", "status", "deployment/app", "--timeout=60s")
	pod := b.kubectl("get", "pods", "-l", "app=app", "-o", "jsonpath={.items[0].metadata.name}")
	if said := b.kubectl("exec", pod, "--", "/app", "fetch", "http://app.default.svc.cluster.local"); !strings.HasPrefix(said, "I am app-") {
		b.t.Errorf("a service by its name, from a pod: %q", said)
	}
	if said := b.kubectl("logs", pod); !strings.Contains(said, "listening") {
		b.t.Errorf("logs: %q", said)
	}
	address := b.kubectl("get", "service", "app", "-o", "jsonpath={.spec.clusterIP}")
	if said := b.run("", b.program, "exec", "--name", first, "--", "hostname"); said != first+"-node" {
		b.t.Errorf("exec: %q", said)
	}
	if said := b.run("", "curl", "--silent", "--max-time", "5", "http://"+address); !strings.HasPrefix(said, "I am app-") {
		b.t.Errorf("a service by its address, from the host: %q", said)
	}
	if said := b.kubectl("get", "--raw", "/api/v1/namespaces/default/services/app:80/proxy/"); !strings.HasPrefix(said, "I am app-") {
		b.t.Errorf("a service through the API server: %q", said)
	}
	if _, err := b.try(zeroHPA, b.kubectlLine(first, "create", "-f", "-")...); err == nil {
		b.t.Error("without the gate, a minimum of zero must be refused")
	}
	if said := b.cluster("audit", "--name", first, "--writes", "--user", "quartermaster-admin", "--resource", "deployments"); strings.Count(said, "\n") != 1 {
		b.t.Errorf("want the creation and the scaling in the audit log, got %q", said)
	}
}

// components kills and pauses what can be, and sees that pods do not mind.
func (b *bench) components() {
	unharmed := func() string {
		return b.kubectl("get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[0].restartCount} {end}")
	}
	pods := unharmed()
	for _, component := range []string{"etcd", "kube-apiserver", "containerd", "kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager", "coredns"} {
		b.cluster("kill", component, "--name", first)
		for _, c := range b.status(first).Components {
			if c.Name == component && c.Alive {
				b.t.Errorf("%s was killed and lives", component)
			}
		}
		b.cluster("start", component, "--name", first)
	}
	b.cluster("pause", "kube-apiserver", "--name", first)
	if _, err := b.try("", b.kubectlLine(first, "get", "nodes", "--request-timeout=2s")...); err == nil {
		b.t.Error("the API server was paused and answers")
	}
	b.cluster("kill", "kubelet", "--name", first)
	b.up() // repairs: resumes the one and starts the other
	b.eventually("the node has its GPUs after the kubelet's restart", func() bool {
		return b.status(first).Nodes[0].GPUs == "8"
	})
	if now := unharmed(); now != pods {
		b.t.Errorf("pods were %s and are %s", pods, now)
	}
	b.kubectl("scale", "deployment/app", "--replicas=7")
	b.kubectl("rollout", "status", "deployment/app", "--timeout=60s")
}

func (b *bench) nodes() {
	b.cluster("node", "add", "gpu-1", "--name", first, "--gpus", "4", "--label", "zone=a")
	b.eventually("the node is ready", func() bool {
		for _, n := range b.status(first).Nodes {
			if n.Name == "gpu-1" {
				return n.Ready && n.APIOnly && n.GPUs == "4"
			}
		}
		return false
	})
	b.cluster("node", "rm", "gpu-1", "--name", first)
	if n := len(b.status(first).Nodes); n != 1 {
		b.t.Errorf("there are %d nodes", n)
	}
}

// two has a second cluster beside the first, with the gate on.
func (b *bench) two() {
	b.cluster("up", "--name", second, "--gates", "HPAScaleToZero=true", "--node-image-dir", filepath.Dir(b.image))
	b.run(workload, b.kubectlLine(second, "apply", "-f", "-")...)
	b.run("", b.kubectlLine(second, "rollout", "status", "deployment/app", "--timeout=60s")...)
	b.run(zeroHPA, b.kubectlLine(second, "create", "-f", "-")...)
	if _, err := b.try("", b.program, "up", "--name", second, "--gates", ""); err == nil {
		b.t.Error("a cluster with other gates must not be taken for the one that was asked for")
	}
	b.cluster("down", "--name", second)
	b.kubectl("get", "nodes")
}

// TestRecovery interrupts things at bad moments.
func TestRecovery(t *testing.T) {
	b := newBench(t)
	before := traces(t, b.state)
	for _, moment := range []time.Duration{20, 60, 90, 120, 150, 300, 1500, 3500} {
		up := exec.Command(b.program, "up", "--name", first)
		if err := up.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(moment * time.Millisecond)
		_ = up.Process.Kill() // it may have ended
		_ = up.Wait()
		if moment%100 == 0 {
			b.up()
		}
		b.down(before)
	}
	b.up()
	node := b.status(first).Node
	if err := syscall.Kill(node.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	b.up()
	// The user deletes the folder of a running cluster; what is mounted there
	// makes that fail half-way.
	_ = os.RemoveAll(filepath.Join(b.state, first))
	b.down(before)
}
