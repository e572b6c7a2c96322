//go:build heavy

package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	// CoreDNS offers exactly the plugins that are imported.
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loop"
	_ "github.com/coredns/coredns/plugin/ready"

	"github.com/coredns/coredns/coremain"
	"github.com/google/go-containerregistry/cmd/crane/cmd"
	"github.com/google/go-containerregistry/pkg/crane"
	"go.etcd.io/etcd/server/v3/etcdmain"
	helm "helm.sh/helm/v4/pkg/cmd"
	helmkube "helm.sh/helm/v4/pkg/kube"
)

func runEtcd() int {
	etcdmain.Main(os.Args)
	return 0
}

func runCoreDNS() int {
	coremain.Run()
	return 0
}

// runHelm repeats helm's main function, which is not importable.
func runHelm() int {
	helmkube.ManagedFieldsManager = "helm" // else it is taken from the name of this program
	root, err := helm.NewRootCmd(os.Stdout, os.Args[1:], helm.SetupLogging)
	if err != nil {
		slog.Warn("command failed", slog.Any("error", err))
		return 1
	}
	if err := root.Execute(); err != nil {
		var withStatus helm.CommandError
		if errors.As(err, &withStatus) {
			return withStatus.ExitCode
		}
		return 1
	}
	return 0
}

// runCrane runs crane with plain Execute: under component-base's cli.Run its
// flags collide with those that Kubernetes registers.
func runCrane() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := cmd.New("crane", "Crane is a tool for managing container images", []crane.Option{crane.WithContext(ctx)})
	if err := root.ExecuteContext(ctx); err != nil {
		return 1 // the command has said why
	}
	return 0
}
