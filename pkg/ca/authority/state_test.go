package authority

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Nothing that prints a state prints a key, wherever the state stands.
func TestKeysAreNeverPrinted(t *testing.T) {
	for kind, key := range keys(t) {
		s := rooted(t, key)
		type hidden struct{ state State }
		var log bytes.Buffer
		for _, h := range []slog.Handler{
			slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil),
		} {
			slog.New(h).Info("x", "state", s, "pointer", &s, "generation", s.Generations[0], "key", s.JWT[0])
		}
		j, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		text := log.String() + string(j)
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			text += fmt.Sprintf(format, s) + fmt.Sprintf(format, &s) + fmt.Sprintf(format, s.Generations[0]) + fmt.Sprintf(format, s.JWT[0])
			text += fmt.Sprintf(format, hidden{s})
		}
		for _, secret := range secrets(t, key) {
			if strings.Contains(text, secret) {
				i := strings.Index(text, secret)
				t.Errorf("%s: a key is printed: %q in %.300s", kind, secret, text[max(0, i-150):])
			}
		}
		for _, secret := range secrets(t, s.JWT[0].Key) {
			if strings.Contains(text, secret) {
				t.Errorf("a JWT key is printed: %.300s", text[strings.Index(text, secret):])
			}
		}
	}
}

// secrets are the forms in which a key could be printed.
func secrets(t *testing.T, key crypto.Signer) []string {
	t.Helper()
	key = Unseal(key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	end := der[len(der)-20:]
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		raw, err := k.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		end = raw
	}
	part := end[:12]
	decimal := strings.Trim(fmt.Sprint(part), "[]")
	return []string{fmt.Sprintf("%x", part), fmt.Sprintf("%X", part), decimal, new(big.Int).SetBytes(end).String(), "PRIVATE KEY"}
}

func update(t *testing.T, a *Authority, s State) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.adopt(s)
}

func template(t *testing.T, ttl time.Duration) X509Template {
	t.Helper()
	return X509Template{ID: spiffeid.RequireFromPath(testDomain, "/ns/shop/sa/web"), PublicKey: p256(t).Public(), TTL: ttl}
}

func TestSignX509RefusesWhatItCannot(t *testing.T) {
	now := time.Now()
	clock := now
	a := New(Config{TrustDomain: testDomain, Now: func() time.Time { return clock }})
	what := template(t, time.Hour)
	refused := func(want error, words string) {
		t.Helper()
		if _, err := a.SignX509(what); err == nil || want != nil && !errors.Is(err, want) || !strings.Contains(err.Error(), words) {
			t.Errorf("got %v, want %v: %s", err, want, words)
		}
	}
	refused(ErrNone, "")
	good, other := rooted(t, p256(t)), rooted(t, p256(t))
	update(t, a, good)
	if _, err := a.SignX509(what); err != nil {
		t.Fatal(err)
	}

	clock = now.Add(25 * time.Hour)
	refused(ErrNotValid, "has ended")
	clock = now.Add(-2 * time.Hour)
	refused(ErrNotValid, "begins")
	clock = now

	// The key of the one that is to sign is elsewhere: the other one, whose key is here, does not sign in its place.
	both, err := Add(other, good.Generations[0])
	if err != nil {
		t.Fatal(err)
	}
	both.Generations[0].Key = nil
	update(t, a, both)
	refused(ErrNoKey, both.Signing)

	wrong := good.Clone()
	wrong.Generations[0].Key = other.Generations[0].Key
	wrong.Sequence += 5
	update(t, a, wrong)
	refused(nil, "its key is not that of its certificate")

	foreign := rooted(t, p256(t), func(c *x509.Certificate) {
		c.URIs = []*url.URL{spiffeid.RequireTrustDomainFromString("other").ID().URL()}
	})
	foreign.Sequence += 10
	update(t, a, foreign)
	refused(nil, "is of trust domain other, and this is cluster.local")
	a.cfg.Aliases = []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("other")}
	foreign.Sequence++
	update(t, a, foreign)
	if _, err := a.SignX509(what); err != nil {
		t.Errorf("an authority of an alias: %v", err)
	}

	update(t, a, func() State { s := good.Clone(); s.Sequence += 20; return s }())
	for words, change := range map[string]func(*X509Template){
		"no SPIFFE ID":   func(x *X509Template) { x.ID = spiffeid.ID{} },
		"trust domain":   func(x *X509Template) { x.ID = spiffeid.RequireFromString("spiffe://other/a") },
		"has no path":    func(x *X509Template) { x.ID = testDomain.ID() },
		"2048":           func(x *X509Template) { x.ID = spiffeid.RequireFromPath(testDomain, "/"+strings.Repeat("a", 2048)) },
		"TTL":            func(x *X509Template) { x.TTL = 0 },
		"unknown type":   func(x *X509Template) { x.PublicKey = "key" },
		"is no DNS name": func(x *X509Template) { x.DNSNames = []string{"web.shop", "a\x00b"} },
	} {
		what = template(t, time.Hour)
		change(&what)
		refused(nil, words)
	}
}

