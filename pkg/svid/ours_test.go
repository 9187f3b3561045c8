package svid_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
	"fairlead.io/fairlead/pkg/svid"
)

var td = spiffeid.RequireTrustDomainFromString("cluster.local")

func keyKinds(t testing.TB) map[string]crypto.Signer {
	t.Helper()
	p384, err1 := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	_, ed, err2 := ed25519.GenerateKey(rand.Reader)
	r, err3 := rsa.GenerateKey(rand.Reader, 2048)
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return map[string]crypto.Signer{"P-256": newKey(t), "P-384": p384, "Ed25519": ed, "RSA": r}
}

// below makes an authority whose issuer has the key, and is signed by a root of another key.
func below(t testing.TB, key crypto.Signer) *authority.Authority {
	t.Helper()
	w := good()
	for _, c := range []*template{&w.root, &w.inter} {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}
	rk := newKey(t)
	root := sign(t, w.root, nil, rk.Public(), rk)
	issuer := sign(t, w.inter, root, key.Public(), rk)
	return with(t, authority.Generation{
		ID: authority.GenerationID(issuer), Issuer: issuer, Roots: []*x509.Certificate{root}, Key: key, Source: authority.Mounted,
	})
}

func with(t testing.TB, g authority.Generation) *authority.Authority {
	t.Helper()
	a := authority.New(authority.Config{TrustDomain: td, Store: store.NewMemory()})
	if _, err := a.Update(t.Context(), func(authority.State) (authority.State, error) { return authority.First(g, time.Now()) }); err != nil {
		t.Fatal(err)
	}
	return a
}

// What we sign has no finding: for whom, and with which keys, ever.
func TestOursHasNoFinding(t *testing.T) {
	workload, err1 := ca.WorkloadID(td, "shop", "web")
	node, err2 := ca.NodeID(td, ca.NodeRef{Name: "n1.example.org", UID: "0f1e-22"})
	gateway, err3 := ca.GatewayID(td, "shop", "front")
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			t.Fatal(err)
		}
	}
	generated, err := authority.Generate(td, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	kinds := keyKinds(t)
	authorities := map[string]*authority.Authority{"generated": with(t, generated)}
	for kind, key := range kinds {
		authorities[kind] = below(t, key)
	}
	for issuer, a := range authorities {
		for kind, key := range kinds {
			for _, id := range []spiffeid.ID{workload, node, gateway} {
				for _, dns := range [][]string{nil, {"web.shop.svc"}} {
					s, err := a.SignX509(authority.X509Template{ID: id, PublicKey: key.Public(), TTL: time.Hour, DNSNames: dns})
					if err != nil {
						t.Fatalf("%s signs %s for %v: %v", issuer, kind, id, err)
					}
					if f := svid.Check(s.Chain, a.Bundle().X509Authorities(), time.Now()); len(f) > 0 {
						t.Errorf("%s signs %s for %v: %v", issuer, kind, id, f)
					}
					if got, err := svid.ID(s.Chain[0]); err != nil || got != id {
						t.Errorf("%s signs %s for %v: the ID is %v, %v", issuer, kind, id, got, err)
					}
				}
			}
		}
	}
	a := authorities["generated"]
	token, _, err := a.SignJWT(authority.JWTTemplate{ID: workload, Audience: []string{"bank"}, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if f := svid.CheckJWT(token, a.Bundle().JWTAuthorities(), "bank", time.Now()); len(f) > 0 {
		t.Errorf("JWT-SVID: %v", f)
	}
}

// fixedKey is the same in every process: the workers of a fuzzer make their own.
func fixedKey(t testing.TB, n byte) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{n}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Where the checker finds nothing, go-spiffe has nothing to say either.
func FuzzCheck(f *testing.F) {
	w := good()
	rk, ik, lk := fixedKey(f, 1), fixedKey(f, 2), fixedKey(f, 3)
	root := sign(f, w.root, nil, rk.Public(), rk)
	inter := sign(f, w.inter, root, ik.Public(), rk)
	f.Add(sign(f, w.leaf, inter, lk.Public(), ik).Raw)
	w.leaf.san("spiffe://cluster.local/a", "https://x?y#z")
	f.Add(sign(f, w.leaf, inter, lk.Public(), ik).Raw)
	w.leaf.extra(19, true, []byte{0x30, 3, 2, 1, 0})
	f.Add(sign(f, w.leaf, inter, lk.Public(), ik).Raw)
	f.Fuzz(func(t *testing.T, der []byte) {
		leaf, err := x509.ParseCertificate(der)
		if err != nil {
			return
		}
		for _, chain := range [][]*x509.Certificate{{leaf, inter}, {inter, leaf}, {leaf}} {
			if found := svid.Check(chain, []*x509.Certificate{root}, w.now); len(found) > 0 {
				_ = found[0].String()
				continue
			}
			id, err := svid.ID(leaf)
			if err != nil {
				t.Fatal(err)
			}
			bundle := x509bundle.FromX509Authorities(id.TrustDomain(), []*x509.Certificate{root})
			if got, _, err := x509svid.Verify(chain, bundle, x509svid.WithTime(w.now)); err != nil || got != id {
				t.Fatalf("go-spiffe: %v, %v", got, err)
			}
		}
	})
}
