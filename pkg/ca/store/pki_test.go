package store_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/ca/authority"
)

var td = spiffeid.RequireTrustDomainFromString("cluster.local")

var leafKey = newLeafKey()

// pki is an authority as somebody else would make it.
type pki struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// newCA makes an authority below parent; a root when that is nil. change may break it.
func newCA(t testing.TB, name string, parent *pki, change ...func(*x509.Certificate)) *pki {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	for _, c := range change {
		c(template)
	}
	by := &pki{template, key}
	if parent != nil {
		by = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, template, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &pki{cert, key}
}

func (p *pki) id() string { return authority.GenerationID(p.cert) }

func certs(list ...*pki) []byte {
	var b bytes.Buffer
	for _, p := range list {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: p.cert.Raw})
	}
	return b.Bytes()
}

func (p *pki) pem(t testing.TB) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// first is a new state.
func first(t testing.TB) authority.State {
	t.Helper()
	g, err := authority.Generate(td, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s, err := authority.First(g, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.Revision = 1
	return s
}

// eventually polls until ok, and fails with what it said last.
func eventually(t testing.TB, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func newLeafKey() crypto.PublicKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return key.Public()
}