func TestACertificateLiesWithinItsIssuer(t *testing.T) {
	now := time.Now()
	a := New(Config{TrustDomain: testDomain, Now: func() time.Time { return now }})
	root := rooted(t, p256(t), func(c *x509.Certificate) { c.NotBefore = now.Add(-10 * time.Second) })
	update(t, a, root)
	issuer := root.Generations[0].Issuer
	s, err := a.SignX509(template(t, 48*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if c := s.Chain[0]; !c.NotAfter.Equal(issuer.NotAfter) || !c.NotBefore.Equal(issuer.NotBefore) || !s.NotAfter.Equal(c.NotAfter) {
		t.Errorf("from %v to %v (%v), the issuer from %v to %v", c.NotBefore, c.NotAfter, s.NotAfter, issuer.NotBefore, issuer.NotAfter)
	}
	update(t, a, func() State { s := rooted(t, p256(t)); s.Sequence += 5; return s }())
	if s, err = a.SignX509(template(t, time.Hour)); err != nil {
		t.Fatal(err)
	}
	c := s.Chain[0]
	if want := now.Add(-DefaultBackdate).Truncate(time.Second); !c.NotBefore.Equal(want) {
		t.Errorf("begins %v, want %v", c.NotBefore, want)
	}
	if want := now.Add(time.Hour).Truncate(time.Second); !c.NotAfter.Equal(want) {
		t.Errorf("ends %v, want %v", c.NotAfter, want)
	}
}

func TestJWTKeysRotate(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	clock := now
	g, err := Generate(testDomain, now)
	if err != nil {
		t.Fatal(err)
	}
	s, err := First(g, now)
	if err != nil {
		t.Fatal(err)
	}
	a := New(Config{TrustDomain: testDomain, Now: func() time.Time { return clock }})
	update(t, a, s)
	first := s.JWT[0].ID
	published := map[string]time.Time{first: now}
	for ; clock.Before(now.Add(100 * 24 * time.Hour)); clock = clock.Add(6 * time.Hour) {
		next, err := RotateJWT(s, clock)
		if err != nil {
			t.Fatal(err)
		}
		if changed := !Equal(next, s); changed != (next.Sequence > s.Sequence) {
			t.Fatalf("changed: %v, and the sequence goes from %d to %d", changed, s.Sequence, next.Sequence)
		}
		s = next
		update(t, a, s)
		for _, k := range s.JWT {
			if _, ok := published[k.ID]; !ok {
				published[k.ID] = clock
			}
		}
		signer, ok := a.current.Load().jwtSigner(clock)
		if !ok {
			t.Fatalf("%v: no key signs", clock)
		}
		if at := published[signer.key.ID]; signer.key.ID != first && clock.Sub(at) < jwtPublished {
			t.Fatalf("%v: key %s signs, and is published since %v", clock, signer.key.ID, at)
		}
		if len(s.JWT) > 2 {
			t.Fatalf("%v: %v", clock, s.JWT)
		}
		if _, expires, err := a.SignJWT(JWTTemplate{ID: spiffeid.RequireFromPath(testDomain, "/a"), Audience: []string{"b"}, TTL: 24 * time.Hour}); err != nil || !expires.Equal(clock.Add(24*time.Hour)) {
			t.Fatalf("%v: a token ends %v, %v", clock, expires, err)
		}
	}
	if len(published) < 3 {
		t.Errorf("%d keys in 100 days", len(published))
	}
}
