package lifecycle

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"quartermaster.dev/tests/cluster/internal/address"
	"quartermaster.dev/tests/cluster/internal/bootstrap"
	"quartermaster.dev/tests/cluster/internal/conf"
	"quartermaster.dev/tests/cluster/internal/host"
	"quartermaster.dev/tests/cluster/internal/image"
	"quartermaster.dev/tests/cluster/internal/kubeapi"
	"quartermaster.dev/tests/cluster/internal/layout"
	"quartermaster.dev/tests/cluster/internal/node"
	"quartermaster.dev/tests/cluster/internal/pki"
	"quartermaster.dev/tests/cluster/internal/say"
	"quartermaster.dev/tests/cluster/internal/settings"
	"quartermaster.dev/tests/cluster/internal/supervise"
	"quartermaster.dev/tests/cluster/internal/tools"
)

// Options are what the user asks of a cluster.
type Options struct {
	Gates    string
	HPASync  string
	GPUs     int
	Fsync    bool
	ImageDir string
	// Given names the options that were given, not left to their defaults.
	Given map[string]bool
}

var (
	// errAbsent means that there is no cluster, or only the remains of one.
	errAbsent = errors.New("the cluster does not run")
	// errUnhealthy means that a cluster is there, but better made anew.
	errUnhealthy = errors.New("the cluster does not work")
)

// Up makes a cluster, or repairs the one that is there, and returns when pods
// can run.
func Up(ctx context.Context, c layout.Cluster, options Options, speaker *say.Speaker) error {
	if err := RequireRoot(); err != nil {
		return err
	}
	// Building comes before the lock, so that nobody has to wait for it who
	// only wants to take the cluster down.
	if _, err := First(c); err != nil {
		if _, err := tools.Get(ctx, speaker); err != nil {
			return err
		}
	}
	held, err := lock(c, speaker)
	if err != nil {
		return err
	}
	defer held.Release()
	err = repair(ctx, c, options, speaker)
	if errors.Is(err, errUnhealthy) {
		speaker.Line("making the cluster anew: %v", err)
	}
	if errors.Is(err, errUnhealthy) || errors.Is(err, errAbsent) {
		err = create(ctx, c, options, speaker)
	}
	if err != nil {
		return err
	}
	if options.ImageDir != "" {
		archives, err := filepath.Glob(filepath.Join(options.ImageDir, "*.tar"))
		if err != nil {
			return err
		}
		if err := Load(c, archives, speaker); err != nil {
			return err
		}
	}
	speaker.Line("cluster %q is up; export KUBECONFIG=%s", c.Name, c.Kubeconfig())
	return nil
}

// repair brings a running cluster into order. It starts what a test killed and
// resumes what it paused.
func repair(ctx context.Context, c layout.Cluster, options Options, speaker *say.Speaker) error {
	first, err := host.LoadProcess(c.Init())
	if err != nil || !first.Alive() {
		return errAbsent
	}
	s, err := settings.Read(c.Settings())
	if err != nil {
		return fmt.Errorf("%w: %w", errUnhealthy, err)
	}
	if err := options.conflict(c, s); err != nil {
		return err
	}
	if _, err := node.Ask(c.Socket(), node.Request{Op: node.OpRepair}); err != nil {
		return fmt.Errorf("%w: %w", errUnhealthy, err)
	}
	if err := watch(ctx, c, s, first, speaker); err != nil {
		return fmt.Errorf("%w: %w", errUnhealthy, err)
	}
	return nil
}

// conflict tells whether the user asks for something that the cluster that is
// there is not. To make it anew would take away what the user has in it.
func (o Options) conflict(c layout.Cluster, s settings.Settings) error {
	var differ []string
	compare := func(name string, asked, is any) {
		if o.Given[name] && asked != is {
			differ = append(differ, fmt.Sprintf("--%s is %v, not %v", name, is, asked))
		}
	}
	compare("gates", o.Gates, s.Gates)
	compare("hpa-sync", o.HPASync, s.HPASync)
	compare("gpus", o.GPUs, s.GPUs)
	compare("fsync", o.Fsync, s.Fsync)
	if len(differ) == 0 {
		return nil
	}
	return fmt.Errorf("cluster %q is up with other options (%s); take it down first", c.Name, strings.Join(differ, ", "))
}

// create makes a cluster where there is none, or only the remains of one.
func create(ctx context.Context, c layout.Cluster, options Options, speaker *say.Speaker) error {
	if _, err := host.Hierarchies(); err != nil {
		return err
	}
	if err := clean(c); err != nil {
		return err
	}
	bin, err := tools.Get(ctx, speaker)
	if err != nil {
		return err
	}
	for _, folder := range c.Folders() {
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
	}
	// Addresses are chosen and taken under one lock of the whole machine, lest
	// two clusters choose the same.
	allocation, err := host.Acquire("addresses", lockPatience, func() { speaker.Line("waiting for another cluster to choose its addresses") })
	if err != nil {
		return err
	}
	defer allocation.Release()
	s, err := choose(c, options, bin)
	if err != nil {
		return err
	}
	if err := prepare(c, s); err != nil {
		return err
	}
	speaker.Line("certificates and configuration are written; network %s", s.Block.All())
	first, err := launch(c, s)
	if err != nil {
		return errors.Join(err, clean(c))
	}
	allocation.Release()
	return watch(ctx, c, s, first, speaker)
}

