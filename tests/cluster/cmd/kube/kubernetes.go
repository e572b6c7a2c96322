//go:build heavy

package main

import (
	"context"
	"os"

	"github.com/spf13/cobra"

	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // the JSON log format
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // metrics of the API clients
	_ "k8s.io/component-base/metrics/prometheus/version"  // metric of the build's version
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
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
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args)) // as upstream: a bad level is no reason to stop
	kubectlutil.CheckErr(cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()))
	return 0
}
