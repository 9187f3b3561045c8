package control

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/node/nodetest"
)

// signer is a root, or what was signed by one.
type signer struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// issue makes a certificate that is valid for an hour, or has ended an hour ago. Without by it is a root of its own.
func issue(t *testing.T, by *signer, id string, ended bool) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	uri, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	x := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-3 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		URIs: []*url.URL{uri}, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	if ended {
		x.NotAfter = time.Now().Add(-time.Hour)
	}
	parent := &signer{x, key}
	if by == nil {
		x.IsCA, x.KeyUsage = true, x509.KeyUsageCertSign
	} else {
		parent = by
	}
	der, err := x509.CreateCertificate(rand.Reader, x, parent.Certificate, key.Public(), parent.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{c, key}
}

func hashOf(c *signer) string {
	sum := sha256.Sum256(c.Raw)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func pemOf(list ...*signer) []byte {
	var b bytes.Buffer
	for _, c := range list {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.Bytes()
}

func put(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// verify shows a chain to what trusts.
func (t *Trust) shown(chain ...*signer) error {
	var raw [][]byte
	for _, c := range chain {
		raw = append(raw, c.Raw)
	}
	return t.verify(nodetest.ServerID)(raw, nil)
}

const td = "spiffe://cluster.local"

// Nothing but what was given, or what came over a connection that was verified by it, verifies a server.
func TestTrust(t *testing.T) {
	root, other, old := issue(t, nil, td, false), issue(t, nil, td, false), issue(t, nil, td, true)
	server := issue(t, root, nodetest.ServerID.String(), false)
	impostor := issue(t, other, nodetest.ServerID.String(), false)
	workload := issue(t, root, td+"/ns/shop/sa/web", false)
	ended := issue(t, root, nodetest.ServerID.String(), true)
	orphan := issue(t, old, nodetest.ServerID.String(), false)
	file := func(list ...*signer) string { return put(t, filepath.Join(t.TempDir(), "roots.pem"), pemOf(list...)) }
	for name, c := range map[string]struct {
		file, hash string
		received   []*signer
		chain      []*signer
		want       string // in the error; empty is success
	}{
		"bundle":                          {file: file(root), chain: []*signer{server}},
		"bundle of two":                   {file: file(other, root), chain: []*signer{server}},
		"bundle of another root":          {file: file(other), chain: []*signer{server}, want: "verify server"},
		"another root shown too":          {file: file(root), chain: []*signer{impostor, other, root}, want: "verify server"},
		"hash":                            {hash: hashOf(root), chain: []*signer{server, root}},
		"hash, root not shown":            {hash: hashOf(root), chain: []*signer{server}, want: "--trust-hash"},
		"hash of another root":            {hash: hashOf(other), chain: []*signer{server, root}, want: "--trust-hash"},
		"hash, impostor shows the root":   {hash: hashOf(root), chain: []*signer{impostor, other, root}, want: "verify server"},
		"hash of a leaf":                  {hash: hashOf(server), chain: []*signer{server}, want: "--trust-hash"},
		"hash and bundle, by bundle":      {file: file(root), hash: hashOf(other), chain: []*signer{server}},
		"hash and bundle, by neither":     {file: file(other), hash: hashOf(other), chain: []*signer{server, root}, want: "verify server"},
		"another identity":                {file: file(root), chain: []*signer{workload}, want: "--server-id"},
		"certificate has ended":           {file: file(root), chain: []*signer{ended}, want: "expired"},
		"root has ended":                  {file: file(old), chain: []*signer{orphan, old}, want: "expired"},
		"pinned root has ended":           {hash: hashOf(old), chain: []*signer{orphan, old}, want: "expired"},
		"nothing shown":                   {file: file(root), want: "verify server"},
		"received":                        {hash: hashOf(other), received: []*signer{root}, chain: []*signer{server}},
		"received ends the hash":          {hash: hashOf(other), received: []*signer{root}, chain: []*signer{impostor, other}, want: "verify server"},
		"received does not end the file":  {file: file(other), received: []*signer{root}, chain: []*signer{impostor}},
		"received, and none of it is his": {file: file(root), received: []*signer{root}, chain: []*signer{impostor}, want: "verify server"},
	} {
		t.Run(name, func(t *testing.T) {
			trust, err := NewTrust(c.file, c.hash)
			if err != nil {
				t.Fatal(err)
			}
			if c.received != nil {
				var list []*x509.Certificate
				for _, r := range c.received {
					list = append(list, r.Certificate)
				}
				trust.Receive(list)
			}
			err = trust.shown(c.chain...)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// The file is read at each use: what it has now counts, and while it has nothing, what was received does.
func TestBundleIsReplaced(t *testing.T) {
	first, second := issue(t, nil, td, false), issue(t, nil, td, false)
	a, b := issue(t, first, nodetest.ServerID.String(), false), issue(t, second, nodetest.ServerID.String(), false)
	path := put(t, filepath.Join(t.TempDir(), "roots.pem"), pemOf(first))
	trust, err := NewTrust(path, "")
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, a, b bool, got ...error) {
		t.Helper()
		if (got[0] == nil) != a || (got[1] == nil) != b {
			t.Errorf("%s: %v; %v", what, got[0], got[1])
		}
	}
	check("the first", true, false, trust.shown(a), trust.shown(b))
	put(t, path, pemOf(first, second))
	check("both", true, true, trust.shown(a), trust.shown(b))
	put(t, path, pemOf(second))
	check("the second", false, true, trust.shown(a), trust.shown(b))
	for what, content := range map[string][]byte{
		"empty": nil, "no PEM": []byte("roots"), "cut": pemOf(first)[:100],
		"no certificate": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}),
	} {
		put(t, path, content)
		check(what, false, false, trust.shown(a), trust.shown(b))
		if err := trust.shown(a); !strings.Contains(err.Error(), path) {
			t.Errorf("%s: the file is not named: %v", what, err)
		}
	}
	trust.Receive([]*x509.Certificate{first.Certificate})
	check("received, nothing in the file", true, false, trust.shown(a), trust.shown(b))
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("received, no file", true, false, trust.shown(a), trust.shown(b))
}

func TestNewTrustRefuses(t *testing.T) {
	dir := t.TempDir()
	root := issue(t, nil, td, false)
	for name, c := range map[string]struct{ file, hash, want string }{
		"nothing":            {"", "", "--trust-bundle=FILE"},
		"no file":            {filepath.Join(dir, "none"), "", "no such file"},
		"an empty file":      {put(t, filepath.Join(dir, "empty"), nil), "", "no PEM certificate"},
		"a key":              {put(t, filepath.Join(dir, "key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})), "", "no PEM certificate"},
		"no kind":            {"", hashOf(root)[7:], "openssl"},
		"another kind":       {"", "sha1:" + hashOf(root)[7:], "openssl"},
		"short":              {"", hashOf(root)[:60], "openssl"},
		"no hex":             {"", "sha256:" + strings.Repeat("g", 64), "openssl"},
		"a bad one of two":   {put(t, filepath.Join(dir, "good"), pemOf(root)), "sha256:", "openssl"},
		"a bad file of both": {filepath.Join(dir, "none"), hashOf(root), "no such file"},
	} {
		if _, err := NewTrust(c.file, c.hash); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		} else if strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%s: the file's content is told: %v", name, err)
		}
	}
	if _, err := NewTrust("", ""); !errors.Is(err, ErrNoTrust) {
		t.Errorf("nothing: %v", err)
	}
}
