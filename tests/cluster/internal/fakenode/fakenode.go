// Package fakenode keeps nodes alive that exist in the API only: for tests of
// what the operator makes of a fleet. No kubelet stands behind them, so that a
// pod bound to one stays Pending.
package fakenode

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"sort"
	"sync"
	"time"

	"quartermaster.dev/tests/cluster/internal/conf"
	"quartermaster.dev/tests/cluster/internal/kubeapi"
)

type object = kubeapi.Object

// Mark is the label of every such node, and the taint of those that ordinary
// pods shall keep off.
const Mark = "quartermaster.dev/api-only"

// The controller manager gives a node up after 50 s without a sign of life.
const (
	leaseEvery  = 10 * time.Second
	statusEvery = 30 * time.Second
)

// Spec describes a node.
type Spec struct {
	Name   string            `json:"name"`
	GPUs   int               `json:"gpus"`
	Labels map[string]string `json:"labels,omitempty"`
	// Schedulable leaves the taint out: pods are bound to the node although
	// they will never run there.
	Schedulable bool `json:"schedulable,omitempty"`
}

// Fleet is all such nodes of a cluster.
type Fleet struct {
	client *kubeapi.Client
	mu     sync.Mutex
	nodes  map[string]time.Time // when the status was last written
}

// New makes a fleet without nodes and keeps what it will have alive.
func New(client *kubeapi.Client) *Fleet {
	f := &Fleet{client: client, nodes: map[string]time.Time{}}
	go func() {
		for range time.Tick(leaseEvery) {
			f.beat()
		}
	}()
	return f
}

// Names lists the nodes.
func (f *Fleet) Names() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	names := make([]string, 0, len(f.nodes))
	for name := range f.nodes {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Add creates a node, or brings the one of that name up to date.
func (f *Fleet) Add(ctx context.Context, spec Spec) error {
	if err := f.client.Apply(ctx, nodePath(spec.Name), nodeObject(spec)); err != nil {
		return err
	}
	if err := f.client.Patch(ctx, nodePath(spec.Name)+"/status", kubeapi.StrategicPatch, object{"status": statusObject(spec)}); err != nil {
		return err
	}
	if err := f.renew(ctx, spec.Name); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes[spec.Name] = time.Now()
	return nil
}

// Remove deletes a node. Only nodes of the fleet are deleted.
func (f *Fleet) Remove(ctx context.Context, name string) error {
	f.mu.Lock()
	_, ours := f.nodes[name]
	delete(f.nodes, name)
	f.mu.Unlock()
	if !ours {
		return fmt.Errorf("%q is not a node that `node add` made", name)
	}
	if err := f.client.Delete(ctx, nodePath(name)); err != nil {
		return err
	}
	return f.client.Delete(ctx, leasePath(name))
}

// beat gives every node's sign of life. A failure is not repeated at once: the
// next beat is soon enough.
func (f *Fleet) beat() {
	ctx, cancel := context.WithTimeout(context.Background(), leaseEvery)
	defer cancel()
	for _, name := range f.Names() {
		err := f.renew(ctx, name)
		f.mu.Lock()
		last, still := f.nodes[name]
		f.mu.Unlock()
		if err == nil && still && time.Since(last) >= statusEvery {
			status := object{"status": object{"conditions": conditions(time.Now())}}
			err = f.client.Patch(ctx, nodePath(name)+"/status", kubeapi.StrategicPatch, status)
			f.mu.Lock()
			if _, still := f.nodes[name]; still && err == nil {
				f.nodes[name] = time.Now()
			}
			f.mu.Unlock()
		}
		if err != nil && still {
			log.Printf("node %s: %v", name, err)
		}
	}
}

// renew writes the node's lease, which is what counts as a sign of life.
func (f *Fleet) renew(ctx context.Context, name string) error {
	spec := object{
		"holderIdentity": name, "leaseDurationSeconds": 40,
		"renewTime": time.Now().UTC().Format("2006-01-02T15:04:05.000000Z"),
	}
	err := f.client.Patch(ctx, leasePath(name), kubeapi.MergePatch, object{"spec": spec})
	if !kubeapi.IsCode(err, http.StatusNotFound) {
		return err
	}
	return f.client.Create(ctx, leases, object{
		"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
		"metadata": object{"name": name, "namespace": "kube-node-lease"}, "spec": spec,
	})
}

const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"

func leasePath(name string) string { return leases + "/" + name }

func nodePath(name string) string { return "/api/v1/nodes/" + name }

func nodeObject(spec Spec) object {
	labels := object{
		Mark: "true", "kubernetes.io/hostname": spec.Name,
		"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64",
	}
	for _, label := range conf.GPULabels(spec.GPUs) {
		labels[label.Key] = label.Value
	}
	for key, value := range spec.Labels {
		labels[key] = value
	}
	taints := []object{}
	if !spec.Schedulable {
		taints = append(taints, object{"key": Mark, "value": "true", "effect": "NoSchedule"})
	}
	return object{
		"apiVersion": "v1", "kind": "Node",
		"metadata": object{"name": spec.Name, "labels": labels},
		"spec":     object{"taints": taints},
	}
}

func statusObject(spec Spec) object {
	amount := object{"cpu": "64", "memory": "512Gi", "pods": "110", "ephemeral-storage": "1Ti"}
	if spec.GPUs > 0 {
		amount[conf.GPUResource] = fmt.Sprint(spec.GPUs)
	}
	return object{
		"capacity": amount, "allocatable": amount, "conditions": conditions(time.Now()),
		"nodeInfo": object{
			"architecture": "amd64", "operatingSystem": "linux", "osImage": "none", "kernelVersion": "none",
			"kubeletVersion": "none", "kubeProxyVersion": "none", "containerRuntimeVersion": "none://0",
			"bootID": "none", "machineID": "none", "systemUUID": "none",
		},
	}
}

// conditions say that all is well.
func conditions(now time.Time) []object {
	stamp := now.UTC().Format(time.RFC3339)
	one := func(kind, status, reason string) object {
		return object{"type": kind, "status": status, "reason": reason, "message": "written by tests/cluster", "lastHeartbeatTime": stamp}
	}
	return []object{
		one("Ready", "True", "APIOnly"), one("MemoryPressure", "False", "APIOnly"),
		one("DiskPressure", "False", "APIOnly"), one("PIDPressure", "False", "APIOnly"),
	}
}
