package main

import (
	"context"
	"crypto/x509"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
)

func csrLine(t *testing.T, c *CSR, what string) []string {
	t.Helper()
	for _, line := range csrTable(c) {
		if strings.HasSuffix(line[0], what) {
			return line
		}
	}
	t.Fatalf("no line %q", what)
	return nil
}

func TestCSRVerdicts(t *testing.T) {
	good := func() *CSR {
		return &CSR{
			Istiod: &Signing{PerSecond: 80, CPU: 3000}, Unlimited: &Signing{PerSecond: 400, CPU: 900},
			ByIstio: &Signing{PerSecond: 4000, CPU: 200, P99: 4}, Single: &Signing{CPU: 180, P99: 3}, Batch: &Signing{CPU: 120, P99: 8},
		}
	}
	for _, test := range []struct {
		name, what, want string
		edit             func(*CSR)
	}{
		{"CPU is kept", "CPU a certificate", "kept", func(*CSR) {}},
		{"p99 is kept", "p99", "kept", func(*CSR) {}},
		{"one way of three is too dear", "CPU a certificate", "MISSED: SignX509", func(c *CSR) { c.Single.CPU = 251 }},
		{"one way of three is too slow", "p99", "MISSED: 20 a call", func(c *CSR) { c.Batch.P99 = 10.1 }},
		{"a failure", "p99", "MISSED: 7 failed by Istio's API", func(c *CSR) { c.ByIstio.Failed = 7 }},
		{"one way was not measured", "p99", "not measured", func(c *CSR) { c.Single = nil }},
		{"nothing is promised", "p50", "", func(*CSR) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := good()
			test.edit(c)
			line := csrLine(t, c, test.what)
			if got := line[len(line)-1]; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if got := csrLine(t, good(), "a second")[4]; got != "10×" {
		t.Errorf("ratio of rates: %q", got)
	}
	if got := csrLine(t, good(), "CPU a certificate")[4]; got != "4.5×" {
		t.Errorf("ratio of CPU: %q", got)
	}
}

func TestHerdVerdicts(t *testing.T) {
	last := func(h Herd, what string) string {
		for _, line := range herdTable(&h) {
			if line[0] == what {
				return line[3]
			}
		}
		return "no line"
	}
	for _, test := range []struct {
		herd         Herd
		failed, peak string
	}{
		{Herd{Nodes: promisedHerd, PeakMB: 599}, "kept", "kept"},
		{Herd{Nodes: promisedHerd, PeakMB: 601, Failed: 1}, "MISSED", "MISSED"},
		{Herd{Nodes: 100, PeakMB: 601}, "not judged", "not judged"},
	} {
		if got := last(test.herd, "failed in 30 s"); got != test.failed {
			t.Errorf("%+v: failed: %q", test.herd, got)
		}
		if got := last(test.herd, "peak memory"); got != test.peak {
			t.Errorf("%+v: memory: %q", test.herd, got)
		}
	}
}

func TestMedianOfCSRsLeavesOutWhatWasNotMeasured(t *testing.T) {
	got := medianCSR([]Run{
		{CSR: &CSR{ByIstio: &Signing{CPU: 100, Count: 5, Failed: 1}}}, {}, {CSR: &CSR{ByIstio: &Signing{CPU: 300, Count: 5}, Herd: &Herd{Nodes: 7, PeakMB: 50}}},
	})
	if got.ByIstio.CPU != 200 || got.ByIstio.Count != 10 || got.ByIstio.Failed != 1 || got.Herd.PeakMB != 50 || got.Istiod != nil {
		t.Errorf("got %+v, %+v, %+v", got, got.ByIstio, got.Herd)
	}
	if medianCSR([]Run{{}}) != nil {
		t.Error("made up")
	}
}

// An answer that is late must not delay, or shorten, what is asked next.
func TestOpenLoopCountsFromWhenACallWasDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		c := &caller{each: 1, ask: func(ctx context.Context, _ []csr) ([]issued, error) {
			switch asked.Add(1) {
			case 1:
				time.Sleep(3 * time.Second)
			case 2:
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return nil, nil
		}}
		times, failed, err := openLoop(t.Context(), []*caller{c}, &pool{patience: 10 * time.Second, csrs: make([]csr, 4)}, 100, time.Second)
		slices.Sort(times)
		if len(times) != 99 || failed != 1 || !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%d came, %d failed: %v", len(times), failed, err)
		}
		if times[97] != 0 || times[98] != 3*time.Second {
			t.Errorf("times %v, %v", times[97], times[98])
		}
	})
}

func TestIssuedIsCheckedAgainstWhatWasAskedFor(t *testing.T) {
	td := spiffeid.RequireTrustDomainFromString(csrTrustDomain)
	roots, sign := signer(t, td)
	mine, err := newCSR()
	if err != nil {
		t.Fatal(err)
	}
	other, err := newCSR()
	if err != nil {
		t.Fatal(err)
	}
	id := spiffeid.RequireFromPath(td, "/ns/bench-0/sa/web")
	chain := sign(authority.X509Template{ID: id, PublicKey: mine.key, TTL: time.Hour})
	if err := (issued{chain: chain, of: mine, identity: id.String()}).check(roots); err != nil {
		t.Errorf("good one: %v", err)
	}
	for what, bad := range map[string]issued{
		"another key":  {chain: chain, of: other, identity: id.String()},
		"it is for":    {chain: chain, of: mine, identity: (&url.URL{Scheme: "spiffe", Host: csrTrustDomain, Path: "/other"}).String()},
		"none came":    {of: mine, identity: id.String()},
		"no PEM":       {chain: chain, pem: true, of: mine, identity: id.String()},
		"x509: certif": {chain: sign2(t, td, id, mine), of: mine, identity: id.String()},
	} {
		if err := bad.check(roots); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// signingAuthority lives as long as the test.
func signingAuthority(t testing.TB, td spiffeid.TrustDomain) *authority.Authority {
	t.Helper()
	g, err := authority.Generate(td, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := store.NewMemory()
	if _, err := s.Save(t.Context(), authority.State{Revision: 1, Sequence: 1, Generations: []authority.Generation{g}, Signing: g.ID}, ""); err != nil {
		t.Fatal(err)
	}
	a := authority.New(authority.Config{TrustDomain: td, Store: s, Now: time.Now})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	<-a.Ready()
	return a
}

func signer(t *testing.T, td spiffeid.TrustDomain) (*x509.CertPool, func(authority.X509Template) [][]byte) {
	t.Helper()
	a := signingAuthority(t, td)
	roots := x509.NewCertPool()
	for _, g := range a.State().Generations {
		for _, c := range g.Roots {
			roots.AddCert(c)
		}
	}
	return roots, func(template authority.X509Template) [][]byte {
		signed, err := a.SignX509(template)
		if err != nil {
			t.Fatal(err)
		}
		return signed.Raw
	}
}

// sign2 is a certificate by somebody else.
func sign2(t *testing.T, td spiffeid.TrustDomain, id spiffeid.ID, c csr) [][]byte {
	t.Helper()
	_, sign := signer(t, td)
	return sign(authority.X509Template{ID: id, PublicKey: c.key, TTL: time.Hour})
}
