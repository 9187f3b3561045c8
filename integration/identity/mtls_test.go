package identity_test

import (
	"encoding/json"
	"testing"
	"time"

	"fairlead.io/fairlead/integration/envoy"
)

// TestMutualTLS has two Envoys on two nodes speak by mTLS for three minutes with certificates that live one, each request by a
// handshake of its own. Meanwhile the control plane is killed and comes back, and the API server is away.
func TestMutualTLS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, time.Minute)
	s := w.server()
	s.ready()
	a, b := w.agent("node-a"), w.agent("node-b")
	w.pod("shop", "web-1", "web", "node-a")
	w.pod("shop", "client-1", "client", "node-b")
	a.ready(webID)
	b.ready(clientID)
	p := w.pair(a, b)
	first := w.shown(p.in, webID)
	stop := p.load()
	pause := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-t.Context().Done():
		}
	}
	begin := time.Now()
	pause(40 * time.Second)
	s.kill()
	pause(5 * time.Second)
	s.start()
	s.ready()
	if err := w.api.Down(); err != nil {
		t.Fatal(err)
	}
	pause(50 * time.Second) // longer than half of a certificate's life: it is renewed without the API server
	if err := w.api.Up(); err != nil {
		t.Fatal(err)
	}
	pause(3*time.Minute - time.Since(begin))
	n := stop()
	last := w.shown(p.in, webID)
	t.Logf("%d requests, each by a handshake of its own", n)
	if last.Sub(first) < 2*time.Minute {
		t.Errorf("the certificate is from %s; at the beginning it was from %s", last, first)
	}
}

// shown is when the certificate began to be valid that an Envoy shows for an identity.
func (w *world) shown(e *envoy.Envoy, id string) time.Time {
	w.Helper()
	var page struct {
		Certificates []struct {
			CertChain []struct {
				SubjectAltNames []struct {
					URI string `json:"uri"`
				} `json:"subject_alt_names"`
				ValidFrom time.Time `json:"valid_from"`
			} `json:"cert_chain"`
		} `json:"certificates"`
	}
	body, err := e.AdminGet("/certs")
	if err == nil {
		err = json.Unmarshal(body, &page)
	}
	if err != nil {
		w.Fatal(err)
	}
	for _, c := range page.Certificates {
		for _, x := range c.CertChain {
			for _, n := range x.SubjectAltNames {
				if n.URI == id {
					return x.ValidFrom
				}
			}
		}
	}
	w.Fatalf("no certificate of %s: %s", id, body)
	return time.Time{}
}
