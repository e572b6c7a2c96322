package node

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"sync"
	"time"

	"quartermaster.dev/tests/cluster/internal/bootstrap"
	"quartermaster.dev/tests/cluster/internal/conf"
	"quartermaster.dev/tests/cluster/internal/fakenode"
	"quartermaster.dev/tests/cluster/internal/kubeapi"
	"quartermaster.dev/tests/cluster/internal/layout"
	"quartermaster.dev/tests/cluster/internal/settings"
	"quartermaster.dev/tests/cluster/internal/supervise"
)

// bootTimeout is many times what a slow machine needs.
const bootTimeout = 2 * time.Minute

// Node is the running node.
type Node struct {
	cluster  layout.Cluster
	settings settings.Settings
	env      []string
	reaper   *supervise.Reaper
	keeper   *supervise.Keeper
	client   *kubeapi.Client
	fleet    *fakenode.Fleet
	progress progress
}

// RunSecondStage is the node's first process from its mounts to its end. It
// returns only when something is wrong.
func RunSecondStage(c layout.Cluster) error {
	if os.Getpid() != 1 {
		return errors.New("this command is for the node's first process only")
	}
	s, err := settings.Read(c.Settings())
	if err != nil {
		return err
	}
	if err := arrangeMounts(c); err != nil {
		return err
	}
	env := []string{
		"PATH=" + s.BinDir + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + layout.Hold, "LANG=C.UTF-8",
	}
	reaper := supervise.NewReaper()
	n := &Node{cluster: c, settings: s, env: env, reaper: reaper}
	n.keeper = supervise.NewKeeper(reaper, env, programs(c, s))
	if n.client, err = bootstrap.Client(c, s); err != nil {
		return err
	}
	listener, err := listen(c.Socket())
	if err != nil {
		return err
	}
	if err := awaitGoAhead(); err != nil {
		return err
	}
	if err := arrangeNetwork(reaper, env, s.Block); err != nil {
		return err
	}
	n.fleet = fakenode.New(n.client)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
		defer cancel()
		if err := n.boot(ctx); err != nil {
			log.Printf("starting the cluster: %v", err)
			n.progress.fail(err)
			return
		}
		n.progress.finish()
		n.keepGPUs()
	}()
	return n.serve(listener)
}

func programs(c layout.Cluster, s settings.Settings) []supervise.Program {
	var list []supervise.Program
	for _, component := range conf.Components(c, s) {
		list = append(list, supervise.Program{
			Name: component.Name, Path: component.Path, Args: component.Args, Log: c.Log(component.Name),
		})
	}
	return list
}

// boot starts everything, each as soon as what it needs is there.
func (n *Node) boot(ctx context.Context) error {
	if err := n.setHostname(); err != nil {
		return err
	}
	if err := n.start(conf.Etcd, conf.APIServer, conf.Containerd); err != nil {
		return err
	}
	// The kubelet ends at once if containerd is not there, so that both must
	// be ready before the rest begins.
	err := together(
		func() error { return n.bootRuntime(ctx) },
		func() error { return n.bootAPI(ctx) },
	)
	if err != nil {
		return err
	}
	if err := n.start(conf.ControllerManager, conf.Scheduler, conf.Kubelet, conf.Proxy, conf.CoreDNS); err != nil {
		return err
	}
	return together(
		func() error { return n.bootNames(ctx) },
		func() error { return n.bootNode(ctx) },
	)
}

// bootRuntime waits for containerd, and gives it the one image that no pod
// can do without.
func (n *Node) bootRuntime(ctx context.Context) error {
	ready := func() error {
		_, err := n.ctr("version")
		return err
	}
	if err := await(ctx, "containerd", ready); err != nil {
		return err
	}
	if _, err := n.ctr("--namespace", "k8s.io", "images", "import", n.cluster.Images("pause.tar")); err != nil {
		return err
	}
	n.progress.step("containerd is ready")
	return nil
}

func (n *Node) ctr(args ...string) (string, error) {
	args = append([]string{"--address", conf.ContainerdSocket}, args...)
	return n.reaper.Run(supervise.Launch{Path: "ctr", Args: args, Env: n.env})
}

// bootAPI waits until the API server is ready, which includes its default
// roles: the controller manager ends when it may not yet read what one of them
// lets it.
func (n *Node) bootAPI(ctx context.Context) error {
	ready := func() error { return n.client.Get(ctx, "/readyz", nil) }
	if err := await(ctx, "the API server", ready); err != nil {
		return err
	}
	n.progress.step("the API server is ready")
	return nil
}

// bootNames brings up the name service.
func (n *Node) bootNames(ctx context.Context) error {
	apply := func() error { return bootstrap.NameService(ctx, n.client, n.settings) }
	if err := await(ctx, "the name service's objects", apply); err != nil {
		return err
	}
	if err := await(ctx, "CoreDNS", func() error { return probe(ctx, conf.DNSReadyURL) }); err != nil {
		return err
	}
	n.progress.step("the name service is ready")
	return nil
}

// bootNode waits for the kubelet's node, and for what a pod needs there.
func (n *Node) bootNode(ctx context.Context) error {
	name := n.cluster.NodeName()
	ready := func() error {
		if yes, err := kubeapi.Ready(ctx, n.client, name); err != nil || !yes {
			return errors.Join(errors.New("it is not ready"), err)
		}
		return nil
	}
	if err := await(ctx, "node "+name, ready); err != nil {
		return err
	}
	n.progress.step("node " + name + " is ready")
	give := func() error { return bootstrap.GPUs(ctx, n.client, name, n.settings.GPUs) }
	if err := await(ctx, "the node's GPUs", give); err != nil {
		return err
	}
	// A pod that is created before this account is refused.
	account := func() error { return n.client.Get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil) }
	if err := await(ctx, "the default service account", account); err != nil {
		return err
	}
	n.progress.step("pods can run")
	return nil
}

// keepGPUs gives the node its GPUs again whenever the kubelet took them away.
func (n *Node) keepGPUs() {
	for range time.Tick(2 * time.Second) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		// It fails while a test has the API server down, and is tried again.
		_ = bootstrap.GPUs(ctx, n.client, n.cluster.NodeName(), n.settings.GPUs)
		cancel()
	}
}

func (n *Node) start(names ...string) error {
	for _, name := range names {
		if err := n.keeper.Start(name); err != nil {
			return err
		}
	}
	return nil
}

// together runs functions at the same time and waits for all.
func together(functions ...func() error) error {
	failed := make([]error, len(functions))
	var group sync.WaitGroup
	for i, function := range functions {
		group.Go(func() { failed[i] = function() })
	}
	group.Wait()
	return errors.Join(failed...)
}

// await tries until it works or time is up.
func await(ctx context.Context, what string, try func() error) error {
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func probe(ctx context.Context, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	client := http.Client{Timeout: 2 * time.Second}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, response.Status)
	}
	return nil
}
