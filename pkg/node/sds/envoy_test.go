package sds_test

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/node/nodetest"
)

// begin waits for both listeners.
func (r *rig) begin(t *testing.T) {
	t.Helper()
	eventually(t, "listeners", func() error {
		_, err := r.ListenerAddr("in")
		if err == nil {
			r.out, err = r.ListenerAddr("out")
		}
		if err != nil {
			return err
		}
		conn, err := net.Dial("tcp", r.out) // it is listed before it listens
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

// A real Envoy takes its secrets by both protocols, takes rotations at once, and refuses what the bundles do not verify.
func TestEnvoyTakesSecrets(t *testing.T) {
	for _, protocol := range []string{"DELTA_GRPC", "GRPC"} {
		t.Run(protocol, func(t *testing.T) {
			r := start(t, protocol, web, client)
			serve(t, r.state, r.socket)
			r.begin(t)
			me := svid(t, r.ca, client)
			eventually(t, "first request through both", r.get)
			if _, err := r.handshake(t, svid(t, nodetest.NewAuthority(t), client)); err == nil {
				t.Error("a client of another authority was let in")
			}
			var took []time.Duration
			for range 60 {
				next := svid(t, r.ca, web)
				began := time.Now()
				r.state.give(next)
				for {
					got, err := r.shown(t, me)
					if err != nil {
						t.Fatal(err)
					}
					if bytes.Equal(got.Raw, next.Chain[0].Raw) {
						break
					}
					if time.Since(began) > patience {
						t.Fatal("the former certificate is still shown")
					}
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			t.Logf("%s: from the new SVID to a handshake that shows it: p50 %s, p99 %s", protocol, took[len(took)/2], took[len(took)*99/100])
			if n, names, err := r.UpdateRejected(); err != nil || n > 0 {
				t.Errorf("envoy refused %d updates: %v, %v", n, names, err)
			}
		})
	}
}

// Connections that are there outlive new bundles; new ones are verified by them.
func TestNewBundlesDropNoConnection(t *testing.T) {
	r := start(t, "DELTA_GRPC", web, client)
	s := serve(t, r.state, r.socket)
	r.begin(t)
	eventually(t, "first request", r.get)
	old := svid(t, r.ca, client)
	conn, err := r.handshake(t, old)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	next := r.ca.Trust()
	for range 20 { // 20 bundles, each acknowledged
		r.state.set(func(k *content) { k.Bundles = r.ca.Bundles() })
		if err := s.Served(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.ca.Trust()
	}
	r.ca.Sign(next)
	young := svid(t, r.ca, client)
	if c, err := r.handshake(t, young); err != nil {
		t.Errorf("a client of the new authority is not let in after the bundles were acknowledged: %v", err)
	} else {
		_ = c.Close()
	}
	if err := request(conn); err != nil {
		t.Errorf("a connection that was there: %v", err)
	}
	other := nodetest.NewAuthority(t)
	r.state.set(func(k *content) { k.Bundles = other.Bundles() })
	if err := s.Served(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c, err := r.handshake(t, young); err == nil {
		_ = c.Close()
		t.Error("a client of an authority that is trusted no more was let in after that was acknowledged")
	}
	if err := request(conn); err != nil {
		t.Errorf("a connection that was there, after its authority was retired: %v", err)
	}
}

// What is asked for before its pod is here comes with the pod, and is not refused meanwhile.
func TestSecretComesWithItsPod(t *testing.T) {
	for _, protocol := range []string{"DELTA_GRPC", "GRPC"} {
		t.Run(protocol, func(t *testing.T) {
			r := start(t, protocol, web)
			serve(t, r.state, r.socket)
			r.begin(t)
			done := make(chan error, 1)
			go func() { done <- r.get() }()
			eventually(t, "envoy asks for the client's secret", func() error {
				select {
				case err := <-done:
					t.Fatalf("the request did not wait: %v", err)
				default:
				}
				stats, err := r.Stats("on_demand|sds.*update_attempt")
				for name, n := range stats {
					if strings.Contains(name, "client") && n > 0 {
						return nil
					}
				}
				return fmt.Errorf("%v, %v", stats, err)
			})
			r.state.give(svid(t, r.ca, client))
			if err := <-done; err != nil {
				t.Errorf("the request that waited for its secret: %v", err)
			}
		})
	}
}

// A pod that has gone takes its secrets along where the protocol can say so, and one of the same identity brings them again.
func TestPodGoesAndComesAgain(t *testing.T) {
	r := start(t, "DELTA_GRPC", web, client)
	serve(t, r.state, r.socket)
	r.begin(t)
	eventually(t, "first request", r.get)
	r.state.take(client)
	eventually(t, "envoy gives up the secret", func() error {
		if r.get() == nil {
			return errors.New("a request is sent with the identity of a pod that has gone")
		}
		return nil
	})
	r.state.give(svid(t, r.ca, client))
	eventually(t, "the pod came again", r.get)
}

// While the agent is away traffic goes on; a new one that knows nothing yet takes nothing away, and its new secrets come.
func TestAgentAway(t *testing.T) {
	for _, protocol := range []string{"DELTA_GRPC", "GRPC"} {
		t.Run(protocol, func(t *testing.T) {
			r := start(t, protocol, web, client)
			s := serve(t, r.state, r.socket)
			r.begin(t)
			eventually(t, "first request", r.get)
			me := svid(t, r.ca, client)
			before, err := r.shown(t, me)
			if err != nil {
				t.Fatal(err)
			}
			s.stop()
			traffic := func(what string) {
				t.Helper()
				for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
					if err := r.get(); err != nil {
						t.Fatalf("%s: %v", what, err)
					}
				}
			}
			traffic("while the agent is away")
			fresh := newState()
			s = serve(t, fresh, r.socket)
			eventually(t, "envoy is back", func() error {
				if n := len(s.Clients()); n < 3 {
					return fmt.Errorf("%d streams", n)
				}
				return nil
			})
			traffic("before the new agent has anything")
			if got, err := r.shown(t, me); err != nil || !bytes.Equal(got.Raw, before.Raw) {
				t.Errorf("before the new agent has anything: %v", err)
			}
			fresh.set(func(k *content) { k.Bundles = r.ca.Bundles() })
			next := svid(t, r.ca, web)
			fresh.give(next, svid(t, r.ca, client))
			eventually(t, "the new agent's secret", func() error {
				got, err := r.shown(t, me)
				if err == nil && !bytes.Equal(got.Raw, next.Chain[0].Raw) {
					err = errors.New("the former certificate")
				}
				return err
			})
			traffic("with the new agent")
		})
	}
}

// Keys are in none of Envoy's pages and in nothing that the server tells of its streams.
func TestNoKeyIsShown(t *testing.T) {
	r := start(t, "DELTA_GRPC", web, client)
	s := serve(t, r.state, r.socket)
	r.begin(t)
	eventually(t, "first request", r.get)
	dump, err := r.AdminGet("/config_dump")
	if err != nil {
		t.Fatal(err)
	}
	text := string(dump) + fmt.Sprintf("%+v", s.Clients())
	for _, word := range []string{"PRIVATE KEY", "UFJJVkFURSBLRV"} { // and its Base64
		if strings.Contains(text, word) {
			t.Errorf("%q is shown", word)
		}
	}
}
