package lifecycle

import (
	"context"
	"os"
	"time"

	"quartermaster.dev/tests/cluster/internal/bootstrap"
	"quartermaster.dev/tests/cluster/internal/conf"
	"quartermaster.dev/tests/cluster/internal/fakenode"
	"quartermaster.dev/tests/cluster/internal/host"
	"quartermaster.dev/tests/cluster/internal/layout"
	"quartermaster.dev/tests/cluster/internal/node"
	"quartermaster.dev/tests/cluster/internal/settings"
	"quartermaster.dev/tests/cluster/internal/supervise"
)

// Down and up to what the node's own phases do not reach.
const (
	phaseDown   = "Down"
	phaseBroken = "Broken"
)

// NodeStatus is what the API server says of a node.
type NodeStatus struct {
	Name    string `json:"name"`
	Ready   bool   `json:"ready"`
	GPUs    string `json:"gpus,omitempty"`
	APIOnly bool   `json:"apiOnly"`
}

// Status describes a cluster.
type Status struct {
	Name string `json:"name"`
	// Phase is Down, Starting, Running, Failed, or Broken: the node is there
	// and does not answer.
	Phase   string `json:"phase"`
	Problem string `json:"problem,omitempty"`
	// Kubeconfig is empty until there is something to talk to.
	Kubeconfig string             `json:"kubeconfig,omitempty"`
	Server     string             `json:"server,omitempty"`
	BinDir     string             `json:"binDir,omitempty"`
	Settings   *settings.Settings `json:"settings,omitempty"`
	// Node is the node's first process.
	Node       *host.Process     `json:"node,omitempty"`
	Components []supervise.State `json:"components,omitempty"`
	Nodes      []NodeStatus      `json:"nodes,omitempty"`
}

// ReadStatus finds out how a cluster is. It tells as much as it can: that the
// API server does not answer is no reason to keep quiet about the rest.
func ReadStatus(ctx context.Context, c layout.Cluster) Status {
	status := Status{Name: c.Name, Phase: phaseDown}
	first, err := First(c)
	if err != nil {
		return status
	}
	status.Node = &first
	s, err := settings.Read(c.Settings())
	if err != nil {
		status.Phase, status.Problem = phaseBroken, err.Error()
		return status
	}
	status.Settings, status.Server, status.BinDir = &s, conf.APIURL(s), s.BinDir
	if _, err := os.Stat(c.Kubeconfig()); err == nil {
		status.Kubeconfig = c.Kubeconfig()
	}
	answer, err := node.Ask(c.Socket(), node.Request{Op: node.OpStatus})
	if err != nil {
		status.Phase, status.Problem = phaseBroken, err.Error()
		return status
	}
	status.Phase, status.Problem = string(answer.Phase), answer.Failure
	outside := host.InsidePIDs(first.PID)
	for _, component := range answer.Components {
		component.PID = outside[component.PID] // zero for what does not run
		status.Components = append(status.Components, component)
	}
	if status.Nodes, err = nodes(ctx, c, s); err != nil && status.Problem == "" {
		status.Problem = err.Error()
	}
	return status
}

// nodes lists the nodes as the API server knows them.
func nodes(ctx context.Context, c layout.Cluster, s settings.Settings) ([]NodeStatus, error) {
	client, err := bootstrap.Client(c, s)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	var list struct {
		Items []struct {
			Metadata struct {
				Name   string
				Labels map[string]string
			}
			Status struct {
				Capacity   map[string]string
				Conditions []struct{ Type, Status string }
			}
		}
	}
	if err := client.Get(ctx, "/api/v1/nodes", &list); err != nil {
		return nil, err
	}
	var found []NodeStatus
	for _, item := range list.Items {
		n := NodeStatus{Name: item.Metadata.Name, GPUs: item.Status.Capacity[conf.GPUResource], APIOnly: item.Metadata.Labels[fakenode.Mark] != ""}
		for _, condition := range item.Status.Conditions {
			if condition.Type == "Ready" {
				n.Ready = condition.Status == "True"
			}
		}
		found = append(found, n)
	}
	return found, nil
}
