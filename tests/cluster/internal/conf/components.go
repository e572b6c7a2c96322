// Package conf says how each component is started: its command line, and the
// files that the command line names.
package conf

import (
	"fmt"
	"path/filepath"
	"strings"

	"quartermaster.dev/tests/cluster/internal/layout"
	"quartermaster.dev/tests/cluster/internal/pki"
	"quartermaster.dev/tests/cluster/internal/settings"
)

// The names of the components.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Containerd        = "containerd"
	Kubelet           = "kubelet"
	Proxy             = "kube-proxy"
	CoreDNS           = "coredns"
)

// Names lists the components in the order in which they depend on each other.
var Names = []string{Etcd, APIServer, Containerd, ControllerManager, Scheduler, Kubelet, Proxy, CoreDNS}

// Where things are inside of the node. The folders are the node's own: it has
// a private file system over /run.
const (
	ContainerdSocket = "/run/containerd/containerd.sock"
	// SandboxImage holds a pod's namespaces open. There is no registry behind
	// the name: the image is loaded before the first pod.
	SandboxImage = "localhost/quartermaster-pause:1"
	// DNSReadyURL answers when CoreDNS has the cluster's services. Its port
	// is one that no pod on the host's network is likely to want.
	DNSReadyURL = "http://127.0.0.1:18181/ready"
)

// APIPort is the API server's.
const APIPort = 6443

// APIURL is where the API server is reached, inside and outside of the node.
func APIURL(s settings.Settings) string {
	return fmt.Sprintf("https://%s:%d", s.Block.Node(), APIPort)
}

// Component is a program that the node keeps running.
type Component struct {
	Name string
	Path string
	Args []string
}

// Components gives the command line of every component.
func Components(c layout.Cluster, s settings.Settings) map[string]Component {
	args := map[string][]string{
		Etcd:              etcdArgs(c, s),
		APIServer:         apiServerArgs(c, s),
		ControllerManager: controllerManagerArgs(c, s),
		Scheduler:         schedulerArgs(c),
		Kubelet:           kubeletArgs(c, s),
		Proxy:             {"--config=" + c.Conf("kube-proxy.json")},
		Containerd:        {"--config", c.Conf("containerd.toml"), "--log-level", "warn"},
		CoreDNS:           {"-conf", c.Conf("Corefile")},
	}
	components := map[string]Component{}
	for name, list := range args {
		path := filepath.Join(s.BinDir, name)
		if name == Containerd {
			path = name // Debian's, found by PATH
		}
		components[name] = Component{Name: name, Path: path, Args: list}
	}
	return components
}

func etcdArgs(c layout.Cluster, s settings.Settings) []string {
	const client, peer = "https://127.0.0.1:2379", "https://127.0.0.1:2380"
	return []string{
		"--name=node", "--data-dir=" + c.Data(Etcd),
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=node=" + peer,
		"--cert-file=" + c.PKI("etcd.crt"), "--key-file=" + c.PKI("etcd.key"),
		"--trusted-ca-file=" + c.PKI(pki.EtcdCA+".crt"), "--client-cert-auth=true",
		"--peer-cert-file=" + c.PKI("etcd.crt"), "--peer-key-file=" + c.PKI("etcd.key"),
		"--peer-trusted-ca-file=" + c.PKI(pki.EtcdCA+".crt"), "--peer-client-cert-auth=true",
		"--log-level=warn",
		// Without waiting for the disk a write survives the death of etcd, not
		// that of the machine; after which the cluster is made anew anyway.
		fmt.Sprintf("--unsafe-no-fsync=%t", !s.Fsync),
	}
}

