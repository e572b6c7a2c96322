//go:build cluster

// Package selftest makes clusters, breaks them, and sees that nothing of them
// is left. It needs root and takes about a minute; run it by
//
//	go test -tags cluster -v ./internal/selftest
package selftest

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"

	"quartermaster.dev/tests/cluster/internal/layout"
)

// traces lists all on this machine by which a cluster could be noticed.
func traces(t *testing.T, state string) []string {
	t.Helper()
	var found []string
	for _, command := range []string{"ip -brief link", "ip route", "ip netns list", "ip rule", "nft list ruleset", "cat /proc/self/mounts"} {
		words := strings.Fields(command)
		output, err := exec.Command(words[0], words[1:]...).Output()
		if err != nil {
			t.Fatalf("%s: %v", command, err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(output)), "\n") {
			if !others(line) {
				found = append(found, command+": "+line)
			}
		}
	}
	for _, path := range []string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "kernel/keys/root_maxkeys", "net/ipv4/ip_forward"} {
		value, err := os.ReadFile(filepath.Join("/proc/sys", path))
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, path+": "+strings.TrimSpace(string(value)))
	}
	found = append(found, cgroups()...)
	found = append(found, processes(state)...)
	for _, dir := range []string{"/run", "/etc", "/etc/cni", "/var/lib", "/var/log", "/opt", state} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, entry := range entries {
			found = append(found, filepath.Join(dir, entry.Name()))
		}
	}
	sort.Strings(found)
	return found
}

// others tells whether a line is about a cluster of somebody else's, which may
// come and go meanwhile.
func others(line string) bool {
	if !strings.Contains(line, "qm-") {
		return false
	}
	for _, name := range []string{first, second} {
		if c, err := layout.New(name); err == nil && strings.Contains(line, c.Link()) {
			return false
		}
	}
	return true
}

// cgroups lists the folders that are ours.
func cgroups() []string {
	var found []string
	_ = filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (strings.HasPrefix(entry.Name(), "quartermaster-self")) {
			found = append(found, path)
		}
		return nil
	})
	return found
}

// processes lists those that have the clusters' folder in their command line.
func processes(state string) []string {
	var found []string
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range lines {
		text, err := os.ReadFile(file)
		if err == nil && strings.Contains(string(text), state) {
			found = append(found, strings.ReplaceAll(string(text), "\x00", " "))
		}
	}
	return found
}

// differences lists what is in one list only.
func differences(before, after []string) []string {
	count := map[string]int{}
	for _, line := range before {
		count[line]--
	}
	for _, line := range after {
		count[line]++
	}
	var differ []string
	for line, n := range count {
		switch {
		case n > 0:
			differ = append(differ, "+ "+line)
		case n < 0:
			differ = append(differ, "- "+line)
		}
	}
	sort.Strings(differ)
	return differ
}
