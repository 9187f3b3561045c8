package kube

import (
	"crypto"
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

// pki holds what one API server needs: a CA, its serving certificate, an administrator's client certificate, and the key that
// signs service account tokens. All of it lives in the server's folder and dies with it.
type pki struct {
	caPEM, adminCert, adminKey []byte
}

func newPKI(dir string) (*pki, error) {
	p := &pki{}
	if err := p.write(dir); err != nil {
		return nil, fmt.Errorf("make certificates: %w", err)
	}
	return p, nil
}

func (p *pki) write(dir string) error {
	caKey, err := newKey()
	if err != nil {
		return err
	}
	ca := template("fairlead-test-ca")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign|x509.KeyUsageDigitalSignature
	if p.caPEM, err = sign(ca, ca, caKey.Public(), caKey); err != nil {
		return err
	}
	server := template("kube-apiserver")
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	server.DNSNames, server.IPAddresses = []string{"localhost"}, []net.IP{net.IPv4(127, 0, 0, 1)}
	serverCert, serverKey, err := issue(server, ca, caKey)
	if err != nil {
		return err
	}
	admin := template("admin")
	admin.Subject.Organization = []string{"system:masters"} // the group that RBAC lets do everything
	admin.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if p.adminCert, p.adminKey, err = issue(admin, ca, caKey); err != nil {
		return err
	}
	saKey, err := newKey()
	if err != nil {
		return err
	}
	saPEM, err := encodeKey(saKey)
	if err != nil {
		return err
	}
	for name, data := range map[string][]byte{
		"ca.crt": p.caPEM, "apiserver.crt": serverCert, "apiserver.key": serverKey, "sa.key": saPEM,
		"admin.crt": p.adminCert, "admin.key": p.adminKey,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func newKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

func template(commonName string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		Subject:      pkix.Name{CommonName: commonName},
		NotBefore:    time.Now().Add(-time.Hour), // clocks differ
		NotAfter:     time.Now().Add(24 * time.Hour),
		KeyUsage:     x509.KeyUsageDigitalSignature,
	}
}

func issue(t, ca *x509.Certificate, caKey crypto.Signer) (cert, key []byte, err error) {
	k, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	if cert, err = sign(t, ca, k.Public(), caKey); err != nil {
		return nil, nil, err
	}
	key, err = encodeKey(k)
	return cert, key, err
}

func sign(t, ca *x509.Certificate, public crypto.PublicKey, caKey crypto.Signer) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, t, ca, public, caKey)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

func encodeKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(k) // not PKCS 8: an API server reads a public key only out of this form
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}
