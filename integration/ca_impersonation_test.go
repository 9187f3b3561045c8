package integration

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	istio "istio.io/api/security/v1alpha1"
	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authority"
)

func caSubject(p ca.PodRef) *cav1.Subject {
	return &cav1.Subject{Of: &cav1.Subject_Pod{Pod: &cav1.Pod{Namespace: p.Namespace, Name: p.Name, Uid: p.UID, ServiceAccount: p.ServiceAccount}}}
}

// caCast are the pods of the tests.
type caCast struct {
	n1, n2                      *core.Node
	web1, bank2, agent1, agent2 *core.Pod
}

func newCACast(w *caWorld) caCast {
	w.Helper()
	for _, name := range []string{"web", "bank", "agent"} {
		w.account(name)
	}
	return caCast{
		n1: w.node("n1"), n2: w.node("n2"),
		web1: w.pod("web-1", "web", "n1"), bank2: w.pod("bank-2", "bank", "n2"),
		agent1: w.pod("agent-1", "agent", "n1"), agent2: w.pod("agent-2", "agent", "n2"),
	}
}

// TestCAImpersonation has real tokens of a real API server, and a caller that wants what is not its own.
func TestCAImpersonation(t *testing.T) {
	w := newCAWorld(t)
	c := newCACast(w)
	for _, by := range []string{"token-review", "token-jwks"} {
		t.Run(by, func(t *testing.T) { impersonations(t, w, c, by) })
	}
}

func impersonations(t *testing.T, w *caWorld, c caCast, by string) {
	outer := w.T
	w.T = t
	defer func() { w.T = outer }()
	s := w.serve(by, nil)
	base := "spiffe://cluster.local/ns/" + w.ns + "/sa/"
	for _, good := range []struct {
		name, token string
		subject     *cav1.Subject
		want        string
	}{
		{"a pod for itself", w.podToken(c.web1), nil, base + "web"},
		{"an agent for its node", w.podToken(c.agent1), nil, "spiffe://cluster.local/node/n1/" + string(c.n1.UID)},
		{"an agent for a pod", w.podToken(c.agent1), caSubject(caRef(c.web1)), base + "web"},
	} {
		id, err := s.sign(t, good.token, good.subject)
		records := s.log.take(t)
		if err != nil || id != good.want || len(records) != 1 || records[0]["proof"] != by || records[0]["decision"] != "allowed" {
			t.Fatalf("%s: %q, %v, audit %v; want %s by %s", good.name, id, err, records, good.want, by)
		}
	}

	finished := w.pod("job-"+by, "web", "n1")
	finishedToken := w.podToken(finished)
	w.finish(finished)
	deleted := w.pod("gone-"+by, "web", "n1")
	replayed := w.podToken(deleted)
	if _, err := s.sign(t, replayed, nil); err != nil {
		t.Fatal(err)
	}
	w.deletePod(deleted.Name)
	again := w.pod(deleted.Name, "web", "n1") // the same name, another pod
	former := w.podToken(c.web1)

	wrongUID, wrongAccount := caRef(c.web1), caRef(c.web1)
	wrongUID.UID, wrongAccount.ServiceAccount = "00000000-0000-0000-0000-000000000000", "bank"
	agent := w.podToken(c.agent1)
	node := &authentication.BoundObjectReference{Kind: "Node", APIVersion: "v1", Name: "n2", UID: c.n2.UID}
	for _, bad := range []struct {
		name, token string
		subject     *cav1.Subject
		reason      string
		claim       string
	}{
		{"a pod on another node", agent, caSubject(caRef(c.bank2)), "pod-node", "bank-2"},
		{"the agent of another node", agent, caSubject(caRef(c.agent2)), "pod-node", "agent-2"},
		{"a finished pod", agent, caSubject(caRef(finished)), "pod-unknown", finished.Name},
		{"a deleted pod under its new one's name", agent, caSubject(caRef(deleted)), "pod-uid", string(deleted.UID)},
		{"a wrong UID", agent, caSubject(wrongUID), "pod-uid", wrongUID.UID},
		{"another ServiceAccount", agent, caSubject(wrongAccount), "pod-service-account", "sa bank"},
		{"a pod for another", former, caSubject(caRef(c.bank2)), "not-a-node-agent", "bank-2"},
		{"a token for another audience", w.token("web", &authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "web-1", UID: c.web1.UID}, "vault"), nil, "token-audience", "web-1"},
		{"a token of no pod", w.token("agent", nil, "fairlead"), nil, "token-not-pod-bound", "agent"},
		{"a token of a node, not of a pod", w.token("agent", node, "fairlead"), nil, "token-not-pod-bound", "agent"},
		{"a token of a finished pod", finishedToken, nil, "pod-unknown", finished.Name},
		{"a token of a deleted pod, replayed", replayed, nil, "pod-uid", string(deleted.UID)},
		{"a token whose claims were changed", changed(t, former), nil, map[string]string{"token-review": "token-refused", "token-jwks": "token-signature"}[by], "web-1"},
		{"no token", "", nil, "no-credential", ""},
	} {
		t.Run(bad.name, func(t *testing.T) {
			s.log.take(t)
			id, err := s.sign(t, bad.token, bad.subject)
			if err == nil {
				t.Fatalf("issued %s", id)
			}
			records := s.log.take(t)
			if len(records) != 1 || records[0]["decision"] != "refused" || records[0]["reason"] != bad.reason ||
				!strings.Contains(records[0]["claim"]+" "+records[0]["asked"], bad.claim) {
				t.Errorf("audit %v; want reason %s, of %q", records, bad.reason, bad.claim)
			}
			if strings.Contains(err.Error(), bad.reason) || bad.claim != "" && strings.Contains(err.Error(), bad.claim) {
				t.Errorf("the caller is told %q", err)
			}
		})
	}
	w.deletePod(again.Name)
	t.Run("a token that has ended", func(t *testing.T) {
		late := w.serve(by, func() time.Time { return time.Now().Add(11 * time.Minute) })
		if id, err := late.sign(t, former, nil); err == nil {
			t.Fatalf("issued %s", id)
		}
		if r := late.log.take(t); len(r) != 1 || r[0]["reason"] != "token-expired" {
			t.Errorf("audit %v", r)
		}
	})
}