func choose(c layout.Cluster, options Options, bin string) (settings.Settings, error) {
	used, err := host.UsedPrefixes()
	if err != nil {
		return settings.Settings{}, err
	}
	sum := sha256.Sum256([]byte(c.Dir))
	block, err := address.Choose(binary.BigEndian.Uint32(sum[:]), used)
	return settings.Settings{
		Name: c.Name, Block: block, BinDir: bin, Gates: options.Gates, HPASync: options.HPASync,
		GPUs: options.GPUs, Fsync: options.Fsync, Created: time.Now().UTC(),
	}, err
}

// prepare writes everything that the node reads.
func prepare(c layout.Cluster, s settings.Settings) error {
	if err := pki.Cluster(c.PKI, s.Block, c.NodeName()); err != nil {
		return err
	}
	pause := image.Spec{
		Tag: conf.SandboxImage, Entrypoint: []string{"/pause"}, User: "65535:65535",
		Files: []image.File{{Source: filepath.Join(s.BinDir, "pause"), Target: "/pause"}},
	}
	return errors.Join(
		conf.Write(c, s),
		s.Write(c.Settings()),
		pause.Write(c.Images("pause.tar")),
		copySelf(c.Program()),
	)
}

// copySelf copies the running program.
func copySelf(target string) error {
	source, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer source.Close()
	copied, err := os.OpenFile(target, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o700)
	if err != nil {
		return err
	}
	_, err = io.Copy(copied, source)
	return errors.Join(err, copied.Close())
}

// launch starts the node and connects it. It is written down before it may go
// ahead: until then it ends with this process.
func launch(c layout.Cluster, s settings.Settings) (host.Process, error) {
	if err := host.MakeCgroups(c.Cgroup()); err != nil {
		return host.Process{}, err
	}
	first, proceed, err := node.Launch(c)
	if err != nil {
		return first, err
	}
	if err := first.Save(c.Init()); err != nil {
		return first, err
	}
	alias := "quartermaster:" + c.Name
	if err := host.Connect(c.Link(), alias, first.PID, s.Block); err != nil {
		return first, fmt.Errorf("%w; the node's log says: %s", err, tail(c.Log("node")))
	}
	return first, proceed()
}

// watch tells each step that the node reaches, until pods can run.
func watch(ctx context.Context, c layout.Cluster, s settings.Settings, first host.Process, speaker *say.Speaker) error {
	begun, told, lastSaid := time.Now(), 0, time.Now()
	for {
		if !first.Alive() {
			return fmt.Errorf("the node's first process has ended; its log says: %s", tail(c.Log("node")))
		}
		answer, err := node.Ask(c.Socket(), node.Request{Op: node.OpStatus})
		for ; err == nil && told < len(answer.Steps); told++ {
			if answer.Steps[told].At.After(begun) {
				speaker.LineAt(answer.Steps[told].At, "%s", answer.Steps[told].Text)
				lastSaid = time.Now()
			}
		}
		if err == nil {
			switch answer.Phase {
			case node.Failed:
				return fmt.Errorf("%s; logs are in %s", answer.Failure, filepath.Dir(c.Log("node")))
			case node.Running:
				return confirm(ctx, c, s)
			}
		}
		if time.Since(begun) > 3*time.Minute {
			return fmt.Errorf("the node is not there after %v; logs are in %s", time.Since(begun).Round(time.Second), filepath.Dir(c.Log("node")))
		}
		if time.Since(lastSaid) > 3*time.Second {
			speaker.Line("waiting for the components …%s", troubles(answer.Components))
			lastSaid = time.Now()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// troubles names the components that end again and again.
func troubles(components []supervise.State) string {
	var text string
	for _, component := range components {
		if component.Restarts > 1 {
			text += fmt.Sprintf(" %s has been restarted %d times (%s).", component.Name, component.Restarts, component.Ended)
		}
	}
	return text
}

// confirm sees for itself that the node is ready, as it may have been long ago,
// and writes the user's kubeconfig.
func confirm(ctx context.Context, c layout.Cluster, s settings.Settings) error {
	client, err := bootstrap.Client(c, s)
	if err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; {
		ready, err := kubeapi.Ready(ctx, client, c.NodeName())
		if err == nil && ready {
			return conf.WriteAdminKubeconfig(c, s)
		}
		if time.Now().After(deadline) {
			return errors.Join(fmt.Errorf("node %s is not ready", c.NodeName()), err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// tail reads the end of a log.
func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(text[max(0, len(text)-1000):]))
}