func apiServerArgs(c layout.Cluster, s settings.Settings) []string {
	return withGates(s, []string{
		"--advertise-address=" + s.Block.Node().String(), fmt.Sprintf("--secure-port=%d", APIPort),
		"--tls-cert-file=" + c.PKI("kube-apiserver.crt"), "--tls-private-key-file=" + c.PKI("kube-apiserver.key"),
		"--client-ca-file=" + c.PKI(pki.ClusterCA+".crt"),
		"--etcd-servers=https://127.0.0.1:2379", "--etcd-cafile=" + c.PKI(pki.EtcdCA+".crt"),
		"--etcd-certfile=" + c.PKI("etcd-client.crt"), "--etcd-keyfile=" + c.PKI("etcd-client.key"),
		"--kubelet-certificate-authority=" + c.PKI(pki.ClusterCA+".crt"),
		"--kubelet-client-certificate=" + c.PKI("kube-apiserver-kubelet-client.crt"),
		"--kubelet-client-key=" + c.PKI("kube-apiserver-kubelet-client.key"),
		// By name, the API server would need a name service for its nodes.
		"--kubelet-preferred-address-types=InternalIP",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=" + s.Block.Services().String(),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.PKI(pki.ServiceAccount+".pub"),
		"--service-account-signing-key-file=" + c.PKI(pki.ServiceAccount+".key"),
		// The next lines let the API server pass requests on to API services
		// in pods, as our operator's custom.metrics.k8s.io is.
		"--enable-aggregator-routing=true",
		"--requestheader-client-ca-file=" + c.PKI(pki.FrontProxyCA+".crt"),
		"--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--requestheader-group-headers=X-Remote-Group", "--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + c.PKI("front-proxy-client.crt"),
		"--proxy-client-key-file=" + c.PKI("front-proxy-client.key"),
		"--allow-privileged=true",
		"--audit-policy-file=" + c.Conf("audit-policy.json"), "--audit-log-path=" + c.Audit(),
		"--audit-log-maxsize=256", "--audit-log-maxbackup=4",
	})
}

func controllerManagerArgs(c layout.Cluster, s settings.Settings) []string {
	return withGates(s, append([]string{
		"--root-ca-file=" + c.PKI(pki.ClusterCA+".crt"),
		"--service-account-private-key-file=" + c.PKI(pki.ServiceAccount+".key"),
		"--cluster-signing-cert-file=" + c.PKI(pki.ClusterCA+".crt"),
		"--cluster-signing-key-file=" + c.PKI(pki.ClusterCA+".key"),
		"--cluster-cidr=" + s.Block.Pods().String(), "--allocate-node-cidrs=false",
		"--service-cluster-ip-range=" + s.Block.Services().String(),
		"--use-service-account-credentials=true",
		"--horizontal-pod-autoscaler-sync-period=" + s.HPASync,
		"--kube-api-qps=100", "--kube-api-burst=200",
	}, controlPlaneArgs(c, ControllerManager)...))
}

func schedulerArgs(c layout.Cluster) []string { return controlPlaneArgs(c, Scheduler) }

// controlPlaneArgs are common to controller manager and scheduler. There is
// one of each, so that neither elects a leader: an election would delay every
// start by the length of the dead holder's lease, and end the process whenever
// a test stops the API server for longer than that.
func controlPlaneArgs(c layout.Cluster, name string) []string {
	kubeconfig := c.Conf(name + ".kubeconfig")
	return []string{
		"--kubeconfig=" + kubeconfig, "--authentication-kubeconfig=" + kubeconfig, "--authorization-kubeconfig=" + kubeconfig,
		"--client-ca-file=" + c.PKI(pki.ClusterCA+".crt"),
		"--requestheader-client-ca-file=" + c.PKI(pki.FrontProxyCA+".crt"),
		"--tls-cert-file=" + c.PKI(name+"-server.crt"), "--tls-private-key-file=" + c.PKI(name+"-server.key"),
		"--bind-address=127.0.0.1", "--leader-elect=false",
	}
}

func kubeletArgs(c layout.Cluster, s settings.Settings) []string {
	args := []string{
		"--config=" + c.Conf("kubelet.json"), "--kubeconfig=" + c.Conf("kubelet.kubeconfig"),
		"--root-dir=" + c.NodeData(Kubelet), "--hostname-override=" + c.NodeName(),
		"--node-ip=" + s.Block.Node().String(),
	}
	if labels := GPULabels(s.GPUs); len(labels) > 0 {
		var pairs []string
		for _, label := range labels {
			pairs = append(pairs, label.Key+"="+label.Value)
		}
		args = append(args, "--node-labels="+strings.Join(pairs, ","))
	}
	return args
}

func withGates(s settings.Settings, args []string) []string {
	if s.Gates != "" {
		args = append(args, "--feature-gates="+s.Gates)
	}
	return args
}

// Label is a label of a node.
type Label struct{ Key, Value string }

// GPUResource is the resource by which pods ask for GPUs.
const GPUResource = "nvidia.com/gpu"

// GPULabels are those that NVIDIA's GPU operator gives to a node with so many
// GPUs; none to a node without.
func GPULabels(gpus int) []Label {
	if gpus == 0 {
		return nil
	}
	return []Label{
		{GPUResource + ".present", "true"},
		{GPUResource + ".count", fmt.Sprint(gpus)},
		{GPUResource + ".product", "NVIDIA-H100-80GB-HBM3"},
		{GPUResource + ".family", "hopper"},
		{GPUResource + ".memory", "81559"},
	}
}
