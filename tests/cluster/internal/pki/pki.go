// Package pki makes the certificates of a cluster: three authorities, because
// Kubernetes tells callers apart by who signed them, and what they sign.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"time"
)

// lifetime is long enough for any test machine and short enough that a
// forgotten key is worth nothing for ever.
const lifetime = 365 * 24 * time.Hour

// Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Request is what a certificate shall say.
type Request struct {
	// File is the name of the files that hold it, without ending.
	File string
	// CommonName is the user's name to Kubernetes.
	CommonName string
	// Groups are the user's groups.
	Groups []string
	// Names and Addrs are where a server is reached; without them the
	// certificate is a client's only.
	Names []string
	Addrs []netip.Addr
}

// Place says under which path a file of the PKI is kept.
type Place func(file string) string

// NewAuthority makes an authority and stores its certificate and key.
func NewAuthority(place Place, file, name string) (*Authority, error) {
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template, err := newTemplate(pkix.Name{CommonName: name})
	if err != nil {
		return nil, err
	}
	template.IsCA = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{cert, key}, store(place, file, der, key)
}

// Issue makes a certificate and stores it with its key.
func (a *Authority) Issue(place Place, request Request) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	template, err := newTemplate(pkix.Name{CommonName: request.CommonName, Organization: request.Groups})
	if err != nil {
		return err
	}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(request.Names)+len(request.Addrs) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	template.DNSNames = request.Names
	for _, addr := range request.Addrs {
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.AsSlice()))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		return fmt.Errorf("signing %s: %w", request.CommonName, err)
	}
	return store(place, request.File, der, key)
}

// KeyPair makes a key pair without certificate, for tokens of service accounts.
func KeyPair(place Place, file string) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return err
	}
	return errors.Join(
		storeKey(place(file+".key"), key),
		storePEM(place(file+".pub"), "PUBLIC KEY", public),
	)
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func newTemplate(subject pkix.Name) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	now := time.Now()
	return &x509.Certificate{
		SerialNumber:          serial,
		Subject:               subject,
		NotBefore:             now.Add(-time.Hour), // clocks of virtual machines jump
		NotAfter:              now.Add(lifetime),
		BasicConstraintsValid: true,
	}, nil
}

func store(place Place, file string, der []byte, key *ecdsa.PrivateKey) error {
	return errors.Join(
		storePEM(place(file+".crt"), "CERTIFICATE", der),
		storeKey(place(file+".key"), key),
	)
}

func storeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return storePEM(path, "EC PRIVATE KEY", der)
}

func storePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
