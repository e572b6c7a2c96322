package main

import (
	"context"

	"github.com/spf13/cobra"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // the JSON log format
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the API clients
	_ "k8s.io/component-base/metrics/prometheus/version"  // metric of the build's version
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func runAPIServer() int         { return runCobra(apiserver.NewAPIServerCommand()) }
func runControllerManager() int { return runCobra(controllermanager.NewControllerManagerCommand()) }
func runScheduler() int         { return runCobra(scheduler.NewSchedulerCommand()) }
func runProxy() int             { return runCobra(proxy.NewProxyCommand()) }
func runKubelet() int           { return runCobra(kubelet.NewKubeletCommand(context.Background())) }

// runCobra runs a Kubernetes component as its own main function does.
func runCobra(command *cobra.Command) int { return cli.Run(command) }

// runKubectl runs kubectl, whose errors must go through its own printer: it
// turns an API error into the sentence that users know.
func runKubectl() int {
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		return 1
	}
	return 0
}
