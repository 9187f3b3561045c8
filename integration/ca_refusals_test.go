package integration

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
	"net/url"
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

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/csr"
	"fairlead.io/fairlead/pkg/ca/store"
)

// caAsk is one request, as it can be put to either API.
type caAsk struct {
	token string
	certs []tls.Certificate
	csr   []byte // nil for a good one
	// subject is for whom in our API; identity in Istio's, which names no pods.
	subject  *cav1.Subject
	identity string
}

// caAPIs are the ways to ask.
var caAPIs = map[string]func(*testing.T, *caService, caAsk) (string, error){
	"fairlead": func(t *testing.T, s *caService, a caAsk) (string, error) {
		res, err := cav1.NewCertificateAuthorityClient(s.dial(t, a.certs...)).SignX509(a.context(t), &cav1.SignX509Request{
			Certificates: []*cav1.X509Request{{Csr: a.csr, Subject: a.subject}},
		})
		if err != nil {
			return "", err
		}
		if e := res.GetResults()[0].GetError(); e != nil {
			return "", status.Error(codes.Code(e.GetCode()), e.GetMessage()) //nolint:gosec // 0 to 16
		}
		return res.GetResults()[0].GetSvid().GetSpiffeId(), nil
	},
	"istio": func(t *testing.T, s *caService, a caAsk) (string, error) {
		q := &istio.IstioCertificateRequest{Csr: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: a.csr})), ValidityDuration: 3600}
		if a.identity != "" {
			md, err := structpb.NewStruct(map[string]any{"ImpersonatedIdentity": a.identity})
			if err != nil {
				t.Fatal(err)
			}
			q.Metadata = md
		}
		// istio-agent and ztunnel send the name of their cluster beside the token.
		ctx := metadata.AppendToOutgoingContext(a.context(t), "ClusterID", "Kubernetes")
		res, err := istio.NewIstioCertificateServiceClient(s.dial(t, a.certs...)).CreateCertificate(ctx, q)
		if err != nil {
			return "", err
		}
		block, _ := pem.Decode([]byte(res.GetCertChain()[0]))
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		return leaf.URIs[0].String(), nil
	},
}

func (a caAsk) context(t *testing.T) context.Context {
	if a.token == "" {
		return t.Context()
	}
	return metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+a.token)
}

func caCSR(t *testing.T, template x509.CertificateRequest, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// caSVID has the authority of the test sign an identity.
func (w *caWorld) svid(by *authority.Authority, path ...string) []tls.Certificate {
	w.Helper()
	key := caKey(w)
	x, err := by.SignX509(authority.X509Template{ID: spiffeid.RequireFromSegments(caDomain, path...), PublicKey: key.Public(), TTL: time.Hour})
	if err != nil {
		w.Fatal(err)
	}
	return []tls.Certificate{{Certificate: x.Raw, PrivateKey: key}}
}

// sanCSR is a request with subject alternative names of given tags and bytes.
func sanCSR(t *testing.T, names ...asn1.RawValue) []byte {
	t.Helper()
	value, err := asn1.Marshal(names)
	if err != nil {
		t.Fatal(err)
	}
	return caCSR(t, x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Value: value}}}, caKey(t))
}

func sanName(tag int, value string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: tag, Bytes: []byte(value)}
}

// caRefusal is a request that must not be granted, and how it is written down by each API; "" where one cannot be asked so.
type caRefusal struct {
	ask         caAsk
	ours, istio string
	who         string // has to stand in the audit record
	code        codes.Code
}

