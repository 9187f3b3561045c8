package identity_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/integration/envoy"
)

// quick are flags by which a rotation takes seconds: an authority that has been replaced is dropped after 14 s.
var quick = []string{"--svid-ttl=12s", "--svid-ttl-max=12s", "--clock-skew=2s"}

// TestRotationDrill rotates the authority by the real command while two Envoys speak by mTLS, each request by a handshake of its
// own, and the agent of a third node is away: it is waited for and named, the rotation is paused, resumed and aborted, goes on
// by itself when the agent comes back, and without it when an operator says so.
func TestRotationDrill(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 12*time.Second)
	s := w.server(quick...)
	s.ready()
	a, b, c := w.agent("node-a"), w.agent("node-b"), w.agent("node-c")
	w.pod("shop", "web-1", "web", "node-a")
	w.pod("shop", "client-1", "client", "node-b")
	a.ready(webID)
	b.ready(clientID)
	c.ready()
	p := w.pair(a, b)
	stop := p.load()
	first := s.until("Stable", "").Signing

	c.stop()
	s.must("rotate")
	if st := s.awaits("node-c"); st.Signing != first {
		t.Errorf("%s signs before node-c has acknowledged", st.Signing)
	}
	s.must("status")
	s.must("pause")
	s.refused("paused already", "pause")
	s.must("resume")
	s.refused("not paused", "resume")
	s.refused("a rotation is under way", "rotate")
	s.must("abort")
	if st := s.until("Stable", ""); st.Signing != first || len(st.Authorities) != 1 {
		t.Fatalf("aborted while it was distributed: %+v", st)
	}

	// It comes back, with the roots that it was installed with, and the rotation goes on by itself.
	s.must("rotate")
	s.awaits("node-c")
	c.start()
	if st := s.until("Retiring", ""); st.Signing == first {
		t.Errorf("%s signs still", first)
	}
	s.must("status")
	second := s.until("Stable", "").Signing
	c.ready()
	w.trusts(s, second, p.in, p.out)

	// It stays away longer than a rotation.
	root := w.roots()[0]
	c.stop()
	s.must("rotate")
	s.awaits("node-c")
	s.must("resume", "--without", "node-c")
	s.until("Retiring", "")
	s.refused("leave --without out", "resume", "--without", "node-a")
	s.must("status")
	third := s.until("Stable", "").Signing
	w.trusts(s, third, p.in, p.out)
	t.Logf("%d requests, each by a handshake of its own", stop())
	w.comesBack(c, root, third)
}

// comesBack starts an agent that has missed a rotation: with the root hash that it was installed with, and with the roots of
// that time, it trusts nobody and says what to do; with the present ones it has its identity.
func (w *world) comesBack(c *agent, old *x509.Certificate, signing string) {
	w.Helper()
	bundle := slices.IndexFunc(c.args, func(a string) bool { return strings.HasPrefix(a, "--trust-bundle=") })
	file := c.args[bundle]
	mounted := strings.TrimPrefix(file, "--trust-bundle=")
	if err := swap(mounted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: old.Raw})); err != nil {
		w.Fatal(err)
	}
	hash := func(x *x509.Certificate) string { return fmt.Sprintf("--trust-hash=sha256:%x", sha256.Sum256(x.Raw)) }
	c.args[bundle] = hash(old)
	c.start()
	c.lost("start the agent with the --trust-hash of the present root")
	c.stop()
	c.args[bundle] = hash(w.roots()[0])
	c.start()
	c.ready()
	c.stop()
	c.args[bundle] = file
	c.start()
	c.lost("bring the present roots into " + mounted)
	w.bundle() // the kubelet brings the ConfigMap
	c.ready()
	st, err := c.status()
	if err != nil || len(st.Identities) == 0 || st.Identities[0].Authority != signing {
		w.Errorf("%+v, %v; want an SVID of authority %s", st, err, signing)
	}
}

// lost waits until the agent says that it trusts nobody, and what to do.
func (a *agent) lost(words string) {
	a.w.Helper()
	a.w.eventually(a.name+" trusts nobody", func() error {
		st, err := a.status()
		if err == nil && !strings.Contains(st.NotReady, words) {
			err = fmt.Errorf("not ready: %q, want %q", st.NotReady, words)
		}
		return err
	})
}

// trusts waits until one authority is all that is trusted, in the ConfigMap and by the Envoys, and signs for every agent.
func (w *world) trusts(s *server, signing string, envoys ...*envoy.Envoy) {
	w.Helper()
	if st := s.until("Stable", ""); len(st.Authorities) != 1 || st.Signing != signing {
		w.Errorf("%+v, want %s alone", st.Authorities, signing)
	}
	var root *x509.Certificate
	w.eventually("one root is published", func() error {
		roots := w.roots()
		if root = roots[0]; len(roots) != 1 || !strings.HasPrefix(fmt.Sprintf("%x", sha256.Sum256(root.Raw)), signing) {
			return fmt.Errorf("%d roots", len(roots))
		}
		return nil
	})
	for i, e := range envoys {
		w.eventually(fmt.Sprintf("envoy %d trusts it alone", i), func() error {
			got, err := validation(e)
			if err == nil && (len(got) != 1 || !got[0].Equal(root)) {
				err = fmt.Errorf("it trusts %d roots", len(got))
			}
			return err
		})
	}
	for _, a := range w.agents {
		if gone, _ := a.process.Exited(); gone {
			continue
		}
		w.eventually(a.name+" has SVIDs of it alone", func() error {
			st, err := a.status()
			if err != nil {
				return err
			}
			for i := range st.Identities {
				if st.Identities[i].Authority != signing {
					return fmt.Errorf("%s is of %s", st.Identities[i].ID, st.Identities[i].Authority)
				}
			}
			return nil
		})
	}
}

// roots are those of the ConfigMap.
func (w *world) roots() []*x509.Certificate {
	w.Helper()
	m, err := w.client.CoreV1().ConfigMaps(system).Get(w.Context(), "fairlead-trust-bundle", metav1.GetOptions{})
	if err != nil {
		w.Fatal(err)
	}
	roots, err := parsePEM([]byte(m.Data["root-cert.pem"]))
	if err != nil {
		w.Fatal(err)
	}
	return roots
}

func parsePEM(text []byte) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		x, err := x509.ParseCertificate(b.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, x)
	}
	if len(out) == 0 {
		return nil, errors.New("no certificate")
	}
	return out, nil
}

var inlineBytes = regexp.MustCompile(`"inline_bytes": ?"([^"]+)"`)

// validation is what an Envoy verifies others with: the certificates of its secret fairlead/bundles.
func validation(e *envoy.Envoy) ([]*x509.Certificate, error) {
	body, err := e.AdminGet("/config_dump?resource=dynamic_active_secrets")
	if err != nil {
		return nil, err
	}
	var out []*x509.Certificate
	for _, part := range bytes.Split(body, []byte(`"@type": "type.googleapis.com/envoy.admin.v3.SecretsConfigDump.DynamicSecret"`)) {
		if !bytes.Contains(part, []byte(`"name": "fairlead/bundles"`)) {
			continue
		}
		for _, m := range inlineBytes.FindAllSubmatch(part, -1) {
			text, err := base64.StdEncoding.DecodeString(string(m[1]))
			if err != nil {
				return nil, err
			}
			certs, err := parsePEM(text)
			if err != nil {
				return nil, err
			}
			for _, c := range certs {
				if !slices.ContainsFunc(out, c.Equal) {
					out = append(out, c)
				}
			}
		}
	}
	return out, nil
}
