package issue

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	istio "istio.io/api/security/v1alpha1"

	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/ca/authority"
)

func pemRequest(t testing.TB, template *x509.CertificateRequest) string {
	t.Helper()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: request(t, template, newKey(t))}))
}

func impersonating(t testing.TB, id string) *istio.IstioCertificateRequest {
	t.Helper()
	metadata, err := structpb.NewStruct(map[string]any{"ImpersonatedIdentity": id})
	if err != nil {
		t.Fatal(err)
	}
	return &istio.IstioCertificateRequest{Csr: pemRequest(t, nil), ValidityDuration: 3600, Metadata: metadata}
}

// istioToken is a token for Istio's audience, which is what ztunnel and istio-agent present.
func (r *rig) istioToken(change func(*token)) context.Context {
	c := r.claims(agent1)
	c.Audience = jwt.Audience{"istio-ca"}
	if change != nil {
		change(c)
	}
	return withToken(c.sign(r))
}

func TestIstioClient(t *testing.T) {
	r := newRig(t, nil)
	client := istio.NewIstioCertificateServiceClient(r.conn())
	web := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/shop/sa/web"}
	for name, c := range map[string]struct {
		ctx     context.Context
		request *istio.IstioCertificateRequest
	}{
		"istio-agent": {r.bearer(web1), &istio.IstioCertificateRequest{Csr: pemRequest(t, &x509.CertificateRequest{URIs: []*url.URL{web}}), ValidityDuration: 3600}},
		"ztunnel":     {r.istioToken(nil), impersonating(t, web.String())},
	} {
		t.Run(name, func(t *testing.T) {
			r.log.take(t)
			res, err := client.CreateCertificate(c.ctx, c.request)
			if err != nil {
				t.Fatal(err, r.log.take(t))
			}
			chain := res.GetCertChain()
			if len(chain) != 2 {
				t.Fatalf("%d elements; want the leaf and the roots", len(chain))
			}
			leaf, rest := pem.Decode([]byte(chain[0]))
			if leaf == nil || len(rest) > 0 {
				t.Fatalf("the first element is not one certificate: %q", chain[0])
			}
			parsed := r.verify([][]byte{leaf.Bytes})
			if parsed.URIs[0].String() != web.String() || time.Until(parsed.NotAfter) > time.Hour {
				t.Errorf("%v until %s", parsed.URIs, parsed.NotAfter)
			}
			roots := x509.NewCertPool()
			if !roots.AppendCertsFromPEM([]byte(chain[1])) {
				t.Fatal("the last element has no root")
			}
			if _, err := parsed.Verify(x509.VerifyOptions{Roots: roots}); err != nil {
				t.Error(err)
			}
			if rec := r.log.take(t); len(rec) != 1 || rec[0]["method"] != "istio" || rec[0]["identity"] != web.String() {
				t.Errorf("audit: %v", rec)
			}
		})
	}
}

func TestIstioRootsOfARotationAreOneElement(t *testing.T) {
	r := newRig(t, nil)
	other, err := authority.Generate(td, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s := r.authority.State()
	s.Generations = append(s.Generations, other)
	got := chain([][]byte{{1}, {2}}, s)
	if len(got) != 3 {
		t.Fatalf("%d elements; want leaf, intermediate, roots", len(got))
	}
	_, rest := pem.Decode([]byte(got[2]))
	if second, _ := pem.Decode(rest); second == nil {
		t.Errorf("the last element has one root: %q", got[2])
	}
}

func TestIstioImpersonation(t *testing.T) {
	r := newRig(t, nil)
	webSVID, _ := r.svid(spiffeid.RequireFromString("spiffe://cluster.local/ns/shop/sa/web"), time.Hour)
	for name, c := range map[string]struct {
		ctx     context.Context
		cert    []tls.Certificate
		request *istio.IstioCertificateRequest
		reason  string
		subject string
		code    codes.Code
	}{
		"an identity of another node":    {r.istioToken(nil), nil, impersonating(t, "spiffe://cluster.local/ns/shop/sa/bank"), string(NotOnNode), "sa/bank", codes.PermissionDenied},
		"a node's identity":              {r.istioToken(nil), nil, impersonating(t, "spiffe://cluster.local/node/n1/"+uidN1), string(NotOnNode), "node/n1", codes.PermissionDenied},
		"another trust domain":           {r.istioToken(nil), nil, impersonating(t, "spiffe://partner.example/ns/shop/sa/web"), string(TrustDomain), "partner.example", codes.PermissionDenied},
		"by a pod":                       {r.bearer(web1), nil, impersonating(t, "spiffe://cluster.local/ns/shop/sa/bank"), string(NotNodeAgent), "sa/bank", codes.PermissionDenied},
		"by a workload's SVID":           {t.Context(), []tls.Certificate{webSVID}, impersonating(t, "spiffe://cluster.local/ns/shop/sa/bank"), string(NotNodeAgent), "sa/bank", codes.PermissionDenied},
		"an identity that is none":       {r.istioToken(nil), nil, impersonating(t, "admin"), string(Malformed), "admin", codes.InvalidArgument},
		"an empty identity":              {r.istioToken(nil), nil, impersonating(t, ""), string(Malformed), "node/n1", codes.InvalidArgument},
		"a token for another audience":   {r.istioToken(func(c *token) { c.Audience = jwt.Audience{"vault"} }), nil, impersonating(t, "spiffe://cluster.local/ns/shop/sa/web"), string(authn.TokenAudience), "fairlead-node", codes.Unauthenticated},
		"a request that is two":          {r.bearer(web1), nil, &istio.IstioCertificateRequest{Csr: pemRequest(t, nil) + pemRequest(t, nil)}, "csr-malformed", "sa/web", codes.InvalidArgument},
		"a DNS name":                     {r.bearer(web1), nil, &istio.IstioCertificateRequest{Csr: pemRequest(t, &x509.CertificateRequest{DNSNames: []string{"web.shop.svc"}})}, "csr-dns", "sa/web", codes.InvalidArgument},
		"a validity that has gone round": {r.bearer(web1), nil, &istio.IstioCertificateRequest{Csr: pemRequest(t, nil), ValidityDuration: -1}, string(TTL), "sa/web", codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			r.log.take(t)
			_, err := istio.NewIstioCertificateServiceClient(r.conn(c.cert...)).CreateCertificate(c.ctx, c.request)
			if status.Code(err) != c.code {
				t.Errorf("%v; want %s", err, c.code)
			}
			rec := r.log.take(t)
			if len(rec) != 1 || rec[0]["reason"] != c.reason {
				t.Fatalf("audit: %v; want reason %s", rec, c.reason)
			}
			if s := rec[0]["claim"] + " " + rec[0]["asked"] + " " + rec[0]["caller"]; !strings.Contains(s, c.subject) {
				t.Errorf("audit: %v; want %q", rec, c.subject)
			}
		})
	}
}