// TestCARefusals puts every impersonation to both APIs, with real tokens of a real API server: each is refused with its own
// reason in the audit record, and a caller that learns nothing.
func TestCARefusals(t *testing.T) {
	w := newCAWorld(t)
	c := newCACast(w)
	s := w.serve("token-jwks", nil)
	base := "spiffe://cluster.local/ns/" + w.ns + "/sa/"
	agent, web := w.podToken(c.agent1), w.podToken(c.web1)
	w.account("batch")
	finished := w.pod("job", "batch", "n1")
	finishedToken := w.podToken(finished)
	w.finish(finished)
	w.account("brief")
	deleted := w.pod("brief-1", "brief", "n1")
	replayed, orphan := w.podToken(deleted), w.svid(w.authority, "ns", w.ns, "sa", "brief")
	for _, a := range []caAsk{{token: replayed}, {certs: orphan}} { // good as long as the pod is there
		a.csr = caCSR(t, x509.CertificateRequest{}, caKey(t))
		for name, ask := range caAPIs {
			if id, err := ask(t, s, a); err != nil || id != base+"brief" {
				t.Fatalf("before, by %s: %q, %v", name, id, err)
			}
		}
	}
	w.deletePod(deleted.Name)
	foreign := newCAAuthority(t)
	wrongUID, wrongAccount := caRef(c.web1), caRef(c.web1)
	wrongUID.UID, wrongAccount.ServiceAccount = "00000000-0000-0000-0000-000000000000", "bank"
	bound := func(p *authentication.BoundObjectReference, audience string) string {
		return w.token("web", p, audience)
	}
	webRef := &authentication.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: "web-1", UID: c.web1.UID}
	for name, r := range map[string]caRefusal{
		"a pod on another node":             {caAsk{token: agent, subject: caSubject(caRef(c.bank2)), identity: base + "bank"}, "pod-node", "identity-not-on-node", "bank", codes.PermissionDenied},
		"a finished pod":                    {caAsk{token: agent, subject: caSubject(caRef(finished)), identity: base + "batch"}, "pod-unknown", "identity-not-on-node", "batch", codes.PermissionDenied},
		"a wrong UID":                       {caAsk{token: agent, subject: caSubject(wrongUID)}, "pod-uid", "", wrongUID.UID, codes.PermissionDenied},
		"another ServiceAccount":            {caAsk{token: agent, subject: caSubject(wrongAccount)}, "pod-service-account", "", "sa bank", codes.PermissionDenied},
		"another, by a pod":                 {caAsk{token: web, subject: caSubject(caRef(c.bank2)), identity: base + "bank"}, "not-a-node-agent", "not-a-node-agent", "bank", codes.PermissionDenied},
		"another, by a workload's SVID":     {caAsk{certs: w.svid(w.authority, "ns", w.ns, "sa", "web"), subject: caSubject(caRef(c.bank2)), identity: base + "bank"}, "not-a-node-agent", "not-a-node-agent", "bank", codes.PermissionDenied},
		"a node, by an agent of another":    {caAsk{token: agent, identity: "spiffe://cluster.local/node/n2/" + string(c.n2.UID)}, "", "identity-not-on-node", "node/n2", codes.PermissionDenied},
		"another trust domain":              {caAsk{token: agent, identity: strings.Replace(base, "cluster.local", "evil.example", 1) + "web"}, "", "trust-domain", "evil.example", codes.PermissionDenied},
		"a forged node":                     {caAsk{certs: w.svid(foreign, "node", "n1", string(c.n1.UID))}, "certificate-untrusted", "certificate-untrusted", "node/n1", codes.Unauthenticated},
		"a node that never was":             {caAsk{certs: w.svid(w.authority, "node", "n9", "u")}, "node-unknown", "node-unknown", "node/n9/u", codes.Unauthenticated},
		"a former node of that name":        {caAsk{certs: w.svid(w.authority, "node", "n1", "former")}, "node-uid", "node-uid", "node/n1/former", codes.Unauthenticated},
		"a Gateway for itself":              {caAsk{certs: w.svid(w.authority, "ns", w.ns, "gateway", "front")}, "certificate-path", "certificate-path", "gateway/front", codes.Unauthenticated},
		"a workload whose last pod is gone": {caAsk{certs: orphan}, "identity-not-running", "identity-not-running", base + "brief", codes.Unauthenticated},
		"a token for another audience":      {caAsk{token: bound(webRef, "vault")}, "token-audience", "token-audience", "web-1", codes.Unauthenticated},
		"a token of no pod":                 {caAsk{token: bound(nil, "fairlead")}, "token-not-pod-bound", "token-not-pod-bound", "web", codes.Unauthenticated},
		"a token of a finished pod":         {caAsk{token: finishedToken}, "pod-unknown", "pod-unknown", "pod job", codes.Unavailable}, // it was never seen, and is new
		"a token of a deleted pod":          {caAsk{token: replayed}, "pod-unknown", "pod-unknown", string(deleted.UID), codes.Unauthenticated},
		"a token whose claims were changed": {caAsk{token: changed(t, web)}, "token-signature", "token-signature", "web-1", codes.Unauthenticated},
		"nobody":                            {caAsk{}, "no-credential", "no-credential", "", codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) { r.try(t, s) })
	}
	for name, r := range caSmuggled(t, base) {
		r.ask.token = web
		r.istio, r.who, r.code = r.ours, base+"web", codes.InvalidArgument
		t.Run("a request with "+name, func(t *testing.T) { r.try(t, s) })
	}
	late := w.serve("token-jwks", func() time.Time { return time.Now().Add(11 * time.Minute) })
	t.Run("a token that has ended", func(t *testing.T) {
		caRefusal{caAsk{token: web}, "token-expired", "token-expired", "web-1", codes.Unauthenticated}.try(t, late)
	})
}

