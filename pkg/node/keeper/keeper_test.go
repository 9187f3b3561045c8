package keeper_test

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/node/nodetest"
)

func jwtTemplate(pod ca.PodRef, audience []string) authority.JWTTemplate {
	return authority.JWTTemplate{ID: nodetest.Subject(&pod), Audience: audience, TTL: 5 * time.Minute}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestPodsAreServedBeforeTheyAsk(t *testing.T) {
	run(t, time.Hour, func(t *testing.T, r *rig) {
		_, unknown, err := r.X509("a")
		if !errors.Is(err, node.ErrUnknown) {
			t.Fatalf("a pod that nobody knows: %v", err)
		}
		r.Update([]keeper.Pod{nodetest.Pod("a", "web"), nodetest.Pod("b", "web"), nodetest.Pod("c", "db")}, nil)
		if !closed(unknown) {
			t.Error("the pod's arrival was not told")
		}
		_, pending, err := r.X509("a")
		if !errors.Is(err, node.ErrPending) {
			t.Fatalf("before anything was signed: %v", err)
		}
		settle()
		if !closed(pending) {
			t.Error("the first SVID was not told")
		}
		a, _, err := r.X509("a")
		if err != nil {
			t.Fatal(err)
		}
		if a.ID.String() != "spiffe://cluster.local/ns/shop/sa/web" {
			t.Errorf("pod a is %s", a.ID)
		}
		if b, _, _ := r.X509("b"); b != a {
			t.Error("two pods of a ServiceAccount have different SVIDs")
		}
		if c, _, _ := r.X509("c"); c == nil || c == a {
			t.Error("another ServiceAccount has no SVID of its own")
		}
		if n, _, err := r.Node(); err != nil || n.ID != nodetest.NodeID {
			t.Errorf("the node's own is %v, %v", n, err)
		}
		if n := len(r.signer.calls); n != 2 || r.signer.calls[0].size != 1 || r.signer.calls[1].size != 2 {
			t.Errorf("calls %+v, want the node's own first, then both identities at once", r.signer.calls)
		}
	})
}

func TestLastPodTakesItsIdentityAlong(t *testing.T) {
	run(t, time.Hour, func(t *testing.T, r *rig) {
		r.Update([]keeper.Pod{nodetest.Pod("a", "web"), nodetest.Pod("b", "web")}, nil)
		settle()
		r.Update(nil, []string{"a"})
		svid, changed, err := r.X509("b")
		if err != nil {
			t.Fatalf("the other pod of the identity: %v", err)
		}
		r.Update(nil, []string{"b"})
		if !closed(changed) {
			t.Error("nobody was told that the pod has gone")
		}
		if _, _, err := r.X509("b"); !errors.Is(err, node.ErrUnknown) {
			t.Errorf("a pod that has gone: %v", err)
		}
		if s, _ := r.Changes(0); len(s.SVIDs) != 0 {
			t.Errorf("%d SVIDs without a pod", len(s.SVIDs))
		}
		r.Update([]keeper.Pod{nodetest.Pod("c", "web")}, nil)
		settle()
		if again, _, err := r.X509("c"); err != nil || again == svid {
			t.Errorf("a new pod has the SVID of the former ones, or none: %v", err)
		}
	})
}

func TestBatchesOfAHundred(t *testing.T) {
	run(t, time.Hour, func(t *testing.T, r *rig) {
		settle()
		var pods []keeper.Pod
		for i := range 250 {
			pods = append(pods, nodetest.Pod(fmt.Sprint(i), fmt.Sprintf("sa-%d", i)))
		}
		r.Update(pods, nil)
		settle()
		if s, _ := r.Changes(0); len(s.SVIDs) != 250 {
			t.Fatalf("%d of 250", len(s.SVIDs))
		}
		var sizes []int
		for _, c := range r.signer.calls[1:] {
			sizes = append(sizes, c.size)
		}
		if len(sizes) != 3 || sizes[0] > 100 || sizes[1] > 100 || sizes[2] > 100 {
			t.Errorf("calls of %v certificates", sizes)
		}
	})
}

// A renewal is planned between a half and two thirds of the life, and never later than min(15 minutes, TTL/6) before the end.
func TestRenewalIsInTime(t *testing.T) {
	for _, ttl := range []time.Duration{time.Minute, 5 * time.Minute, time.Hour, 24 * time.Hour} {
		t.Run(ttl.String(), func(t *testing.T) {
			run(t, ttl, func(t *testing.T, r *rig) {
				var pods []keeper.Pod
				for i := range 200 {
					pods = append(pods, nodetest.Pod(fmt.Sprint(i), fmt.Sprintf("sa-%d", i)))
				}
				settle()
				r.Update(pods, nil)
				settle()
				first, last := time.Duration(1<<62), time.Duration(0)
				for _, i := range r.Identities() {
					age := i.Renewal.Sub(i.Issued)
					first, last = min(first, age), max(last, age)
					if left := i.Ends.Sub(i.Renewal); age < ttl/2-time.Second || left < min(15*time.Minute, ttl/6) {
						t.Errorf("renewal at the age of %s, %s before the end, of %s", age, left, ttl)
					}
				}
				if last-first < ttl/12 {
					t.Errorf("200 renewals between the ages of %s and %s: too close together", first, last)
				}
				key := map[string]bool{}
				old, _ := r.Changes(0)
				time.Sleep(ttl * 5 / 6)
				settle()
				now, _ := r.Changes(0)
				for id, svid := range now.SVIDs {
					if svid == old.SVIDs[id] {
						t.Errorf("%s was not renewed", id)
					}
					for _, s := range []*node.SVID{svid, old.SVIDs[id]} {
						key[string(s.Chain[0].RawSubjectPublicKeyInfo)] = true
					}
				}
				if len(key) != 400 {
					t.Errorf("400 certificates of %d keys", len(key))
				}
			})
		})
	}
}

func TestRotationRenewsSoonAndSpread(t *testing.T) {
	run(t, 24*time.Hour, func(t *testing.T, r *rig) {
		r.SetBundles(r.signer.Bundles())
		var pods []keeper.Pod
		for i := range 200 {
			pods = append(pods, nodetest.Pod(fmt.Sprint(i), fmt.Sprintf("sa-%d", i)))
		}
		r.Update(pods, nil)
		settle()
		next := r.signer.Trust()
		r.SetBundles(r.signer.Bundles())
		time.Sleep(10 * time.Minute)
		if n := r.signer.count(); n > 4 {
			t.Fatalf("%d calls because an authority is trusted that does not sign", n)
		}
		r.signer.Sign(next)
		before := r.signer.count()
		r.SetBundles(r.signer.Bundles())
		time.Sleep(3 * time.Minute)
		settle()
		s, _ := r.Changes(0)
		for id, svid := range s.SVIDs {
			if svid.Authority != next {
				t.Fatalf("%s is of %s three minutes after %s signs", id, svid.Authority, next)
			}
		}
		most := 0
		for _, c := range r.signer.calls[before:] {
			most = max(most, c.size)
		}
		if most > 20 {
			t.Errorf("%d of 200 renewals in one call: they are not spread", most)
		}
		calls := r.signer.count()
		time.Sleep(time.Hour)
		if n := r.signer.count(); n != calls {
			t.Errorf("%d more calls after everything had been renewed", n-calls)
		}
	})
}

// A replica that still signs with the old authority must not make the agents ask without end.
func TestServerThatIsBehindInARotation(t *testing.T) {
	run(t, 24*time.Hour, func(t *testing.T, r *rig) {
		r.SetBundles(r.signer.Bundles())
		r.Update([]keeper.Pod{nodetest.Pod("a", "web")}, nil)
		settle()
		b := r.signer.Bundles()
		b.Signing = "somebody else"
		r.SetBundles(b)
		before := r.signer.count()
		time.Sleep(6 * time.Hour)
		if n := r.signer.count() - before; n < 4 || n > 30 {
			t.Errorf("%d renewals in six hours for an authority that does not come", n)
		}
	})
}

func TestClockJumps(t *testing.T) {
	for name, jump := range map[string]time.Duration{"forward": 3 * time.Hour, "back": -3 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			run(t, time.Hour, func(t *testing.T, r *rig) {
				r.SetBundles(r.signer.Bundles())
				r.Update([]keeper.Pod{nodetest.Pod("a", "web")}, nil)
				settle()
				r.signer.set(func() { r.signer.down = true })
				old, _, err := r.X509("a")
				if err != nil {
					t.Fatal(err)
				}
				r.jumps(jump)
				_, _, err = r.X509("a")
				if name == "forward" && err == nil {
					t.Error("an SVID is served that has ended by the wall clock")
				}
				time.Sleep(61 * time.Minute) // of the monotonic clock
				if _, _, err = r.X509("a"); err == nil {
					t.Error("an SVID is served that has ended by the monotonic clock")
				}
				r.jumps(-jump)
				r.signer.set(func() { r.signer.down = false })
				time.Sleep(time.Minute)
				if svid, _, err := r.X509("a"); err != nil || svid == old {
					t.Errorf("no new SVID after the clock was set right: %v", err)
				}
			})
		})
	}
}

