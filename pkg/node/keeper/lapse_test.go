package keeper_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/node/nodetest"
)

// certificateOf is one of another key than anybody's here.
func certificateOf(t testing.TB) *x509.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x, err := nodetest.NewAuthority(t).Issue(nodetest.NodeID, key.Public(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return x.Chain[0]
}

// A server fails at random for up to a fifth of an SVID's life, restarts during calls, answers slowly and refuses one in seven:
// no SVID that has been there once is ever missing.
func TestNeverLapses(t *testing.T) {
	for _, ttl := range []time.Duration{time.Minute, time.Hour} {
		for seed := range uint64(3) {
			t.Run(fmt.Sprintf("%s/%d", ttl, seed), func(t *testing.T) {
				run(t, ttl, func(t *testing.T, r *rig) {
					neverLapses(t, r, ttl, rand.New(rand.NewPCG(seed, 7)))
				})
			})
		}
	}
}

func neverLapses(t *testing.T, r *rig, ttl time.Duration, rng *rand.Rand) {
	const pods = 12
	for i := range pods {
		r.Update([]keeper.Pod{nodetest.Pod(fmt.Sprint(i), fmt.Sprintf("sa-%d", i))}, nil)
	}
	r.SetBundles(r.signer.Bundles())
	settle()
	r.signer.set(func() {
		r.signer.fails = 0.15
		r.signer.slow = min(ttl/120, 15*time.Second)
	})
	down, until := false, time.Now()
	outage := time.Duration(0)
	step := ttl / 200
	for end := time.Now().Add(12 * ttl); time.Now().Before(end); time.Sleep(step) {
		if time.Now().After(until) {
			down = !down
			r.signer.set(func() { r.signer.down = down })
			// What is left of a third of the life must do for the slow and the refused tries.
			length := time.Duration(rng.Int64N(int64(ttl / 5)))
			if !down {
				length = ttl/5 + time.Duration(rng.Int64N(int64(ttl/4))) // then it is there for a while
			} else {
				outage += length
			}
			until = time.Now().Add(length)
		}
		synctest.Wait()
		for i := range pods {
			svid, _, err := r.X509(fmt.Sprint(i))
			if err != nil {
				t.Fatalf("pod %d has no SVID after %s: %v; %+v", i, 12*ttl-time.Until(end), err, r.Identities())
			}
			if left := time.Until(svid.Chain[0].NotAfter); left <= 0 {
				t.Fatalf("pod %d is served what ended %s ago", i, -left)
			}
		}
		if _, _, err := r.Node(); err != nil {
			t.Fatalf("the node has no SVID: %v", err)
		}
	}
	bad := 0
	r.signer.set(func() {
		for _, c := range r.signer.calls {
			if !c.good {
				bad++
			}
		}
	})
	t.Logf("%d calls, %d of them in outages of %s together; %d renewals", r.signer.count(), bad, outage, renewals(r))
	// One call for all while the server is away, never more often than every half second and mostly much less.
	if most := int(outage/time.Second) + 20; bad > most {
		t.Errorf("%d calls to a server that is away for %s", bad, outage)
	}
}

func renewals(r *rig) (n int) {
	for _, m := range r.signer.seen {
		n += m
	}
	return n
}

// Two thousand agents that lose their server at once do not come back at once.
func TestNoHerd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSigner(t, time.Hour)
		s.down = true
		ctx, cancel := contextOf(t)
		const agents = 200
		done := make(chan error, agents)
		for range agents {
			k := keeper.New(keeper.Config{Signer: s, TTL: time.Hour})
			go func() { done <- k.Run(ctx) }()
		}
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		perSecond := map[int64]int{}
		for _, c := range s.calls {
			if at := c.at.Unix() - s.calls[0].at.Unix(); at > 60 {
				perSecond[at]++
			}
		}
		most := 0
		for _, n := range perSecond {
			most = max(most, n)
		}
		t.Logf("%d agents ask a server that is away at most %d times a second, %d times in four minutes", agents, most, len(s.calls))
		if most > agents/4 {
			t.Errorf("%d of %d agents in one second", most, agents)
		}
		cancel()
		for range agents {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
}
