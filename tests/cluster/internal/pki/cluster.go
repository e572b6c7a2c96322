package pki

import (
	"errors"
	"net/netip"

	"quartermaster.dev/tests/cluster/internal/address"
)

// The files of the authorities, without ending.
const (
	ClusterCA    = "ca"
	EtcdCA       = "etcd-ca"
	FrontProxyCA = "front-proxy-ca"
	// ServiceAccount is the key pair that signs service accounts' tokens.
	ServiceAccount = "service-account"
)

// Users lists the certificates that are put into a kubeconfig of their own.
// The file of the certificate is the name of the kubeconfig.
var Users = []Request{
	{File: "admin", CommonName: "quartermaster-admin", Groups: []string{"system:masters"}},
	{File: "kube-controller-manager", CommonName: "system:kube-controller-manager"},
	{File: "kube-scheduler", CommonName: "system:kube-scheduler"},
	{File: "kube-proxy", CommonName: "system:kube-proxy"},
	{File: "coredns", CommonName: "system:coredns"},
	{File: "heartbeat", CommonName: "quartermaster-heartbeat", Groups: []string{"system:masters"}},
}

// Cluster makes everything that a cluster needs.
func Cluster(place Place, block address.Block, node string) error {
	cluster, err := NewAuthority(place, ClusterCA, "quartermaster-test-ca")
	if err != nil {
		return err
	}
	etcd, err := NewAuthority(place, EtcdCA, "quartermaster-test-etcd-ca")
	if err != nil {
		return err
	}
	frontProxy, err := NewAuthority(place, FrontProxyCA, "quartermaster-test-front-proxy-ca")
	if err != nil {
		return err
	}
	failed := []error{KeyPair(place, ServiceAccount)}
	for _, request := range append(ofClusterCA(block, node), Users...) {
		failed = append(failed, cluster.Issue(place, request))
	}
	for _, request := range ofEtcdCA() {
		failed = append(failed, etcd.Issue(place, request))
	}
	failed = append(failed, frontProxy.Issue(place, Request{File: "front-proxy-client", CommonName: "front-proxy-client"}))
	return errors.Join(failed...)
}

// ofClusterCA lists the servers, and the clients that need no kubeconfig made
// from a list. The API server's names are all by which pods and the host may
// call it.
func ofClusterCA(block address.Block, node string) []Request {
	loopback := netip.MustParseAddr("127.0.0.1")
	return []Request{
		{
			File: "kube-apiserver", CommonName: "kube-apiserver",
			Names: []string{
				"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
				"kubernetes.default.svc.cluster.local", node,
			},
			Addrs: []netip.Addr{loopback, block.Node(), block.APIService()},
		},
		{File: "kube-apiserver-kubelet-client", CommonName: "kube-apiserver-kubelet-client", Groups: []string{"system:masters"}},
		{
			File: "kubelet", CommonName: "system:node:" + node, Groups: []string{"system:nodes"},
			Names: []string{node, "localhost"}, Addrs: []netip.Addr{block.Node(), loopback},
		},
		{
			File: "kube-controller-manager-server", CommonName: "kube-controller-manager",
			Names: []string{"localhost"}, Addrs: []netip.Addr{loopback},
		},
		{
			File: "kube-scheduler-server", CommonName: "kube-scheduler",
			Names: []string{"localhost"}, Addrs: []netip.Addr{loopback},
		},
	}
}

func ofEtcdCA() []Request {
	return []Request{
		{
			File: "etcd", CommonName: "etcd",
			Names: []string{"localhost"}, Addrs: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		},
		{File: "etcd-client", CommonName: "kube-apiserver-etcd-client"},
	}
}