// A clock that is set back does not put renewal off.
func TestClockSetBackRenewsInTime(t *testing.T) {
	run(t, time.Hour, func(t *testing.T, r *rig) {
		r.Update([]keeper.Pod{nodetest.Pod("a", "web")}, nil)
		settle()
		old, _, _ := r.X509("a")
		r.jumps(-30 * 24 * time.Hour)
		time.Sleep(45 * time.Minute)
		if svid, _, err := r.X509("a"); err != nil || svid == old {
			t.Errorf("45 minutes after an SVID of an hour it was not renewed: %v", err)
		}
	})
}

func TestEndedIsNeverServed(t *testing.T) {
	run(t, time.Hour, func(t *testing.T, r *rig) {
		r.Update([]keeper.Pod{nodetest.Pod("a", "web")}, nil)
		settle()
		r.signer.set(func() { r.signer.down = true })
		svid, changed, err := r.X509("a")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(svid.Chain[0].NotAfter) - time.Second)
		if got, _, err := r.X509("a"); err != nil || got != svid {
			t.Fatalf("a failed renewal has taken away what is valid for another second: %v", err)
		}
		if i := r.Identities()[1]; i.State != keeper.Failing || i.Failures+len(i.Error) == 0 || !strings.Contains(i.Error, "away") {
			t.Errorf("the failure is not seen: %+v", i)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if _, _, err := r.X509("a"); !errors.Is(err, node.ErrPending) {
			t.Errorf("after its end: %v", err)
		}
		if s, _ := r.Changes(0); s.SVIDs[svid.ID] != nil || s.Node != nil {
			t.Error("the state has what has ended")
		}
		if !closed(changed) {
			t.Error("nobody was told of the end")
		}
		if i := r.Identities()[1]; i.State != keeper.Pending {
			t.Errorf("state %+v after the end", i)
		}
	})
}

