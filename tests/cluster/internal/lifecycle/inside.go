package lifecycle

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"quartermaster.dev/tests/cluster/internal/conf"
	"quartermaster.dev/tests/cluster/internal/host"
	"quartermaster.dev/tests/cluster/internal/image"
	"quartermaster.dev/tests/cluster/internal/layout"
	"quartermaster.dev/tests/cluster/internal/node"
	"quartermaster.dev/tests/cluster/internal/say"
	"quartermaster.dev/tests/cluster/internal/settings"
)

// First finds the node's first process.
func First(c layout.Cluster) (host.Process, error) {
	first, err := host.LoadProcess(c.Init())
	if err != nil || !first.Alive() {
		return host.Process{}, fmt.Errorf("cluster %q is not up", c.Name)
	}
	return first, nil
}

// Load puts images into the node's container runtime. The archives are passed
// as a stream, for the node may not see the folder that they are in.
func Load(c layout.Cluster, archives []string, speaker *say.Speaker) error {
	first, err := First(c)
	if err != nil {
		return err
	}
	for _, archive := range archives {
		if err := loadOne(first, archive, speaker); err != nil {
			return err
		}
	}
	return nil
}

func loadOne(first host.Process, archive string, speaker *say.Speaker) error {
	begun := time.Now()
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	line := node.Enter(first, "ctr", "--address", conf.ContainerdSocket, "--namespace", "k8s.io", "images", "import", "-")
	command := exec.Command(line[0], line[1:]...)
	command.Stdin = file
	said, err := command.CombinedOutput()
	if err != nil {
		return fmt.Errorf("loading %s: %w: %s", archive, err, strings.TrimSpace(string(said)))
	}
	if err := awaitManaged(first, archive); err != nil {
		return err
	}
	speaker.Line("loaded %s in %.1fs", filepath.Base(archive), time.Since(begun).Seconds())
	return nil
}

// awaitManaged waits until the kubelet can see an image. The runtime's part
// that serves the kubelet hears of new images a moment later than they are
// there; a pod that came in between would try to pull.
func awaitManaged(first host.Process, archive string) error {
	tags, err := image.Tags(archive)
	if err != nil {
		return err
	}
	for _, tag := range tags {
		line := node.Enter(first, "ctr", "--address", conf.ContainerdSocket, "--namespace", "k8s.io", "images", "list", "name=="+tag)
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			said, err := exec.Command(line[0], line[1:]...).CombinedOutput()
			if err == nil && strings.Contains(string(said), "io.cri-containerd.image=managed") {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s is loaded, but the kubelet does not see it: %s", tag, strings.TrimSpace(string(said)))
			}
		}
	}
	return nil
}

// Environment is that of a command inside of the node: it finds the cluster's
// programs, and they find the cluster.
func Environment(c layout.Cluster) []string {
	bin := ""
	if s, err := settings.Read(c.Settings()); err == nil {
		bin = s.BinDir + ":"
	}
	return append(os.Environ(),
		"PATH="+bin+"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"KUBECONFIG="+c.Kubeconfig(), "CONTAINERD_ADDRESS="+conf.ContainerdSocket, "CONTAINERD_NAMESPACE=k8s.io",
	)
}
