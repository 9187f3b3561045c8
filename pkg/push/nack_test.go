package push

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
)

func ref(name string) model.Ref { return model.Ref{Kind: "Test", Namespace: "ns", Name: name} }

// judge answers responses as an Envoy that applies all or nothing, and rejects some names with a message. It stops when
// nothing comes any more.
func judge(t *testing.T, c *peerClient, bad map[string]bool, message func([]string) string) (has map[string]string, rounds int) {
	t.Helper()
	has = map[string]string{}
	for {
		c.settle()
		select {
		case m := <-c.got:
			rounds++
			var faults []string
			for _, r := range m.Resources {
				if bad[r.Name] {
					faults = append(faults, r.Name)
				}
			}
			if len(faults) > 0 {
				c.nack(m, message(faults))
				continue
			}
			for _, r := range m.Resources {
				has[r.Name] = r.Version
			}
			for _, n := range m.RemovedResources {
				delete(has, n)
			}
			c.ack(m)
		default:
			return has, rounds
		}
	}
}

func TestOneBadAmongFifty(t *testing.T) {
	texts := map[string]struct {
		message   func([]string) string
		maxRounds int
	}{
		"named": {func(n []string) string {
			return "Error adding/updating cluster(s) " + strings.Join(n, ": nope, ") + ": nope"
		}, 6},
		"dumped": {func(n []string) string {
			return fmt.Sprintf("goo.gle/debugproto name: %q : Proto constraint failed", n[0])
		}, 12},
		"unnamed": {func([]string) string { return "missing ]: [" }, 40},
	}
	for name, tt := range texts {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, r *rig) {
				r.src.Update(1, many(t, clusterType, "1", 1, 50))
				bad := map[string]bool{"r007": true, "r031": true}
				c := r.client("n")
				c.subscribe(clusterType)
				has, rounds := judge(t, c, bad, tt.message)
				if len(has) != 48 || rounds > tt.maxRounds {
					t.Errorf("%d resources in %d rounds, want 48 in %d", len(has), rounds, tt.maxRounds)
				}
				st := r.srv.Status().For(ref("r007"))
				if len(st.Rejected) != 1 || st.Rejected[0].Node != "n" || st.Programmed() {
					t.Errorf("status of the bad one: %+v", st)
				}
				if st := r.srv.Status().For(ref("r008")); !st.Programmed() {
					t.Errorf("status of a good one: %+v", st)
				}
				// Another client of that version is protected, one of another version is not.
				d := r.client("m")
				d.subscribe(clusterType)
				if m := d.next(); len(m.Resources) != 48 {
					t.Errorf("second client was sent %d, want 48", len(m.Resources))
				}
				e := r.clientOf(&core.Node{Id: "o", UserAgentVersionType: &core.Node_UserAgentVersion{UserAgentVersion: "1.41.0"}})
				e.subscribe(clusterType)
				if m := e.next(); len(m.Resources) != 50 {
					t.Errorf("client of another version was sent %d, want 50", len(m.Resources))
				}
			})
		})
	}
}

func TestLastGoodStaysUntilContentChanges(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		good := res(t, clusterType, "a", "good", 1)
		r.src.Update(1, []*snapshot.Resource{good})
		c := r.client("n")
		c.subscribe(clusterType)
		c.expect("Cluster +a")
		r.src.Update(2, []*snapshot.Resource{res(t, clusterType, "a", "bad", 2)})
		c.nack(c.want("Cluster +a"), "a: nope")
		c.quiet()
		if got := r.srv.Resources("n"); len(got) != 1 || got[0].Version != good.Version() || !got[0].Acked {
			t.Errorf("client has %+v, want the last good %s", got, good.Version())
		}
		if o := r.srv.Status().For(ref("a")); len(o.Rejected) != 1 || o.Rejected[0].Message != "a: nope" {
			t.Errorf("status: %+v", o)
		}
		r.src.Update(3, []*snapshot.Resource{res(t, clusterType, "a", "better", 3)})
		c.expect("Cluster +a")
		c.quiet()
		if o := r.srv.Status().For(ref("a")); !o.Programmed() {
			t.Errorf("status after the mend: %+v", o)
		}
		if n := len(r.srv.quarantine.bad); n != 0 {
			t.Errorf("%d quarantined after the content changed", n)
		}
	})
}

func TestRetriesBackOffOnOneClient(t *testing.T) {
	bubble(t, Config{RetryMin: 10 * time.Second, RetryMax: 40 * time.Second}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "bad", 1)})
		c, d := r.client("n"), r.client("m")
		c.subscribe(clusterType)
		m := c.want("Cluster +a")
		c.nack(m, "no")
		c.quiet()
		d.subscribe(clusterType)
		d.expect("Cluster")
		start := time.Now()
		for i, at := range []time.Duration{10, 30, 70, 110} {
			who, m := either(t, c, d)
			if got := time.Since(start); got != at*time.Second {
				t.Errorf("try %d after %v, want %vs", i, got, int(at))
			}
			c.quiet()
			d.quiet() // one client tries
			if at == 110 {
				who.ack(m)
				break
			}
			who.nack(m, "no")
		}
		// It was accepted: the other client gets it too, and nobody is wrong any more.
		who, m := either(t, c, d)
		if show(m) != "Cluster +a" {
			t.Errorf("got %s", show(m))
		}
		who.ack(m)
		who.quiet()
		if o := r.srv.Status().For(ref("a")); len(o.Rejected) != 0 {
			t.Errorf("status after acceptance: %+v", o)
		}
	})
}

