package authority_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
)

var td = spiffeid.RequireTrustDomainFromString("cluster.local")

// started gives an authority that follows a store in memory until the end of the test.
func started(t testing.TB, cfg authority.Config) *authority.Authority {
	t.Helper()
	cfg.TrustDomain = td
	if cfg.Store == nil {
		cfg.Store = store.NewMemory()
	}
	a := authority.New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	<-a.Ready()
	return a
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestGoSPIFFETakesWhatIsSigned(t *testing.T) {
	a := started(t, authority.Config{})
	id := spiffeid.RequireFromPath(td, "/ns/shop/sa/web")
	svid, err := a.SignX509(authority.X509Template{ID: id, PublicKey: newKey(t).Public(), TTL: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if got, _, err := x509svid.Verify(svid.Chain, a.Bundle()); err != nil || got != id {
		t.Errorf("X.509-SVID: %v, %v", got, err)
	}
	token, _, err := a.SignJWT(authority.JWTTemplate{ID: id, Audience: []string{"bank"}, TTL: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := jwtsvid.ParseAndValidate(token, a.Bundle(), []string{"bank"}); err != nil || got.ID != id {
		t.Errorf("JWT-SVID: %v, %v", got, err)
	}
	if _, err := jwtsvid.ParseAndValidate(token, a.Bundle(), []string{"shop"}); err == nil {
		t.Error("a JWT-SVID is taken by another audience")
	}
}

func BenchmarkSignDER(b *testing.B) {
	a := started(b, authority.Config{})
	t := authority.X509Template{ID: spiffeid.RequireFromPath(td, "/ns/shop/sa/web"), PublicKey: newKey(b).Public(), TTL: time.Hour}
	b.ReportAllocs()
	before := processorTime(b)
	for b.Loop() {
		if _, err := a.SignDER(t); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// processorTime is what the process has used: on a busy machine the clock says nothing.
func processorTime(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
