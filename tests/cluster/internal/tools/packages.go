// Package tools gets what a cluster is made of: programs of Debian's, and the
// programs of Kubernetes, built from their Go modules.
package tools

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"quartermaster.dev/tests/cluster/internal/say"
)

// need is a file that a Debian package brings.
type need struct{ file, pkg string }

// needs lists what the node runs and what this program runs.
var needs = []need{
	{"containerd", "containerd"},
	{"ctr", "containerd"},
	{"runc", "runc"},
	{"/usr/lib/cni/ptp", "containernetworking-plugins"},
	{"ip", "iproute2"},
	{"nft", "nftables"},
	{"iptables", "iptables"}, // the portmap plugin calls it
	{"nsenter", "util-linux"},
	{"mount", "mount"},
}

// missing lists the packages of which some file is not there.
func missing(present func(file string) bool) []string {
	var packages []string
	seen := map[string]bool{}
	for _, n := range needs {
		if !present(n.file) && !seen[n.pkg] {
			seen[n.pkg] = true
			packages = append(packages, n.pkg)
		}
	}
	return packages
}

// present looks where root's programs are, whatever PATH the caller has.
func present(file string) bool {
	if strings.HasPrefix(file, "/") {
		_, err := os.Stat(file)
		return err == nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"} {
		if _, err := os.Stat(filepath.Join(dir, file)); err == nil {
			return true
		}
	}
	return false
}

// installPackages installs what is missing, and nothing else.
func installPackages(ctx context.Context, logFile string, speaker *say.Speaker) error {
	packages := missing(present)
	if len(packages) == 0 {
		return nil
	}
	list := strings.Join(packages, " ")
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		return fmt.Errorf("these packages are missing and only root on Debian can be helped with them; please install: %s", list)
	}
	speaker.Line("installing Debian packages: %s (log: %s)", list, logFile)
	stop := say.Every(3*time.Second, func() { speaker.Line("installing Debian packages …") })
	defer stop()
	output, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer output.Close()
	for _, arguments := range [][]string{
		{"update"},
		append([]string{"install", "--yes", "--no-install-recommends"}, packages...),
	} {
		command := exec.CommandContext(ctx, "apt-get", arguments...)
		command.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		command.Stdout, command.Stderr = output, output
		if err := command.Run(); err != nil {
			return fmt.Errorf("apt-get %s: %w; see %s", arguments[0], err, logFile)
		}
	}
	if left := missing(present); len(left) > 0 {
		return errors.New("still missing after the installation: " + strings.Join(left, " "))
	}
	return nil
}
