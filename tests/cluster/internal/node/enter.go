// Package node is the first process of a cluster's namespaces: it makes a node
// of them, starts the components, and obeys commands from outside. When it
// ends, for whatever reason, the kernel ends all that it started.
package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"

	"quartermaster.dev/tests/cluster/internal/host"
	"quartermaster.dev/tests/cluster/internal/layout"
)

// newCgroup is CLONE_NEWCGROUP, which package syscall does not name.
const newCgroup = 0x02000000

// The hidden commands by which the program runs itself in the node.
const (
	FirstStage  = "node-first-stage"
	SecondStage = "node-second-stage"
)

// goAhead is the descriptor on which the node hears that it may start. If the
// command that made it dies before it has written down what it made, the node
// reads the end of the file and ends as well, so that nothing is ever lost
// sight of.
const goAhead = 3

// Launch starts the first process in namespaces of its own, and returns the
// function that lets it go ahead.
func Launch(c layout.Cluster) (process host.Process, proceed func() error, err error) {
	output, err := os.OpenFile(c.Log("node"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return host.Process{}, nil, err
	}
	defer output.Close()
	reader, writer, err := os.Pipe()
	if err != nil {
		return host.Process{}, nil, err
	}
	defer reader.Close()
	command := exec.Command(c.Program(), FirstStage, "--name", c.Name)
	command.Dir = "/"
	command.Env = append(os.Environ(), "QUARTERMASTER_STATE="+c.Root)
	command.Stdout, command.Stderr = output, output
	command.ExtraFiles = []*os.File{reader}
	command.SysProcAttr = &syscall.SysProcAttr{
		Setsid: true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	if err := command.Start(); err != nil {
		writer.Close()
		return host.Process{}, nil, fmt.Errorf("making the node's namespaces: %w", err)
	}
	go func() { _ = command.Wait() }() // collects it, should it end before we do
	process, err = host.Identify(command.Process.Pid)
	if err != nil {
		writer.Close()
		return host.Process{}, nil, err
	}
	return process, func() error {
		_, err := writer.Write([]byte{'\n'})
		return errors.Join(err, writer.Close())
	}, nil
}

// RunFirstStage moves into the cluster's cgroups and makes them the root of
// what is seen from here. The namespace belongs to the calling thread only,
// and executing a program makes that thread the only one.
func RunFirstStage(c layout.Cluster) error {
	if os.Getpid() != 1 {
		return errors.New("this command is for the node's first process only")
	}
	if err := host.JoinCgroups(c.Cgroup()); err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := syscall.Unshare(newCgroup); err != nil {
		return fmt.Errorf("making a cgroup namespace: %w", err)
	}
	return syscall.Exec(c.Program(), []string{c.Program(), SecondStage, "--name", c.Name}, os.Environ())
}

// awaitGoAhead waits until the command outside has done its part.
func awaitGoAhead() error {
	pipe := os.NewFile(goAhead, "go-ahead")
	defer pipe.Close()
	if n, err := pipe.Read(make([]byte, 1)); n != 1 {
		return fmt.Errorf("the command that started the node ended first: %w", err)
	}
	return nil
}

// Enter gives the command line that runs another command inside of the node.
func Enter(first host.Process, command ...string) []string {
	line := []string{"nsenter", "--target", strconv.Itoa(first.PID), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"}
	return append(line, command...)
}