func TestTryOfAGoneClientIsTakenOver(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "bad", 1)})
		c, d := r.client("n"), r.client("m")
		c.subscribe(clusterType)
		c.nack(c.want("Cluster +a"), "no")
		c.quiet()
		d.subscribe(clusterType)
		d.expect("Cluster")
		who, _ := either(t, c, d)
		who.cancel()
		other := map[*peerClient]*peerClient{c: d, d: c}[who]
		other.expect("Cluster +a")
	})
}

func either(t *testing.T, c, d *peerClient) (*peerClient, *discovery.DeltaDiscoveryResponse) {
	t.Helper()
	select {
	case m := <-c.got:
		return c, m
	case m := <-d.got:
		return d, m
	case <-time.After(time.Hour):
		t.Fatal("nobody got anything")
	}
	return nil, nil
}

func TestDenyStub(t *testing.T) {
	for _, always := range []bool{false, true} {
		t.Run(fmt.Sprintf("always=%v", always), func(t *testing.T) {
			bubble(t, Config{}, func(t *testing.T, r *rig) {
				deny := res(t, listenerType, "l", "deny", 0)
				guarded := func(text string, pos uint64) *snapshot.Resource {
					x := res(t, listenerType, "l", text, pos)
					x.Deny, x.DenyAlways = deny, always
					return x
				}
				r.src.Update(1, []*snapshot.Resource{guarded("bad", 1)})
				c := r.client("n")
				c.subscribe(listenerType)
				c.nack(c.want("Listener +l"), "l: no")
				if m := c.want("Listener +l"); m.Resources[0].Version != deny.Version() {
					t.Errorf("got %s, want the stub", m.Resources[0].Version)
				} else {
					c.ack(m)
				}
				if o := r.srv.Status().For(ref("l")); o.Programmed() {
					t.Error("a stub counts as programmed")
				}
				r.src.Update(2, []*snapshot.Resource{guarded("good", 2)})
				c.expect("Listener +l")
				r.src.Update(3, []*snapshot.Resource{guarded("bad again", 3)})
				c.nack(c.want("Listener +l"), "l: no")
				if !always {
					c.quiet() // last good stays
					return
				}
				if m := c.want("Listener +l"); m.Resources[0].Version != deny.Version() {
					t.Errorf("got %s, want the stub", m.Resources[0].Version)
				}
			})
		})
	}
}

func TestFaultOfOneNodeStaysThere(t *testing.T) {
	confirm := map[string]func(context.Context, *snapshot.Resource) error{
		"bind":    nil,
		"sandbox": func(context.Context, *snapshot.Resource) error { return nil },
	}
	for name, fn := range confirm {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{Confirm: fn}, func(t *testing.T, r *rig) {
				r.src.Update(1, []*snapshot.Resource{res(t, listenerType, "l", "1", 1)})
				c, d := r.client("n"), r.client("m")
				c.subscribe(listenerType)
				message := "l: cannot bind '127.0.0.1:80': Address already in use"
				if fn != nil {
					message = "l: something"
				}
				c.nack(c.want("Listener +l"), message)
				c.quiet()
				d.subscribe(listenerType)
				d.expect("Listener +l")
			})
		})
	}
	bubble(t, Config{Confirm: func(context.Context, *snapshot.Resource) error { return errors.New("bad") }}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, listenerType, "l", "1", 1)})
		c, d := r.client("n"), r.client("m")
		c.subscribe(listenerType)
		c.nack(c.want("Listener +l"), "l: something")
		c.quiet()
		d.subscribe(listenerType)
		d.expect("Listener")
	})
}

// An agent refuses for its node: what it does not take reaches the agents of all other nodes, and it alone is shown.
func TestAgentsRefuseForTheirNode(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		b, err := snapshot.Encode("cluster.local", &nodev1.TrustBundle{TrustDomain: "cluster.local"}, 1, ref("b"))
		if err != nil {
			t.Fatal(err)
		}
		r.src.Update(1, []*snapshot.Resource{b})
		c, d := r.client("n"), r.client("m")
		c.subscribe(trustType)
		c.nack(c.want("TrustBundle +cluster.local"), "envoy n has not acknowledged it")
		c.quiet()
		d.subscribe(trustType)
		d.ack(d.want("TrustBundle +cluster.local"))
		d.quiet()
		o := r.srv.Status().For(ref("b"))
		if len(o.Rejected) != 1 || o.Rejected[0].Node != "n" || o.Rejected[0].Message != "envoy n has not acknowledged it" {
			t.Errorf("rejected: %+v", o.Rejected)
		}
	})
}

func TestRejectionsGoWithTheirClient(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "bad", 1)})
		c := r.client("n")
		c.subscribe(clusterType)
		c.nack(c.want("Cluster +a"), "no")
		c.quiet()
		changed := r.srv.Status().Changed()
		c.cancel()
		<-changed
		if o := r.srv.Status().For(ref("a")); len(o.Rejected) != 0 || o.Clients != 0 || o.Programmed() {
			t.Errorf("status without clients: %+v", o)
		}
	})
}

func TestNamesIn(t *testing.T) {
	names := []string{"svc/a/b", "svc/a/b/80", "b", "gw.x", "gw"}
	for message, want := range map[string]string{
		"Error adding/updating cluster(s) svc/a/b/80: no, gw.x: no": "gw.x svc/a/b/80",
		"svc/a/b: no":                      "svc/a/b",
		`name: "b" : Proto failed`:         "b",
		"no name here; the subject is big": "",
		"gw.":                              "gw",
		"scope is 'gw.x'.":                 "gw.x",
	} {
		got := strings.Join(slices.Sorted(maps.Keys(namesIn(message, names))), " ")
		if got != want {
			t.Errorf("namesIn(%q) = %q, want %q", message, got, want)
		}
	}
}
