package host

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"time"
)

// Hierarchy is a tree of cgroups. Version 1 has one for each set of
// controllers.
type Hierarchy struct {
	// Path is where it is mounted.
	Path string
	// Type is the file system's: cgroup, or cgroup2.
	Type string
	// Options name its controllers to mount(2).
	Options string
}

// ErrCgroupV2 is returned where there is only version 2.
var ErrCgroupV2 = errors.New("this machine has cgroup version 2 only, for which tests/cluster is not made; use kind (CLUSTER=kind)")

// Hierarchies lists the trees of this machine.
func Hierarchies() ([]Hierarchy, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close()
	found, err := parseMounts(file)
	if err != nil {
		return nil, err
	}
	for _, hierarchy := range found {
		if hierarchy.has("memory") {
			return found, nil
		}
	}
	return nil, ErrCgroupV2
}

func (h Hierarchy) has(controller string) bool {
	for _, option := range strings.Split(h.Options, ",") {
		if option == controller {
			return true
		}
	}
	return false
}

// parseMounts finds the cgroup file systems in the text of mountinfo.
func parseMounts(text io.Reader) ([]Hierarchy, error) {
	var found []Hierarchy
	seen := map[string]bool{}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		fields, about := strings.Fields(left), strings.Fields(right)
		if !ok || len(fields) < 5 || len(about) < 3 || !wholeTree(fields[3]) {
			continue
		}
		kind := about[0]
		if (kind != "cgroup" && kind != "cgroup2") || seen[fields[4]] {
			continue
		}
		seen[fields[4]] = true
		found = append(found, Hierarchy{Path: fields[4], Type: kind, Options: controllers(kind, about[2])})
	}
	return found, lines.Err()
}

// wholeTree tells whether a mount shows its hierarchy from the root. In a
// cgroup namespace, the root of one mounted outside is above ours.
func wholeTree(root string) bool { return root == "/" || strings.HasPrefix(root, "/..") }

// controllers picks from a mount's options those that say which hierarchy it
// is: the others (xattr, release_agent) must not be repeated in a new mount.
func controllers(kind, options string) string {
	if kind == "cgroup2" {
		return ""
	}
	var kept []string
	for _, option := range strings.Split(options, ",") {
		switch {
		case option == "rw", option == "ro", option == "xattr", option == "clone_children", strings.HasPrefix(option, "release_agent="):
		case strings.HasPrefix(option, "name="):
			kept = append(kept, "none", option)
		default:
			kept = append(kept, option)
		}
	}
	return strings.Join(kept, ",")
}

// MakeCgroups makes the folder of the given name in every hierarchy.
func MakeCgroups(name string) error {
	all, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range all {
		dir := filepath.Join(hierarchy.Path, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if hierarchy.has("cpuset") {
			if err := inheritCPUSet(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// inheritCPUSet gives a new cpuset the processors and memory of its parent. It
// starts with none, and a process that joins an empty set is refused.
func inheritCPUSet(dir string) error {
	for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
		value, err := os.ReadFile(filepath.Join(filepath.Dir(dir), file))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, file), value, 0); err != nil {
			return err
		}
	}
	return nil
}

// JoinCgroups moves this process into the folder of the given name.
func JoinCgroups(name string) error {
	all, err := Hierarchies()
	if err != nil {
		return err
	}
	for _, hierarchy := range all {
		// Zero stands for the writer, whatever number it has in which
		// namespace.
		if err := os.WriteFile(filepath.Join(hierarchy.Path, name, "cgroup.procs"), []byte("0"), 0); err != nil {
			return fmt.Errorf("joining cgroup: %w", err)
		}
	}
	return nil
}

// CgroupPIDs lists the processes in the folders of the given name and below.
func CgroupPIDs(name string) ([]int, error) {
	all, err := Hierarchies()
	if err != nil {
		return nil, err
	}
	seen := map[int]bool{}
	for _, hierarchy := range all {
		for _, dir := range tree(filepath.Join(hierarchy.Path, name)) {
			text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			if err != nil {
				continue // it is gone already
			}
			for _, field := range strings.Fields(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
					seen[pid] = true
				}
			}
		}
	}
	pids := make([]int, 0, len(seen))
	for pid := range seen {
		pids = append(pids, pid)
	}
	sort.Ints(pids)
	return pids, nil
}

// RemoveCgroups removes the folders of the given name. They can go once the
// last process has, which the kernel finishes a moment after its death.
func RemoveCgroups(name string, patience time.Duration) error {
	all, err := Hierarchies()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(patience)
	for {
		var last error
		for _, hierarchy := range all {
			dirs := tree(filepath.Join(hierarchy.Path, name))
			for i := len(dirs) - 1; i >= 0; i-- {
				if err := os.Remove(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
					last = err
				}
			}
		}
		if last == nil || time.Now().After(deadline) {
			return last
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tree lists a folder and all below it, parents first.
func tree(root string) []string {
	var dirs []string
	// What vanishes while it is read is not missed.
	_ = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}
