package tools

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestMissing(t *testing.T) {
	tests := []struct {
		name   string
		absent []string
		want   []string
	}{
		{"nothing", nil, nil},
		{"one", []string{"nft"}, []string{"nftables"}},
		{"two files of one package", []string{"containerd", "ctr", "runc"}, []string{"containerd", "runc"}},
	}
	for _, test := range tests {
		got := missing(func(file string) bool {
			for _, absent := range test.absent {
				if file == absent {
					return false
				}
			}
			return true
		})
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}

// The version is in three places that Go cannot derive from each other.
func TestVersion(t *testing.T) {
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "k8s.io/kubernetes "+kubernetesVersion+"\n") {
		t.Errorf("go.mod requires another Kubernetes than %s", kubernetesVersion)
	}
	staging := "v0" + strings.TrimPrefix(kubernetesVersion, "v1")
	for _, match := range regexp.MustCompile(`\tk8s\.io/\S+ => k8s\.io/\S+ (\S+)`).FindAllStringSubmatch(string(text), -1) {
		if match[1] != staging {
			t.Errorf("want %s: %s", staging, match[0])
		}
	}
	if flags := linkerFlags(); !strings.Contains(flags, "gitMajor=1 ") || !strings.Contains(flags, "gitMinor=36 ") {
		t.Errorf("linker flags are %s", flags)
	}
}

// The names by which the heavy program is called are written in it and here.
func TestCommandsAreThoseOfTheProgram(t *testing.T) {
	text, err := os.ReadFile("../../cmd/kube/main.go")
	if err != nil {
		t.Fatal(err)
	}
	var inProgram []string
	for _, match := range regexp.MustCompile(`\t"([a-z-]+)": +run`).FindAllStringSubmatch(string(text), -1) {
		inProgram = append(inProgram, match[1])
	}
	if !reflect.DeepEqual(inProgram, Commands) {
		t.Errorf("the program knows %v, the links are %v", inProgram, Commands)
	}
}

func TestCacheKeyFollowsTheSource(t *testing.T) {
	module := t.TempDir()
	write := func(file, text string) {
		t.Helper()
		path := filepath.Join(module, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key := func() string {
		t.Helper()
		key, err := cacheKey(module)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	for _, file := range []string{"go.mod", "go.sum", "cmd/kube/main.go", "cmd/pause/main.go"} {
		write(file, "x")
	}
	first := key()
	write("internal/other.go", "x")
	if key() != first {
		t.Error("a file that is not built changed the key")
	}
	for _, file := range []string{"go.sum", "cmd/kube/main.go", "cmd/pause/main.go"} {
		before := key()
		write(file, "changed")
		if key() == before {
			t.Errorf("a change of %s went unnoticed", file)
		}
	}
}

func TestOnlyUnusedProgramsAreRemoved(t *testing.T) {
	cache := t.TempDir()
	now := time.Now()
	for name, age := range map[string]time.Duration{"kube-new": 0, "kube-old": 2 * keptFor, "other-old": 2 * keptFor} {
		dir := filepath.Join(cache, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, now.Add(-age), now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	if err := removeUnused(cache, now.Add(-keptFor)); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(cache, "*"))
	if err != nil || len(left) != 2 || filepath.Base(left[0]) != "kube-new" || filepath.Base(left[1]) != "other-old" {
		t.Errorf("left are %v, %v", left, err)
	}
}

func TestDescribe(t *testing.T) {
	tests := []struct {
		compiled, downloaded, total int64
		want                        string
	}{
		{0, 0, 3000, "looking what is in Go's caches already"},
		{0, 12, 0, "fetching modules: 12 so far"},
		{7, 12, 0, "compiling: 7 packages so far"},
		{2, 0, 3000, "compiling: 2 of at most 3000 packages"},
		{1000, 0, 3000, "compiling: 1000 of at most 3000 packages, at most 3m20s left"},
		{2999, 0, 3000, "compiled all packages; linking"},
	}
	for _, test := range tests {
		p := &buildProgress{}
		p.compiled.Store(test.compiled)
		p.downloaded.Store(test.downloaded)
		p.total.Store(test.total)
		if got := p.describe(100 * time.Second); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
