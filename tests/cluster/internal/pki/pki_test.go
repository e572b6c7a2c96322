package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"

	"quartermaster.dev/tests/cluster/internal/address"
)

// newCluster makes a PKI in a folder of the test.
func newCluster(t *testing.T) Place {
	t.Helper()
	dir := t.TempDir()
	place := func(file string) string { return filepath.Join(dir, file) }
	if err := Cluster(place, address.Block{A: 10, B: 213}, "demo-node"); err != nil {
		t.Fatal(err)
	}
	return place
}

func load(t *testing.T, place Place, file string) *x509.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(place(file+".crt"), place(file+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

func pool(t *testing.T, place Place, ca string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(place(ca + ".crt"))
	if err != nil {
		t.Fatal(err)
	}
	certs := x509.NewCertPool()
	certs.AppendCertsFromPEM(text)
	return certs
}

func TestServersAreReachedByTheirNames(t *testing.T) {
	place := newCluster(t)
	tests := []struct {
		file, ca string
		names    []string
	}{
		{"kube-apiserver", ClusterCA, []string{"127.0.0.1", "localhost", "10.213.0.2", "10.213.128.1", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}},
		{"kubelet", ClusterCA, []string{"demo-node", "10.213.0.2"}},
		{"etcd", EtcdCA, []string{"127.0.0.1", "localhost"}},
	}
	for _, test := range tests {
		cert := load(t, place, test.file)
		for _, name := range test.names {
			_, err := cert.Verify(x509.VerifyOptions{DNSName: name, Roots: pool(t, place, test.ca)})
			if err != nil {
				t.Errorf("%s as %s: %v", test.file, name, err)
			}
		}
	}
}

func TestClientsAreWhoKubernetesTakesThemFor(t *testing.T) {
	place := newCluster(t)
	tests := []struct {
		file, ca, user, group string
	}{
		{"admin", ClusterCA, "quartermaster-admin", "system:masters"},
		{"kubelet", ClusterCA, "system:node:demo-node", "system:nodes"},
		{"kube-proxy", ClusterCA, "system:kube-proxy", ""},
		{"front-proxy-client", FrontProxyCA, "front-proxy-client", ""},
		{"etcd-client", EtcdCA, "kube-apiserver-etcd-client", ""},
	}
	for _, test := range tests {
		cert := load(t, place, test.file)
		if cert.Subject.CommonName != test.user {
			t.Errorf("%s is %q, want %q", test.file, cert.Subject.CommonName, test.user)
		}
		if test.group != "" && (len(cert.Subject.Organization) != 1 || cert.Subject.Organization[0] != test.group) {
			t.Errorf("%s is in %v, want %q", test.file, cert.Subject.Organization, test.group)
		}
		usage := []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		if _, err := cert.Verify(x509.VerifyOptions{Roots: pool(t, place, test.ca), KeyUsages: usage}); err != nil {
			t.Errorf("%s: %v", test.file, err)
		}
		for _, other := range []string{ClusterCA, EtcdCA, FrontProxyCA} {
			if other == test.ca {
				continue
			}
			if _, err := cert.Verify(x509.VerifyOptions{Roots: pool(t, place, other), KeyUsages: usage}); err == nil {
				t.Errorf("%s must not be trusted by %s", test.file, other)
			}
		}
	}
}

func TestKeysAreTheOwnersOnly(t *testing.T) {
	place := newCluster(t)
	info, err := os.Stat(place("admin.key"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}
}
