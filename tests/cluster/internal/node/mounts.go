package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"quartermaster.dev/tests/cluster/internal/host"
	"quartermaster.dev/tests/cluster/internal/layout"
)

// privateDirs are folders into which some component writes at a path that
// cannot be changed: device plugins' sockets, links to containers' logs, state
// of CNI. The node sees the host's through an overlay and writes to memory.
var privateDirs = []string{"/etc", "/var/lib", "/var/log"}

// tunables are settings of the whole kernel that the kubelet insists on, and
// writes unless they are so. The node shows it files that say they are; the
// host's settings stay as they were.
var tunables = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// mount is mount(2) with an error that says what was tried.
func mount(source, target, kind string, flags uintptr, options string) error {
	if err := syscall.Mount(source, target, kind, flags, options); err != nil {
		return fmt.Errorf("mounting %s %s on %s (%s): %w", kind, source, target, options, err)
	}
	return nil
}

// arrangeMounts makes the node's view of the file system.
func arrangeMounts(c layout.Cluster) error {
	// Read before /proc is replaced by one that shows fewer processes; the
	// mounts are the same.
	hierarchies, err := host.Hierarchies()
	if err != nil {
		return err
	}
	const quiet = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	steps := []func() error{
		func() error { return mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "") },
		func() error { return mount("proc", "/proc", "proc", quiet, "") },
		func() error { return mount("sysfs", "/sys", "sysfs", quiet, "") },
		func() error { return mountCgroups(hierarchies) },
		func() error { return holdState(c.Dir) },
		func() error { return mountPrivateDirs(c.Dir) },
		maskTunables,
		// Volumes with mount propagation need peers; ours are in the node only.
		func() error { return mount("", "/", "", syscall.MS_REC|syscall.MS_SHARED, "") },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func mountCgroups(hierarchies []host.Hierarchy) error {
	const quiet = syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC
	if err := mount("tmpfs", "/sys/fs/cgroup", "tmpfs", quiet, "mode=755"); err != nil {
		return err
	}
	for _, h := range hierarchies {
		if h.Type != "cgroup" {
			continue // runc would look for controllers in version 2's tree, which has none here
		}
		if err := os.MkdirAll(h.Path, 0o755); err != nil {
			return err
		}
		if err := mount("cgroup", h.Path, "cgroup", quiet, h.Options); err != nil {
			return err
		}
	}
	return nil
}

// holdState replaces /run by an empty one, in which it keeps a way to the
// cluster's folder: the folder may lie below a place that is covered next.
func holdState(dir string) error {
	// The folder itself may lie in /run; an open descriptor outlives the cover.
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer folder.Close()
	if err := mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return err
	}
	if err := os.MkdirAll(layout.HeldDir, 0o700); err != nil {
		return err
	}
	return mount(fmt.Sprintf("/proc/self/fd/%d", folder.Fd()), layout.HeldDir, "", syscall.MS_BIND, "")
}

func mountPrivateDirs(dir string) error {
	for _, target := range privateDirs {
		layers := filepath.Join(layout.Hold, "overlay", strings.ReplaceAll(target, "/", "_"))
		upper, work := filepath.Join(layers, "upper"), filepath.Join(layers, "work")
		for _, made := range []string{upper, work} {
			if err := os.MkdirAll(made, 0o755); err != nil {
				return err
			}
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", target, upper, work)
		if err := mount("overlay", target, "overlay", 0, options); err != nil {
			return err
		}
	}
	for _, covered := range append([]string{"/run"}, privateDirs...) {
		if strings.HasPrefix(dir, covered+"/") {
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			return mount(layout.HeldDir, dir, "", syscall.MS_BIND, "")
		}
	}
	return nil
}

func maskTunables() error {
	for name, value := range tunables {
		file := filepath.Join(layout.Hold, "tunables", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		target := filepath.Join("/proc/sys", name)
		if _, err := os.Stat(target); err != nil {
			continue // this kernel has no such setting
		}
		if err := mount(file, target, "", syscall.MS_BIND, ""); err != nil {
			return err
		}
	}
	return nil
}
