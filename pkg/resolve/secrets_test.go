package resolve

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"
)

// selfSigned makes a certificate and its key, both PEM.
func selfSigned(t *testing.T, key crypto.Signer) (cert, pemKey []byte) {
	t.Helper()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "a.example"}, DNSNames: []string{"a.example"},
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func ecKey(t *testing.T, curve elliptic.Curve) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestCheckKeyPair(t *testing.T) {
	cert, key := selfSigned(t, ecKey(t, elliptic.P256()))
	_, other := selfSigned(t, ecKey(t, elliptic.P256()))
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	edCert, edKey := selfSigned(t, ed)
	t.Setenv("GODEBUG", "rsa1024min=0") // the short key is there to be refused
	r, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	rsaCert, rsaKey := selfSigned(t, r)
	weakCert, weakKey := selfSigned(t, ecKey(t, elliptic.P224()))
	for name, c := range map[string]struct {
		cert, key []byte
		says      string // empty: it is fine
	}{
		"good":          {cert, key, ""},
		"chain":         {append(append([]byte{}, cert...), edCert...), key, ""},
		"another's key": {cert, other, "private key does not match public key"},
		"empty":         {nil, nil, "certificate"},
		"no key":        {cert, nil, "key"},
		"key for cert":  {key, key, "certificate"},
		"garbage":       {[]byte("garbage"), key, "certificate"},
		"short RSA key": {rsaCert, rsaKey, "1024 bits"},
		"unknown curve": {weakCert, weakKey, "P-224"},
		"Ed25519":       {edCert, edKey, ""},
	} {
		err := CheckKeyPair(c.cert, c.key)
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want %q", name, err, c.says)
		case err != nil && strings.Contains(err.Error(), "BEGIN"):
			t.Errorf("%s: the message shows key material: %v", name, err)
		}
	}
}

func TestCheckCABundle(t *testing.T) {
	cert, key := selfSigned(t, ecKey(t, elliptic.P256()))
	broken := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	for name, c := range map[string]struct {
		bundle string
		says   string
	}{
		"one":            {string(cert), ""},
		"two, with text": {"# root\n" + string(cert) + "\nsecond\n" + string(cert), ""},
		"empty":          {"", "no PEM block"},
		"text":           {"nothing here", "no PEM block"},
		"key":            {string(cert) + string(key), "block 2 is a PRIVATE KEY"},
		"broken":         {string(cert) + string(broken), "block 2: parse certificate"},
	} {
		err := CheckCABundle([]byte(c.bundle))
		if (c.says == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}
