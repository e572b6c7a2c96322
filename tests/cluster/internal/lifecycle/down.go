// Package lifecycle makes clusters and removes them.
package lifecycle

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"quartermaster.dev/tests/cluster/internal/host"
	"quartermaster.dev/tests/cluster/internal/layout"
	"quartermaster.dev/tests/cluster/internal/say"
)

// How long to wait for others.
const (
	// patience with another command on the same cluster; making one is the
	// longest.
	lockPatience = 5 * time.Minute
	killPatience = 20 * time.Second
)

// lock keeps other commands off this cluster.
func lock(c layout.Cluster, speaker *say.Speaker) (*host.Lock, error) {
	return host.Acquire(c.ID, lockPatience, func() {
		speaker.Line("another command is working on cluster %q; waiting for it", c.Name)
	})
}

// RequireRoot says in words why nothing will work.
func RequireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs namespaces and network links of its own, which only root can make; run this as root")
	}
	return nil
}

// Down removes a cluster and all that it left on the machine, in whatever
// state it is; if there is none, it does nothing.
func Down(c layout.Cluster, speaker *say.Speaker) error {
	if err := RequireRoot(); err != nil {
		return err
	}
	held, err := lock(c, speaker)
	if err != nil {
		return err
	}
	defer held.Release()
	if err := clean(c); err != nil {
		return err
	}
	// The folder of all clusters goes with the last of them.
	if err := os.Remove(c.Root); err != nil && !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	speaker.Line("cluster %q is gone", c.Name)
	return nil
}

// clean removes everything. The node's first process goes first: the kernel
// then ends all others in the node, and with the last of them vanish the
// node's mounts, links, routes and packet filter rules.
func clean(c layout.Cluster) error {
	if first, err := host.LoadProcess(c.Init()); err == nil {
		if err := first.Kill(killPatience); err != nil {
			return err
		}
	}
	if err := killStragglers(c); err != nil {
		return err
	}
	return errors.Join(
		host.Disconnect(c.Link()),
		host.RemoveCgroups(c.Cgroup(), killPatience),
		removeAll(c.Dir),
	)
}

// killStragglers ends what is left in the cluster's cgroups. That is nothing,
// unless the record of the first process was lost.
func killStragglers(c layout.Cluster) error {
	for deadline := time.Now().Add(killPatience); ; time.Sleep(20 * time.Millisecond) {
		pids, err := host.CgroupPIDs(c.Cgroup())
		if err != nil {
			return err
		}
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("these processes of cluster %q cannot be ended: %v", c.Name, pids)
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("killing process %d: %w", pid, err)
			}
		}
	}
}

// removeAll removes a folder. The kernel lets go of the node's mounts a moment
// after the last process, and until then some files are busy.
func removeAll(dir string) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		err := os.RemoveAll(dir)
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