func TestWhatTheServerGivesIsChecked(t *testing.T) {
	wrongKey := certificateOf(t)
	for name, alter := range map[string]func(*keeper.Result){
		"another key":       func(r *keeper.Result) { r.Chain = []*x509.Certificate{wrongKey} },
		"another identity":  func(r *keeper.Result) { r.ID = spiffeid.RequireFromString(r.ID.String() + "-not") },
		"no certificate":    func(r *keeper.Result) { r.Chain = nil },
		"another authority": nil,
	} {
		t.Run(name, func(t *testing.T) {
			run(t, time.Hour, func(t *testing.T, r *rig) {
				r.SetBundles(r.signer.Bundles())
				r.Update([]keeper.Pod{nodetest.Pod("a", "web")}, nil)
				settle()
				old, _, err := r.X509("a")
				if err != nil {
					t.Fatal(err)
				}
				r.signer.set(func() {
					r.signer.alter = alter
					if alter == nil {
						r.signer.Authority = nodetest.NewAuthority(t)
					}
				})
				time.Sleep(time.Until(old.Chain[0].NotAfter) - time.Second)
				if got, _, err := r.X509("a"); err != nil || got != old {
					t.Errorf("what was served was replaced by what is wrong: %v", err)
				}
				if i := r.Identities()[1]; i.Error == "" || i.Failures == 0 {
					t.Errorf("the refusal is not seen: %+v", i)
				}
			})
		})
	}
}
