package tools

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"quartermaster.dev/tests/cluster/internal/layout"
	"quartermaster.dev/tests/cluster/internal/say"
)

// kubernetesVersion is what the programs say they are. It must be that of
// k8s.io/kubernetes in go.mod, which TestVersion checks: the version is not in
// the module's source, and upstream sets it by the linker as well.
const kubernetesVersion = "v1.36.4"

// Commands are the names by which the one program is called.
var Commands = []string{
	"coredns", "crane", "etcd", "helm", "kube-apiserver", "kube-controller-manager", "kube-proxy",
	"kube-scheduler", "kubectl", "kubelet",
}

// sources are the folders that are built, from the module's folder.
var sources = []string{"cmd/kube", "cmd/pause"}

// Get makes sure that everything is there and returns the folder of programs.
func Get(ctx context.Context, speaker *say.Speaker) (string, error) {
	cache, err := layout.CacheRoot()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	// One at a time: two builds side by side would take twice as long for
	// the same result. The lock goes with the process.
	lock, err := os.OpenFile(filepath.Join(cache, "tools.lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := acquire(ctx, lock, speaker); err != nil {
		return "", err
	}
	if err := installPackages(ctx, filepath.Join(cache, "apt.log"), speaker); err != nil {
		return "", err
	}
	module, err := moduleDir()
	if err != nil {
		return "", err
	}
	key, err := cacheKey(module)
	if err != nil {
		return "", err
	}
	bin := filepath.Join(cache, "kube-"+key)
	now := time.Now()
	if err := os.Chtimes(bin, now, now); err == nil {
		return bin, removeUnused(cache, now.Add(-keptFor))
	}
	return bin, build(ctx, module, cache, bin, speaker)
}

// keptFor is how long programs stay that nobody asks for. Each change of the
// modules makes new ones, of 160 MB.
const keptFor = 30 * 24 * time.Hour

// removeUnused removes programs that were last asked for before a time.
func removeUnused(cache string, before time.Time) error {
	all, err := filepath.Glob(filepath.Join(cache, "kube-*"))
	if err != nil {
		return err
	}
	for _, dir := range all {
		if info, err := os.Stat(dir); err == nil && info.ModTime().Before(before) {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// acquire takes the lock as soon as it is free.
func acquire(ctx context.Context, lock *os.File, speaker *say.Speaker) error {
	stop := func() {}
	defer func() { stop() }()
	for told := false; ; told = true {
		err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		if !told {
			stop = say.Every(3*time.Second, func() { speaker.Line("another command is building; waiting for it …") })
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// moduleDir finds the source of this module: where this file was compiled, or
// else, if the program was built without paths, from the current folder.
func moduleDir() (string, error) {
	var candidates []string
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		candidates = append(candidates, filepath.Join(filepath.Dir(file), "..", ".."))
	}
	if dir, err := os.Getwd(); err == nil {
		for ; ; dir = filepath.Dir(dir) {
			candidates = append(candidates, dir, filepath.Join(dir, "tests", "cluster"))
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	for _, dir := range candidates {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(text, []byte("module quartermaster.dev/tests/cluster\n")) {
			return filepath.Clean(dir), nil
		}
	}
	return "", errors.New("the source of tests/cluster is not found; run this from within the repository")
}

// cacheKey is a digest of all that the result depends on.
func cacheKey(module string) (string, error) {
	version, err := exec.Command("go", "env", "GOVERSION", "GOARCH").Output()
	if err != nil {
		return "", fmt.Errorf("the Go tool chain is needed (https://go.dev/dl): %w", err)
	}
	files := []string{"go.mod", "go.sum"}
	for _, source := range sources {
		entries, err := os.ReadDir(filepath.Join(module, source))
		if err != nil {
			return "", err
		}
		for _, entry := range entries {
			files = append(files, filepath.Join(source, entry.Name()))
		}
	}
	slices.Sort(files)
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\n%s\n", version, kubernetesVersion)
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(module, file))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s\n", file, len(text), text)
	}
	return hex.EncodeToString(sum.Sum(nil))[:12], nil
}

// build builds into a folder beside the final one and renames it, so that a
// build that was killed leaves nothing that looks finished.
func build(ctx context.Context, module, cache, bin string, speaker *say.Speaker) error {
	if err := removeUnfinished(cache); err != nil {
		return err
	}
	partial, err := os.MkdirTemp(cache, "building-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(partial) // does nothing once it is renamed
	logFile := filepath.Join(cache, "build.log")
	speaker.Line("building Kubernetes %s from source; about 7 to 12 minutes on two cores the first time (log: %s)", kubernetesVersion, logFile)
	progress := watchBuild(module, speaker)
	err = compile(ctx, module, partial, logFile, progress)
	progress.stop()
	if err != nil {
		return err
	}
	for _, command := range Commands {
		if err := os.Symlink("kube", filepath.Join(partial, command)); err != nil {
			return err
		}
	}
	if err := os.Chmod(partial, 0o755); err != nil {
		return err
	}
	if err := os.Rename(partial, bin); err != nil {
		return err
	}
	speaker.Line("built %s", bin)
	return nil
}

// removeUnfinished removes what killed builds left. The lock is held, so that
// none is going on.
func removeUnfinished(cache string) error {
	left, err := filepath.Glob(filepath.Join(cache, "building-*"))
	if err != nil {
		return err
	}
	for _, dir := range left {
		if err := os.RemoveAll(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// buildProgress counts what the compiler has finished.
type buildProgress struct {
	compiled, downloaded, total atomic.Int64
	begun                       time.Time
	stop                        func()
}

func watchBuild(module string, speaker *say.Speaker) *buildProgress {
	p := &buildProgress{begun: time.Now()}
	go func() { p.total.Store(countPackages(module)) }()
	p.stop = say.Every(3*time.Second, func() { speaker.Line("%s", p.describe(time.Since(p.begun))) })
	return p
}

// countPackages asks how many packages there are to compile; zero if unknown.
func countPackages(module string) int64 {
	command := exec.Command("go", "list", "-deps", "-tags", "heavy", "./cmd/kube", "./cmd/pause")
	command.Dir = module
	list, err := command.Output()
	if err != nil {
		return 0
	}
	return int64(bytes.Count(list, []byte("\n")))
}

func (p *buildProgress) describe(elapsed time.Duration) string {
	compiled, total := p.compiled.Load(), p.total.Load()
	switch {
	case compiled+p.downloaded.Load() == 0:
		return "looking what is in Go's caches already"
	case compiled == 0:
		return fmt.Sprintf("fetching modules: %d so far", p.downloaded.Load())
	case total == 0:
		return fmt.Sprintf("compiling: %d packages so far", compiled)
	case compiled >= total-5:
		return "compiled all packages; linking"
	}
	text := fmt.Sprintf("compiling: %d of at most %d packages", compiled, total)
	if compiled < total/20 {
		return text // too early to tell; and what Go has in its cache is not counted
	}
	left := time.Duration(float64(elapsed) / float64(compiled) * float64(total-compiled))
	return text + fmt.Sprintf(", at most %s left", left.Round(time.Second))
}

// compile runs the compiler and lets progress read what it says.
func compile(ctx context.Context, module, output, logFile string, progress *buildProgress) error {
	logged, err := os.Create(logFile)
	if err != nil {
		return err
	}
	defer logged.Close()
	command := exec.CommandContext(ctx, "go", "build", "-v", "-tags", "heavy", "-trimpath", "-buildvcs=false", "-ldflags", linkerFlags(),
		"-o", output+"/", "./cmd/kube", "./cmd/pause")
	command.Dir = module
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	reader, writer := io.Pipe()
	command.Stdout, command.Stderr = writer, writer
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewScanner(reader)
		for lines.Scan() {
			fmt.Fprintln(logged, lines.Text())
			if strings.HasPrefix(lines.Text(), "go: ") {
				progress.downloaded.Add(1)
			} else {
				progress.compiled.Add(1)
			}
		}
	}()
	err = command.Run()
	writer.Close()
	<-done
	if err != nil {
		return fmt.Errorf("building: %w; the end of %s says:\n%s", err, logFile, tail(logFile))
	}
	return nil
}

// linkerFlags make the programs small and give them their version.
func linkerFlags() string {
	const set = " -X k8s.io/component-base/version."
	parts := strings.SplitN(strings.TrimPrefix(kubernetesVersion, "v"), ".", 3)
	return "-s -w" + set + "gitVersion=" + kubernetesVersion + set + "gitMajor=" + parts[0] + set + "gitMinor=" + parts[1] +
		set + "gitTreeState=clean"
}

// tail reads the end of a log.
func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
