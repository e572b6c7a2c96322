package host

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"quartermaster.dev/tests/cluster/internal/address"
)

// UsedPrefixes lists the networks that this machine has a route to.
func UsedPrefixes() ([]netip.Prefix, error) {
	file, err := os.Open("/proc/net/route")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return address.ParseRoutes(file)
}

// Connect lays a cable from the host to the network namespace of the given
// process, and routes pods and services through it, so that what runs on the
// host can call them as if it were in the cluster. The other end is named
// eth0. All of it goes with the namespace.
func Connect(link, alias string, pid int, block address.Block) error {
	node := block.Node().String()
	steps := []string{
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", link, pid),
		fmt.Sprintf("link set %s up alias %s", link, alias),
		fmt.Sprintf("addr add %s/%d dev %s", block.Host(), address.LinkBits, link),
		fmt.Sprintf("route add %s via %s dev %s", block.Pods(), node, link),
		fmt.Sprintf("route add %s via %s dev %s", block.Services(), node, link),
	}
	for _, step := range steps {
		if err := ip(step); err != nil {
			return err
		}
	}
	return nil
}

// Disconnect removes the cable if it is there.
func Disconnect(link string) error {
	if _, err := os.Stat("/sys/class/net/" + link); err != nil {
		return nil
	}
	err := ip("link delete " + link)
	if _, gone := os.Stat("/sys/class/net/" + link); gone != nil {
		return nil // it went with its namespace while we were at it
	}
	return err
}

func ip(arguments string) error {
	output, err := exec.Command("ip", strings.Fields(arguments)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", arguments, err, strings.TrimSpace(string(output)))
	}
	return nil
}