// caSmuggled are requests that want more than a key certified.
func caSmuggled(t *testing.T, base string) map[string]caRefusal {
	t.Helper()
	parse := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	with := func(template x509.CertificateRequest) caAsk { return caAsk{csr: caCSR(t, template, caKey(t))} }
	extension := func(id asn1.ObjectIdentifier, value any) caAsk {
		der, err := asn1.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		return with(x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: id, Value: der}}})
	}
	weak, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // it is to be refused
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	broken := caCSR(t, x509.CertificateRequest{}, caKey(t))
	broken[len(broken)-1] ^= 1
	const email, dns, uri, ip = 1, 2, 6, 7
	return map[string]caRefusal{
		"another URI":           {ask: with(x509.CertificateRequest{URIs: []*url.URL{parse(base + "bank")}}), ours: "csr-uri"},
		"a second URI":          {ask: with(x509.CertificateRequest{URIs: []*url.URL{parse(base + "web"), parse(base + "bank")}}), ours: "csr-second-uri"},
		"its own URI twice":     {ask: with(x509.CertificateRequest{URIs: []*url.URL{parse(base + "web"), parse(base + "web")}}), ours: "csr-second-uri"},
		"a DNS name":            {ask: with(x509.CertificateRequest{DNSNames: []string{"bank.example"}}), ours: "csr-dns"},
		"an email address":      {ask: with(x509.CertificateRequest{EmailAddresses: []string{"a@bank.example"}}), ours: "csr-email"},
		"an IP address":         {ask: with(x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}), ours: "csr-ip"},
		"a NUL in a URI":        {ask: caAsk{csr: sanCSR(t, sanName(uri, base+"web\x00.evil"))}, ours: "csr-name-encoding"},
		"a NUL in a DNS name":   {ask: caAsk{csr: sanCSR(t, sanName(dns, "web\x00.evil.example"))}, ours: "csr-name-encoding"},
		"a hidden email":        {ask: caAsk{csr: sanCSR(t, sanName(uri, base+"web"), sanName(email, "a@b"))}, ours: "csr-email"},
		"a hidden IP":           {ask: caAsk{csr: sanCSR(t, sanName(uri, base+"web"), sanName(ip, "\x01"))}, ours: "csr-ip"},
		"a registered ID":       {ask: caAsk{csr: sanCSR(t, sanName(8, "\x2a"))}, ours: "csr-other-name"},
		"CA:true":               {ask: extension(asn1.ObjectIdentifier{2, 5, 29, 19}, struct{ CA bool }{true}), ours: "csr-asks-ca"},
		"keyCertSign":           {ask: extension(asn1.ObjectIdentifier{2, 5, 29, 15}, asn1.BitString{Bytes: []byte{0x04}, BitLength: 6}), ours: "csr-asks-cert-sign"},
		"a weak key":            {ask: caAsk{csr: caCSR(t, x509.CertificateRequest{}, weak)}, ours: "csr-key-weak"},
		"a key of another kind": {ask: caAsk{csr: caCSR(t, x509.CertificateRequest{}, p521)}, ours: "csr-key-unsupported"},
		"too many bytes":        {ask: caAsk{csr: make([]byte, csr.MaxPEM)}, ours: "csr-oversized"},
		"a broken signature":    {ask: caAsk{csr: broken}, ours: "csr-signature"},
		"no key":                {ask: caAsk{csr: []byte("hello")}, ours: "csr-malformed"},
	}
}

// try puts the request to both APIs.
func (r caRefusal) try(t *testing.T, s *caService) {
	for name, want := range map[string]string{"fairlead": r.ours, "istio": r.istio} {
		if want == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			a := r.ask
			if a.csr == nil {
				a.csr = caCSR(t, x509.CertificateRequest{}, caKey(t))
			}
			s.log.take(t)
			id, err := caAPIs[name](t, s, a)
			if err == nil {
				t.Fatalf("issued %s", id)
			}
			records := s.log.take(t)
			if len(records) != 1 || records[0]["decision"] != "refused" || records[0]["reason"] != want || records[0]["serial"] != "" {
				t.Fatalf("audit %v; want one refusal, %s", records, want)
			}
			if said := records[0]["claim"] + " " + records[0]["asked"] + " " + records[0]["identity"]; !strings.Contains(said, r.who) {
				t.Errorf("audit %v; want %q in it", records, r.who)
			}
			if !caOpaque[status.Convert(err).Message()] || status.Code(err) != r.code {
				t.Errorf("the caller is told %v; want %s", err, r.code)
			}
		})
	}
}

// caOpaque is all that who is refused is ever told.
var caOpaque = map[string]bool{
	"the caller could not be authenticated":             true,
	"the caller cannot be authenticated yet: try again": true,
	"the caller may not have this identity":             true,
	"the certificate request was refused":               true,
	"the request is malformed":                          true,
}

// newCAAuthority is an authority of the same trust domain that nobody trusts.
func newCAAuthority(t *testing.T) *authority.Authority {
	t.Helper()
	a := authority.New(authority.Config{TrustDomain: caDomain, Store: store.NewMemory()})
	ctx, cancel := context.WithCancel(context.Background())
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
