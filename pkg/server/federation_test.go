package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/ca/federation"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/translate"
)

// webPKI is a root that nobody has but who is told, as PEM, and a certificate of it for this machine's address.
func webPKI(t *testing.T) (roots []byte, served func(*tls.ClientHelloInfo) (*tls.Certificate, error)) {
	t.Helper()
	create := func(template, parent *x509.Certificate, by *ecdsa.PrivateKey) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if by == nil {
			by = key
		}
		template.SerialNumber, template.NotBefore, template.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), by)
		if err != nil {
			t.Fatal(err)
		}
		return der, key
	}
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "web"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, by := create(root, root, nil)
	leaf, key := create(&x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, root, by)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		return &tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: key}, nil
	}
}

// A server with a certificate of the Web PKI serves its bundle with that (https_web), and another one that has its root takes the
// bundle into the snapshots of its nodes; one that has another root, or none, does not.
func TestFederationByTheWebPKI(t *testing.T) {
	roots, served := webPKI(t)
	others, _ := webPKI(t)
	east := newBegun(t, func(c *Config) {
		c.Identity.Federation = &Federation{Address: "127.0.0.1:0", Certificate: served}
	})
	east.read()
	// fetched is when a server has asked for the bundle, with a result; it tells whether nodes are given the bundle then.
	fetched := func(roots []byte, result string) bool {
		relation := federation.Relation{TrustDomain: "cluster.local", URL: "https://" + east.Bundles() + federation.BundlePath, Profile: federation.Web}
		if roots != nil {
			relation.RootsFile = filepath.Join(t.TempDir(), "roots.pem")
			if err := os.WriteFile(relation.RootsFile, roots, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		west := newBegun(t, func(c *Config) {
			c.Mesh.TrustDomain = "west.example"
			c.Identity.Federation = &Federation{Relations: []federation.Relation{relation}}
		})
		west.read()
		given := func() bool {
			return west.flow.Source.Latest().Get(snapshot.Key{Type: translate.TrustBundleType, Name: "cluster.local"}) != nil
		}
		eventually(t, func() error {
			page, err := admin.NewClient(west.Admin()).Raw(t.Context(), "/metrics")
			switch want := `fairlead_federation_refreshes_total{result="` + result + `",trust_domain="cluster.local"}`; {
			case err != nil:
				return err
			case !strings.Contains(string(page), want):
				return errors.New("never: " + want)
			case result == "ok" && !given():
				return errors.New("fetched, and not in the snapshot")
			}
			return nil
		})
		return given()
	}
	fetched(roots, "ok")
	if fetched(others, "failed") || fetched(nil, "failed") {
		t.Error("a bundle is taken from an endpoint that is not verified")
	}
}
