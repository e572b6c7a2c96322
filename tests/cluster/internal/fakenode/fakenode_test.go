package fakenode

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"quartermaster.dev/tests/cluster/internal/address"
	"quartermaster.dev/tests/cluster/internal/kubeapi"
	"quartermaster.dev/tests/cluster/internal/pki"
)

// server remembers what was written, and knows no lease until it is created.
type server struct {
	mu       sync.Mutex
	requests []string
	bodies   map[string]object
	leases   bool
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := r.Method + " " + r.URL.Path
	s.requests = append(s.requests, line)
	text, _ := io.ReadAll(r.Body)
	var body object
	if json.Unmarshal(text, &body) == nil {
		s.bodies[line] = body
	}
	switch {
	case r.Method == http.MethodPost:
		s.leases = true
	case r.URL.Path == leasePath("n") && !s.leases:
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, `{"message":"leases \"n\" not found"}`)
	}
}

func newFleet(t *testing.T) (*Fleet, *server) {
	t.Helper()
	s := &server{bodies: map[string]object{}}
	listening := httptest.NewTLSServer(s)
	t.Cleanup(listening.Close)
	dir := t.TempDir()
	place := func(file string) string { return filepath.Join(dir, file) }
	if err := pki.Cluster(place, address.Block{A: 10, B: 200}, "n"); err != nil {
		t.Fatal(err)
	}
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: listening.Certificate().Raw})
	if err := os.WriteFile(place("server-ca"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := kubeapi.New(listening.URL, place("server-ca"), place("heartbeat.crt"), place("heartbeat.key"))
	if err != nil {
		t.Fatal(err)
	}
	return New(client), s
}

func TestANodeLivesFromAddToRemove(t *testing.T) {
	fleet, s := newFleet(t)
	ctx := context.Background()
	if err := fleet.Add(ctx, Spec{Name: "n", GPUs: 4, Labels: map[string]string{"zone": "a"}}); err != nil {
		t.Fatal(err)
	}
	node := s.bodies["PATCH "+nodePath("n")]
	labels := node["metadata"].(object)["labels"].(object)
	if labels["zone"] != "a" || labels["nvidia.com/gpu.count"] != "4" || labels[Mark] != "true" {
		t.Errorf("labels are %v", labels)
	}
	if taints := node["spec"].(object)["taints"].([]any); len(taints) != 1 {
		t.Errorf("ordinary pods would be bound to it: %v", taints)
	}
	status := s.bodies["PATCH "+nodePath("n")+"/status"]["status"].(object)
	if status["allocatable"].(object)["nvidia.com/gpu"] != "4" {
		t.Errorf("status is %v", status)
	}
	s.requests = nil
	fleet.beat()
	if len(s.requests) != 1 || s.requests[0] != "PATCH "+leasePath("n") {
		t.Errorf("a sign of life is one write, not %v", s.requests)
	}
	if err := fleet.Remove(ctx, "n"); err != nil {
		t.Fatal(err)
	}
	s.requests = nil
	fleet.beat()
	if len(s.requests) != 0 || len(fleet.Names()) != 0 {
		t.Errorf("removed, it lives on: %v", s.requests)
	}
}

func TestOnlyOurNodesAreRemoved(t *testing.T) {
	fleet, s := newFleet(t)
	if err := fleet.Remove(context.Background(), "demo-node"); err == nil || len(s.requests) != 0 {
		t.Errorf("got %v, %v", err, s.requests)
	}
}

func TestSchedulableNodesHaveNoTaint(t *testing.T) {
	if taints := nodeObject(Spec{Name: "n", Schedulable: true})["spec"].(object)["taints"].([]object); len(taints) != 0 {
		t.Errorf("got %v", taints)
	}
}
