package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"quartermaster.dev/tests/cluster/internal/fakenode"
	"quartermaster.dev/tests/cluster/internal/supervise"
)

// The operations that the node performs on request.
const (
	OpStatus     = "status"
	OpKill       = "kill"
	OpPause      = "pause"
	OpResume     = "resume"
	OpStart      = "start"
	OpRestart    = "restart"
	OpRepair     = "repair"
	OpNodeAdd    = "node-add"
	OpNodeRemove = "node-remove"
)

// Request asks for an operation.
type Request struct {
	Op        string        `json:"op"`
	Component string        `json:"component,omitempty"`
	Node      fakenode.Spec `json:"node,omitzero"`
}

// Answer says how it went. Only a request for the status fills all of it.
type Answer struct {
	Error      string            `json:"error,omitempty"`
	Phase      Phase             `json:"phase,omitempty"`
	Failure    string            `json:"failure,omitempty"`
	Steps      []Step            `json:"steps,omitempty"`
	Components []supervise.State `json:"components,omitempty"`
	APINodes   []string          `json:"apiNodes,omitempty"`
}

// conversation bounds one request with its answer: restarting a component
// that will not end is the longest.
const conversation = 45 * time.Second

// shorten gives a socket a path that fits the kernel's limit of 108 bytes, by
// way of its folder's descriptor. The folder must stay open meanwhile.
func shorten(path string) (short string, folder *os.File, err error) {
	folder, err = os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", folder.Fd(), filepath.Base(path)), folder, nil
}

func listen(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	short, folder, err := shorten(path)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	return net.Listen("unix", short)
}

// Ask sends a request to the node that listens at path.
func Ask(path string, request Request) (Answer, error) {
	short, folder, err := shorten(path)
	if err != nil {
		return Answer{}, err
	}
	defer folder.Close()
	connection, err := net.DialTimeout("unix", short, 2*time.Second)
	if err != nil {
		return Answer{}, fmt.Errorf("the node does not listen: %w", errors.Unwrap(err))
	}
	defer connection.Close()
	if err := connection.SetDeadline(time.Now().Add(conversation)); err != nil {
		return Answer{}, err
	}
	if err := json.NewEncoder(connection).Encode(request); err != nil {
		return Answer{}, err
	}
	var answer Answer
	if err := json.NewDecoder(connection).Decode(&answer); err != nil {
		return Answer{}, fmt.Errorf("the node gave no answer: %w", err)
	}
	if answer.Error != "" {
		return answer, errors.New(answer.Error)
	}
	return answer, nil
}

// serve answers requests until the socket fails.
func (n *Node) serve(listener net.Listener) error {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return err
		}
		go n.converse(connection)
	}
}

func (n *Node) converse(connection net.Conn) {
	defer connection.Close()
	if connection.SetDeadline(time.Now().Add(conversation)) != nil {
		return
	}
	var request Request
	var answer Answer
	if err := json.NewDecoder(connection).Decode(&request); err != nil {
		answer.Error = "the request cannot be read: " + err.Error()
	} else if answer, err = n.perform(request); err != nil {
		answer.Error = err.Error()
	}
	// Whoever asked may have gone; there is nobody else to tell.
	_ = json.NewEncoder(connection).Encode(answer)
}

func (n *Node) perform(request Request) (Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), conversation)
	defer cancel()
	switch request.Op {
	case OpStatus:
		phase, failure, steps := n.progress.read()
		return Answer{Phase: phase, Failure: failure, Steps: steps, Components: n.keeper.States(), APINodes: n.fleet.Names()}, nil
	case OpKill:
		return Answer{}, n.keeper.Kill(request.Component)
	case OpPause:
		return Answer{}, n.keeper.Pause(request.Component)
	case OpResume:
		return Answer{}, n.keeper.Resume(request.Component)
	case OpStart:
		return Answer{}, n.keeper.Start(request.Component)
	case OpRestart:
		return Answer{}, n.keeper.Restart(request.Component)
	case OpRepair:
		return Answer{}, n.keeper.Repair()
	case OpNodeAdd:
		return Answer{}, n.fleet.Add(ctx, request.Node)
	case OpNodeRemove:
		return Answer{}, n.fleet.Remove(ctx, request.Node.Name)
	}
	return Answer{}, fmt.Errorf("there is no operation %q", request.Op)
}

func (n *Node) setHostname() error {
	if err := syscall.Sethostname([]byte(n.cluster.NodeName())); err != nil {
		return fmt.Errorf("naming the node: %w", err)
	}
	return nil
}
