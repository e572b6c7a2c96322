package node

import (
	"fmt"
	"os"
	"strings"

	"quartermaster.dev/tests/cluster/internal/address"
	"quartermaster.dev/tests/cluster/internal/supervise"
)

// netSettings make a router of the node: pods are reached through it.
var netSettings = map[string]string{
	"/proc/sys/net/ipv4/ip_forward":             "1",
	"/proc/sys/net/ipv4/conf/all/rp_filter":     "0",
	"/proc/sys/net/ipv4/conf/default/rp_filter": "0",
}

// arrangeNetwork configures the node's end of the cable.
func arrangeNetwork(reaper *supervise.Reaper, env []string, block address.Block) error {
	for path, value := range netSettings {
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return err
		}
	}
	steps := []string{
		"link set lo up",
		fmt.Sprintf("addr add %s/%d dev eth0", block.Node(), address.LinkBits),
		"link set eth0 up",
		fmt.Sprintf("route add default via %s", block.Host()),
	}
	for _, step := range steps {
		if _, err := reaper.Run(supervise.Launch{Path: "ip", Args: strings.Fields(step), Env: env}); err != nil {
			return err
		}
	}
	return nil
}
