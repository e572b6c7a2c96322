// Package bootstrap puts into a new cluster what an installer would: the name
// service and the node's GPUs.
package bootstrap

import (
	"context"
	"fmt"

	"quartermaster.dev/tests/cluster/internal/conf"
	"quartermaster.dev/tests/cluster/internal/kubeapi"
	"quartermaster.dev/tests/cluster/internal/layout"
	"quartermaster.dev/tests/cluster/internal/pki"
	"quartermaster.dev/tests/cluster/internal/settings"
)

type object = kubeapi.Object

// Client makes a client for the node's own process.
func Client(c layout.Cluster, s settings.Settings) (*kubeapi.Client, error) {
	return kubeapi.New(conf.APIURL(s), c.PKI(pki.ClusterCA+".crt"), c.PKI("heartbeat.crt"), c.PKI("heartbeat.key"))
}

// NameService lets CoreDNS read what it serves, and gives it the address that
// pods ask. CoreDNS runs outside of the cluster, so that its endpoint is
// written by hand.
func NameService(ctx context.Context, client *kubeapi.Client, s settings.Settings) error {
	const rbac = "/apis/rbac.authorization.k8s.io/v1"
	ports := []object{{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}}
	objects := []struct {
		path string
		body object
	}{
		{rbac + "/clusterroles/system:coredns", object{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
			"metadata": object{"name": "system:coredns"},
			"rules": []object{
				{"apiGroups": []string{""}, "resources": []string{"endpoints", "services", "pods", "namespaces"}, "verbs": []string{"list", "watch"}},
				{"apiGroups": []string{"discovery.k8s.io"}, "resources": []string{"endpointslices"}, "verbs": []string{"list", "watch"}},
			},
		}},
		{rbac + "/clusterrolebindings/system:coredns", object{
			"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
			"metadata": object{"name": "system:coredns"},
			"roleRef":  object{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:coredns"},
			"subjects": []object{{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "system:coredns"}},
		}},
		{"/api/v1/namespaces/kube-system/services/kube-dns", object{
			"apiVersion": "v1", "kind": "Service",
			"metadata": object{"name": "kube-dns", "namespace": "kube-system", "labels": object{"k8s-app": "kube-dns", "kubernetes.io/name": "CoreDNS"}},
			"spec":     object{"clusterIP": s.Block.DNS().String(), "ports": ports},
		}},
		{"/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns", object{
			"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
			"metadata": object{"name": "kube-dns", "namespace": "kube-system", "labels": object{
				"kubernetes.io/service-name": "kube-dns", "endpointslice.kubernetes.io/managed-by": "quartermaster-test-cluster",
			}},
			"endpoints": []object{{"addresses": []string{s.Block.Node().String()}, "conditions": object{"ready": true}}},
			"ports":     ports,
		}},
	}
	for _, o := range objects {
		if err := client.Apply(ctx, o.path, o.body); err != nil {
			return fmt.Errorf("%s: %w", o.path, err)
		}
	}
	return nil
}

// GPUs makes the node's capacity of GPUs be as given, if it is not already. It
// is asked again and again, because a kubelet that registers anew resets what
// no device plugin of its own stands for.
func GPUs(ctx context.Context, client *kubeapi.Client, node string, gpus int) error {
	var now struct {
		Status struct {
			Capacity, Allocatable map[string]string
		}
	}
	path := "/api/v1/nodes/" + node
	if err := client.Get(ctx, path, &now); err != nil {
		return err
	}
	want := fmt.Sprint(gpus)
	have, found := now.Status.Capacity[conf.GPUResource]
	if (gpus == 0 && !found) || (have == want && now.Status.Allocatable[conf.GPUResource] == want) {
		return nil
	}
	amount := object{conf.GPUResource: want}
	return client.Patch(ctx, path+"/status", kubeapi.MergePatch, object{"status": object{"capacity": amount, "allocatable": amount}})
}
