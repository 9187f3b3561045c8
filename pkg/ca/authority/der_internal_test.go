package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

var testDomain = spiffeid.RequireTrustDomainFromString("cluster.local")

// keys is one key of each kind.
func keys(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	p256, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	p384, err2 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, err3 := ed25519.GenerateKey(rand.Reader)
	r, err4 := rsa.GenerateKey(rand.Reader, 2048)
	for _, err := range []error{err1, err2, err3, err4} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return map[string]crypto.Signer{"P-256": p256, "P-384": p384, "Ed25519": ed, "RSA": r}
}

func p256(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// rooted makes a state whose self-signed issuer has the key.
func rooted(t testing.TB, key crypto.Signer, change ...func(*x509.Certificate)) State {
	t.Helper()
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "root"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	for _, c := range change {
		c(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	s, err := First(Generation{ID: GenerationID(cert), Issuer: cert, Roots: []*x509.Certificate{cert}, Key: key, Source: Generated, Created: now}, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is signed is what crypto/x509 would have signed, for every kind of key on both sides.
func TestCertificateIsThatOfCryptoX509(t *testing.T) {
	kinds := keys(t)
	for issuerKind, issuerKey := range kinds {
		s := rooted(t, issuerKey)
		by, err := newIssuer(s, &Config{TrustDomain: testDomain, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		for leafKind, leafKey := range kinds {
			for _, dns := range [][]string{nil, {"web.shop.svc", "web.shop.svc.cluster.local"}} {
				same(t, by, issuerKind+" signs "+leafKind, X509Template{
					ID: spiffeid.RequireFromPath(testDomain, "/ns/shop/sa/web"), PublicKey: leafKey.Public(), TTL: time.Hour, DNSNames: dns,
				})
			}
		}
	}
}

func same(t *testing.T, by *issuer, name string, what X509Template) {
	t.Helper()
	a := New(Config{TrustDomain: testDomain})
	l, err := a.leaf(what, by, time.Now())
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	der, err := by.certificate(l)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	ours, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := ours.CheckSignatureFrom(by.ca); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	der, err = x509.CreateCertificate(rand.Reader, asTemplate(l, what), by.ca, what.PublicKey, by.key)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	theirs, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if !bytes.Equal(ours.RawTBSCertificate, theirs.RawTBSCertificate) || ours.SignatureAlgorithm != theirs.SignatureAlgorithm {
		t.Errorf("%s: the certificates differ:\n%x\n%x", name, ours.RawTBSCertificate, theirs.RawTBSCertificate)
	}
}

// asTemplate says the same to crypto/x509; the identity is that of the request.
func asTemplate(l *leaf, what X509Template) *x509.Certificate {
	usage := x509.KeyUsageDigitalSignature
	if l.encipherment {
		usage |= x509.KeyUsageKeyEncipherment
	}
	return &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(l.serial[:]), NotBefore: l.notBefore, NotAfter: l.notAfter, KeyUsage: usage,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true, SubjectKeyId: l.subjectKeyID, URIs: []*url.URL{what.ID.URL()}, DNSNames: what.DNSNames,
	}
}

func FuzzCertificateIsThatOfCryptoX509(f *testing.F) {
	kinds := keys(f)
	by, err := newIssuer(rooted(f, kinds["P-256"], func(c *x509.Certificate) { c.NotAfter = time.Now().AddDate(100, 0, 0) }), &Config{TrustDomain: testDomain, Now: time.Now})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("/ns/shop/sa/web", "web.shop.svc", uint32(3600))
	f.Add("/node/n1/0f1e", "", uint32(1<<31))
	f.Fuzz(func(t *testing.T, path, dns string, seconds uint32) {
		id, err := spiffeid.FromPath(testDomain, path)
		if err != nil || path == "" || seconds == 0 {
			return
		}
		what := X509Template{ID: id, PublicKey: kinds["P-256"].Public(), TTL: time.Duration(seconds) * time.Second}
		if dns != "" {
			what.DNSNames = []string{dns}
		}
		if _, err := New(Config{TrustDomain: testDomain}).leaf(what, by, time.Now()); err != nil {
			return
		}
		same(t, by, path, what)
	})
}
