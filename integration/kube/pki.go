package kube

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// PKI is the CA of one cluster, with the key that signs service account tokens. All of it lives in one folder, where the API
// server reads it (ca.crt, sa.key), and dies with it.
type PKI struct {
	CA []byte // PEM

	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewPKI makes a CA in the folder dir, and its files ca.crt, ca.key and sa.key.
func NewPKI(dir string) (*PKI, error) {
	p := &PKI{dir: dir}
	if err := p.make(); err != nil {
		return nil, fmt.Errorf("make CA: %w", err)
	}
	return p, nil
}

// LoadPKI reads the CA that NewPKI has made in the folder dir.
func LoadPKI(dir string) (*PKI, error) {
	p := &PKI{dir: dir}
	if err := p.load(); err != nil {
		return nil, fmt.Errorf("load CA: %w", err)
	}
	return p, nil
}

func (p *PKI) make() error {
	var err error
	if p.key, err = newKey(); err != nil {
		return err
	}
	t := template("fairlead-test-ca")
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	p.cert = t
	if p.CA, err = p.sign(t, p.key); err != nil {
		return err
	}
	accounts, err := newKey()
	if err != nil {
		return err
	}
	for name, key := range map[string]*ecdsa.PrivateKey{"ca.key": p.key, "sa.key": accounts} {
		data, err := encodeKey(key)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(p.dir, name), data, 0o600); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(p.dir, "ca.crt"), p.CA, 0o600); err != nil {
		return err
	}
	return p.load() // the certificate as it was signed
}

func (p *PKI) load() error {
	var err error
	if p.CA, err = os.ReadFile(filepath.Join(p.dir, "ca.crt")); err != nil {
		return err
	}
	key, err := os.ReadFile(filepath.Join(p.dir, "ca.key"))
	if err != nil {
		return err
	}
	certBlock, _ := pem.Decode(p.CA)
	keyBlock, _ := pem.Decode(key)
	if certBlock == nil || keyBlock == nil {
		return fmt.Errorf("no PEM in ca.crt or ca.key of %s", p.dir)
	}
	if p.cert, err = x509.ParseCertificate(certBlock.Bytes); err != nil {
		return err
	}
	p.key, err = x509.ParseECPrivateKey(keyBlock.Bytes)
	return err
}

// Client issues a client certificate, and returns it and its key as PEM. RBAC reads the user from name, its groups from groups.
func (p *PKI) Client(name string, groups ...string) (cert, key []byte, err error) {
	t := template(name)
	t.Subject.Organization = groups
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return p.issue(t)
}

// Serve issues a serving certificate, and writes it to file.crt and file.key.
func (p *PKI) Serve(file string, names []string, addresses ...net.IP) error {
	t := template(file)
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.DNSNames, t.IPAddresses = names, addresses
	cert, key, err := p.issue(t)
	if err != nil {
		return fmt.Errorf("issue %s: %w", file, err)
	}
	return p.Write(file, cert, key)
}

// Write puts a certificate and its key into file.crt and file.key.
func (p *PKI) Write(file string, cert, key []byte) error {
	path := filepath.Join(p.dir, file)
	if err := os.WriteFile(path+".crt", cert, 0o600); err != nil {
		return err
	}
	return os.WriteFile(path+".key", key, 0o600)
}

func (p *PKI) issue(t *x509.Certificate) (cert, key []byte, err error) {
	k, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	if cert, err = p.sign(t, k); err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(k)
	return cert, key, err
}

func (p *PKI) sign(t *x509.Certificate, k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, p.cert, k.Public(), p.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func template(commonName string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    time.Now().Add(-time.Hour), // clocks differ
		NotAfter:     time.Now().AddDate(1, 0, 0),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func encodeKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(k) // not PKCS 8: an API server reads a public key only out of this form
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
