// Package supervise runs programs as the first process of a namespace must: it
// alone collects whatever ends there, its own children and the orphans of
// others.
//
// os/exec is of no use to it: exec waits for its children itself, and would
// find them collected already.
package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
)

// Reaper starts processes and tells when they end.
type Reaper struct {
	mu      sync.Mutex
	waiting map[int]chan syscall.WaitStatus
}

// NewReaper begins to collect. There must be one only.
func NewReaper() *Reaper {
	r := &Reaper{waiting: map[int]chan syscall.WaitStatus{}}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	go func() {
		for range signals {
			r.collect()
		}
	}()
	return r
}

// collect takes every process that has ended. One signal may stand for many.
func (r *Reaper) collect() {
	for {
		// Under the lock a process cannot end between being started and being
		// written down.
		r.mu.Lock()
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == nil && pid > 0 {
			if ended, ok := r.waiting[pid]; ok {
				delete(r.waiting, pid)
				ended <- status
			}
		}
		r.mu.Unlock()
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
	}
}

// Launch describes a process to start.
type Launch struct {
	Path   string
	Args   []string
	Env    []string
	Stdin  *os.File
	Output *os.File
}

// Start starts a process in a session of its own, so that signals meant for
// its group do not reach others. The channel delivers how it ended, once.
func (r *Reaper) Start(launch Launch) (int, <-chan syscall.WaitStatus, error) {
	path, err := lookPath(launch.Path, launch.Env)
	if err != nil {
		return 0, nil, err
	}
	stdin := launch.Stdin
	if stdin == nil {
		if stdin, err = os.Open(os.DevNull); err != nil {
			return 0, nil, err
		}
		defer stdin.Close()
	}
	output := launch.Output.Fd()
	r.mu.Lock()
	defer r.mu.Unlock()
	pid, err := syscall.ForkExec(path, append([]string{filepath.Base(path)}, launch.Args...), &syscall.ProcAttr{
		Dir: "/", Env: launch.Env,
		Files: []uintptr{stdin.Fd(), output, output},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, nil, fmt.Errorf("starting %s: %w", path, err)
	}
	ended := make(chan syscall.WaitStatus, 1)
	r.waiting[pid] = ended
	return pid, ended, nil
}

// lookPath finds a program in the PATH of the environment it will have.
func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, entry := range env {
		list, ok := strings.CutPrefix(entry, "PATH=")
		if !ok {
			continue
		}
		for _, dir := range filepath.SplitList(list) {
			path := filepath.Join(dir, name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
				return path, nil
			}
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}

// Run runs a program to its end and returns what it said.
func (r *Reaper) Run(launch Launch) (string, error) {
	output, err := os.CreateTemp("", "quartermaster-*")
	if err != nil {
		return "", err
	}
	defer output.Close()
	if err := os.Remove(output.Name()); err != nil {
		return "", err
	}
	launch.Output = output
	_, ended, err := r.Start(launch)
	if err != nil {
		return "", err
	}
	status := <-ended
	said := make([]byte, 64<<10)
	n, _ := output.ReadAt(said, 0) // an empty file is an end of file, not an error
	text := strings.TrimSpace(string(said[:n]))
	if status != 0 {
		return text, fmt.Errorf("%s %s: %s: %s", launch.Path, strings.Join(launch.Args, " "), Describe(status), text)
	}
	return text, nil
}

// Describe says how a process ended.
func Describe(status syscall.WaitStatus) string {
	if status.Signaled() {
		return "ended by signal " + status.Signal().String()
	}
	return fmt.Sprintf("exit status %d", status.ExitStatus())
}