// changed is a token whose signature is another's.
func changed(t *testing.T, token string) string {
	t.Helper()
	i := strings.LastIndexByte(token, '.')
	b := []byte(token)
	if b[i+5] == 'A' {
		b[i+5] = 'B'
	} else {
		b[i+5] = 'A'
	}
	return string(b)
}

// TestCANodeMadeAnew has a node that was deleted and made again: neither its former SVID nor its former agent's token serves.
func TestCANodeMadeAnew(t *testing.T) {
	w := newCAWorld(t)
	c := newCACast(w)
	s := w.serve("token-jwks", nil)
	key := caKey(t)
	x, err := w.authority.SignX509(authority.X509Template{
		ID: spiffeid.RequireFromSegments(caDomain, "node", "n1", string(c.n1.UID)), PublicKey: key.Public(), TTL: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	svid := tls.Certificate{Certificate: x.Raw, PrivateKey: key}
	token := w.podToken(c.agent1)
	if id, err := s.sign(t, "", caSubject(caRef(c.web1)), svid); err != nil {
		t.Fatalf("before: %q, %v", id, err)
	}
	if err := w.client.CoreV1().Nodes().Delete(t.Context(), "n1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until("no node n1", func() bool { _, ok := w.Node("n1"); return !ok })
	s.log.take(t)
	for _, step := range []string{"node-unknown", "node-uid"} {
		if step == "node-uid" {
			w.node("n1")
		}
		for _, by := range []string{"mtls", "token"} {
			credential, certs := "", []tls.Certificate{svid}
			if by == "token" {
				credential, certs = token, nil
			}
			if id, err := s.sign(t, credential, nil, certs...); err == nil {
				t.Errorf("%s by %s: issued %s", step, by, id)
			}
			if r := s.log.take(t); len(r) != 1 || r[0]["reason"] != step {
				t.Errorf("by %s: audit %v; want %s", by, r, step)
			}
		}
	}
}

// TestCAWithoutAPIServer shows what goes on in an outage: remembered tokens, and with the cluster's keys new ones too.
func TestCAWithoutAPIServer(t *testing.T) {
	w := newCAWorld(t)
	c := newCACast(w)
	review, keys := w.serve("token-review", nil), w.serve("token-jwks", nil)
	known, fresh := w.podToken(c.web1), w.podToken(c.agent1)
	for _, s := range []*caService{review, keys} {
		if _, err := s.sign(t, known, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.kube.Down(); err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]*caService{"review": review, "keys": keys} {
		if _, err := s.sign(t, known, nil); err != nil {
			t.Errorf("%s: a token that is known: %v", name, err)
		}
	}
	if _, err := keys.sign(t, fresh, nil); err != nil {
		t.Errorf("keys: a token that is new: %v", err)
	}
	if id, err := review.sign(t, fresh, nil); status.Code(err) != codes.Unavailable {
		t.Errorf("review: a token that nobody can verify: %q, %v; want UNAVAILABLE", id, err)
	}
	if err := w.kube.Up(); err != nil {
		t.Fatal(err)
	}
	if _, err := review.sign(t, fresh, nil); err != nil {
		t.Errorf("review, after the outage: %v", err)
	}
}

// TestCAIstioClient has Istio's own client, as ztunnel calls, with a token for Istio's audience.
func TestCAIstioClient(t *testing.T) {
	w := newCAWorld(t)
	c := newCACast(w)
	s := w.serve("token-review", nil)
	ref := &authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: c.agent1.Name, UID: c.agent1.UID}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+w.token("agent", ref, "istio-ca"))
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, caKey(t))
	if err != nil {
		t.Fatal(err)
	}
	ask := func(identity string) (*istio.IstioCertificateResponse, error) {
		md, err := structpb.NewStruct(map[string]any{"ImpersonatedIdentity": identity})
		if err != nil {
			t.Fatal(err)
		}
		return istio.NewIstioCertificateServiceClient(s.dial(t)).CreateCertificate(ctx, &istio.IstioCertificateRequest{
			Csr: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), ValidityDuration: 3600, Metadata: md,
		})
	}
	base := "spiffe://cluster.local/ns/" + w.ns + "/sa/"
	res, err := ask(base + "web")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode([]byte(res.GetCertChain()[0]))
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: s.roots}); err != nil || leaf.URIs[0].String() != base+"web" {
		t.Errorf("%v, %v", leaf.URIs, err)
	}
	s.log.take(t)
	if _, err := ask(base + "bank"); status.Code(err) != codes.PermissionDenied {
		t.Errorf("an identity of another node: %v", err)
	}
	if r := s.log.take(t); len(r) != 1 || r[0]["reason"] != "identity-not-on-node" || r[0]["asked"] != base+"bank" {
		t.Errorf("audit %v", r)
	}
}
