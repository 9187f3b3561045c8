package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/ledger"
	"fairlead.io/fairlead/pkg/ca/store"
)

func certPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// signed is a certificate of an authority, with its root, and the same with an end in the past.
func signed(t *testing.T) (leaf, root, ended, generation string) {
	t.Helper()
	td := spiffeid.RequireTrustDomainFromString("cluster.local")
	a := authority.New(authority.Config{TrustDomain: td, Store: store.NewMemory()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-a.Ready()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id := spiffeid.RequireFromString("spiffe://cluster.local/ns/shop/sa/web")
	x, err := a.SignX509(authority.X509Template{ID: id, PublicKey: key.Public(), TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	g := a.State().Generations[0]
	old := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour), URIs: []*url.URL{id.URL()},
	}
	der, err := x509.CreateCertificate(rand.Reader, old, g.Issuer, key.Public(), g.Key)
	if err != nil {
		t.Fatal(err)
	}
	return certPEM(x.Raw[0]), certPEM(g.Issuer.Raw), certPEM(der), g.ID
}

func TestCertInspect(t *testing.T) {
	leaf, root, ended, generation := signed(t)
	_, otherRoot, _, _ := signed(t)
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	base := base64.StdEncoding.EncodeToString
	secret := "apiVersion: v1\nkind: Secret\ndata:\n  tls.crt: " + base([]byte(leaf)) + "\n  ca.crt: " + base([]byte(root)) + "\n  tls.key: " + base([]byte("secret words")) + "\n"
	for name, c := range map[string]struct {
		in   string
		args []string
		code int
		want []string
	}{
		"with its root":   {leaf + root, nil, 0, []string{"spiffe://cluster.local/ns/shop/sa/web", generation, "to a root"}},
		"by --roots":      {leaf, []string{"--roots", file("root.pem", root)}, 0, []string{generation, "to a root"}},
		"without a root":  {leaf, nil, 0, []string{"no root to verify with"}},
		"of another root": {leaf, []string{"--roots", file("other.pem", otherRoot)}, 1, []string{"FAILED", "path validation"}},
		"a Secret":        {secret, nil, 0, []string{"sa/web", generation}},
		"ended":           {ended + root, nil, 1, []string{"EXPIRED", "X509-SVID 4.3"}},
		"nothing":         {"hello", nil, 1, []string{"there is no certificate in PEM"}},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			args := append([]string{"cert", "inspect", "-"}, c.args...)
			if code := execute(t.Context(), environment{strings.NewReader(c.in), &out, &out, os.Getenv}, args); code != c.code {
				t.Errorf("exit code %d; want %d", code, c.code)
			}
			for _, w := range c.want {
				if !strings.Contains(out.String(), w) {
					t.Errorf("%q is missing in\n%s", w, out.String())
				}
			}
			if strings.Contains(out.String(), "secret words") {
				t.Error("the key is shown")
			}
		})
	}
	var out bytes.Buffer
	if code := execute(t.Context(), environment{strings.NewReader(leaf + root), &out, &out, os.Getenv}, []string{"cert", "inspect", "-", "-o", "json"}); code != 0 {
		t.Fatal(out.String())
	}
	var c certificate
	if err := json.Unmarshal(out.Bytes(), &c); err != nil || !c.Verified || c.Authority != generation || len(c.Findings) != 0 {
		t.Errorf("%v: %s", err, out.String())
	}
}

func TestCertList(t *testing.T) {
	l := ledger.New(0, nil)
	now := time.Now()
	for _, e := range []ledger.Entry{
		{Identity: "spiffe://cluster.local/ns/shop/sa/web", Pod: "shop/web-1", Node: "n1", Serial: "aa", NotBefore: now, NotAfter: now.Add(time.Hour), Authority: "g1"},
		{Identity: "spiffe://cluster.local/ns/shop/sa/bank", Serial: "bb", NotBefore: now, NotAfter: now.Add(time.Hour), Authority: "g1"},
		{Identity: "spiffe://cluster.local/ns/shop/sa/old", Serial: "cc", NotBefore: now, NotAfter: now.Add(-time.Hour), Authority: "g1"},
	} {
		l.Add(e)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /api/certificates", l.Handler())
	server := httptest.NewServer(mux)
	defer server.Close()
	run := func(args ...string) string {
		t.Helper()
		var out bytes.Buffer
		args = append([]string{"cert", "list", "--server", strings.TrimPrefix(server.URL, "http://")}, args...)
		if code := execute(t.Context(), environment{strings.NewReader(""), &out, &out, os.Getenv}, args); code != 0 {
			t.Fatalf("exit code %d: %s", code, out.String())
		}
		return out.String()
	}
	if got := run(); !strings.Contains(got, "shop/web-1") || !strings.Contains(got, "sa/bank") || strings.Contains(got, "sa/old") {
		t.Error(got)
	}
	if got := run("--identity", "spiffe://cluster.local/ns/shop/sa/bank", "-o", "json"); strings.Contains(got, "sa/web") || !strings.Contains(got, `"bb"`) {
		t.Error(got)
	}
}
