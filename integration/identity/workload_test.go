package identity_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"

	"fairlead.io/fairlead/pkg/node/attest/podtest"
)

// TestWorkloadsThroughRotations has processes of two pods on two nodes speak by mTLS with what go-spiffe gets from the Workload
// API, while the authority is rotated five times. In the second rotation the server is killed, in the third the API server goes away.
// Tokens of all rotations are validated in every call, by both sides, and by the keys that the server publishes.
func TestWorkloadsThroughRotations(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 12*time.Second)
	keys := freeAddress(w)
	s := w.server(append(quick, "--bundle-address="+keys)...)
	s.ready()
	client, web := w.workload(s, "client", "node-a"), w.workload(s, "web", "node-b")
	socket := filepath.Join(w.dir, "web")
	server := web.Start("serve", web.socket, socket, clientID)
	server.Hear()
	caller := client.Start("call", client.socket, socket, webID)
	caller.Hear()
	var tokens []string
	token := func() {
		t.Helper()
		caller.Say("token")
		tokens = append(tokens, caller.Hear())
		w.validated(keys, tokens)
	}
	calls := func() string {
		caller.Say("calls")
		return caller.Hear()
	}
	token()
	first := s.until("Stable", "").Signing
	for round := 1; round <= 5; round++ {
		calls()
		s.must("rotate")
		if round == 2 {
			s.kill()
			calls()
			s.start()
			s.ready()
		}
		s.until("Retiring", "")
		calls()
		if round == 3 {
			w.away(s, func() { calls() })
		}
		token()
		s.until("Stable", "")
		calls()
		token()
	}
	st := s.until("Stable", "")
	if st.Signing == first || len(st.Authorities) != 1 {
		t.Errorf("%s signs; trusted are %+v", st.Signing, st.Authorities)
	}
	w.trusts(s, st.Signing)
	kids := map[string]bool{}
	for _, text := range tokens {
		kids[keyID(w, text)] = true
	}
	if len(kids) < 6 {
		t.Errorf("the tokens are of %d keys, want one of each rotation", len(kids))
	}
	t.Logf("%s calls without a failure, with %d tokens of %d keys", calls(), len(tokens), len(kids))
}

// away has the API server gone for longer than a certificate lives.
func (w *world) away(s *server, fn func()) {
	w.Helper()
	if err := w.api.Down(); err != nil {
		w.Fatal(err)
	}
	for end := time.Now().Add(14 * time.Second); time.Now().Before(end); {
		fn()
	}
	s.refused("connection refused", "pause")
	if err := w.api.Up(); err != nil {
		w.Fatal(err)
	}
}

// workload is a pod with processes, and the agent of its node.
type workload struct {
	*podtest.Pod
	socket string
}

// workload makes a node with its agent and one pod of a ServiceAccount, for the API server and for the kernel.
func (w *world) workload(s *server, account, node string) *workload {
	w.Helper()
	kernel := podtest.New(w, true)
	agents := kernel.Pod("00000000-0000-4000-8000-000000000000") // the agent's own
	a := w.agentIn(node, agents.Container("sandbox"))
	uid := w.pod("shop", account+"-1", account, node)
	a.ready("spiffe://cluster.local/ns/shop/sa/" + account)
	return &workload{Pod: kernel.Pod(uid), socket: a.workload}
}

// validated validates all tokens with the keys that the server publishes for everybody.
func (w *world) validated(address string, tokens []string) {
	w.Helper()
	td := spiffeid.RequireTrustDomainFromString("cluster.local")
	w.eventually("tokens are validated by the published keys", func() error {
		client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig: tlsconfig.TLSClientConfig(
				x509bundle.FromX509Authorities(td, w.roots()), tlsconfig.AuthorizeID(spiffeid.RequireFromString(serverID))),
		}}
		res, err := client.Get("https://" + address + "/keys")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		var set jose.JSONWebKeySet
		if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
			return err
		}
		b := jwtbundle.New(td)
		for _, k := range set.Keys {
			if err := b.AddJWTAuthority(k.KeyID, k.Key); err != nil {
				return err
			}
		}
		for i, text := range tokens {
			if _, err := jwtsvid.ParseAndValidate(text, b, []string{audience}); err != nil {
				return fmt.Errorf("token %d: %w", i, err)
			}
		}
		return nil
	})
}

func keyID(w *world, token string) string {
	w.Helper()
	parsed, err := jwt.ParseSigned(strings.TrimSpace(token), slices.Clone([]jose.SignatureAlgorithm{jose.ES256}))
	if err != nil {
		w.Fatal(err)
	}
	return parsed.Headers[0].KeyID
}
