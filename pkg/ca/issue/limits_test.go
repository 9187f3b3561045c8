package issue

import (
	"context"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/csr"
)

// caller is an authenticator that believes.
type caller struct{ c *ca.Caller }

func (a caller) Authenticate(context.Context) (*ca.Caller, error) { return a.c, nil }

// A caller whose identity is of another trust domain gets nothing, whoever has proved it; one of an alias gets ours.
func TestTrustDomainOfTheCaller(t *testing.T) {
	for id, want := range map[string]string{
		"spiffe://cluster.local/ns/shop/sa/web":   "spiffe://cluster.local/ns/shop/sa/web",
		"spiffe://old.example/ns/shop/sa/web":     "spiffe://cluster.local/ns/shop/sa/web",
		"spiffe://partner.example/ns/shop/sa/web": "",
		"spiffe://cluster.local.evil/ns/shop/sa/": "",
	} {
		parsed, err := spiffeid.FromString(id)
		if err != nil {
			continue // a path that no SPIFFE ID has
		}
		r := newRig(t, func(c *Config) {
			c.Authn = caller{&ca.Caller{Kind: ca.Workload, Method: ca.TokenJWKS, ID: parsed, Pod: &web1.PodRef}}
		})
		res, err := r.client().SignX509(t.Context(), batch(one(t, nil)))
		switch {
		case want == "" && (status.Code(err) != codes.PermissionDenied || r.log.take(t)[0]["reason"] != string(TrustDomain)):
			t.Errorf("%s: %v, %v", id, res, err)
		case want != "" && (err != nil || res.GetResults()[0].GetSvid().GetSpiffeId() != want):
			t.Errorf("%s: %v, %v", id, res, err)
		}
	}
}

// DNS names are those of Services that select the pod, each once, asked beside the request.
func TestDNSNamesThatAreRefused(t *testing.T) {
	r := newRig(t, nil)
	for name, c := range map[string]struct {
		in, asked []string
		reason    string
		code      codes.Code
	}{
		"of no Service of the pod":      {nil, []string{"bank.shop.svc"}, string(DNSNames), codes.PermissionDenied},
		"one of two":                    {nil, []string{"web.shop.svc", "bank.shop.svc"}, string(DNSNames), codes.PermissionDenied},
		"twice":                         {nil, []string{"web.shop.svc", "web.shop.svc"}, string(DNSNames), codes.PermissionDenied},
		"a wildcard":                    {nil, []string{"*.shop.svc"}, string(DNSNames), codes.PermissionDenied},
		"another case":                  {nil, []string{"WEB.shop.svc"}, string(DNSNames), codes.PermissionDenied},
		"in the request alone":          {[]string{"web.shop.svc"}, nil, string(csr.DNSName), codes.InvalidArgument},
		"another one in the request":    {[]string{"web.shop.svc.cluster.local"}, []string{"web.shop.svc"}, string(csr.DNSName), codes.InvalidArgument},
		"of nobody's in the request":    {[]string{"bank.shop.svc"}, []string{"web.shop.svc"}, string(csr.DNSName), codes.InvalidArgument},
		"two in the request, one asked": {[]string{"web.shop.svc", "bank.shop.svc"}, []string{"web.shop.svc"}, string(csr.DNSName), codes.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			r.try(t, attempt{ctx: r.bearer(web1), request: asking(t, &x509.CertificateRequest{DNSNames: c.in}, c.asked...), reason: c.reason, subject: "sa/web", code: c.code})
		})
	}
}

// The TTL of what is signed lies between the limits, whatever is asked.
func TestTTLIsBounded(t *testing.T) {
	r := newRig(t, nil)
	for asked, want := range map[time.Duration]time.Duration{
		0: 24 * time.Hour, time.Second: 5 * time.Minute, time.Hour: time.Hour, 1000 * time.Hour: 24 * time.Hour, 290 * 365 * 24 * time.Hour: 24 * time.Hour,
	} {
		q := one(t, nil)
		if asked > 0 {
			q.Ttl = durationpb.New(asked)
		}
		res, err := r.client().SignX509(r.bearer(web1), batch(q))
		if err != nil {
			t.Fatal(err)
		}
		left := time.Until(r.verify(res.GetResults()[0].GetSvid().GetChain()).NotAfter)
		if left > want+time.Second || left < want-time.Minute {
			t.Errorf("asked %s, got %s; want %s", asked, left, want)
		}
	}
}

func TestAudiencesThatAreRefused(t *testing.T) {
	r := newRig(t, nil)
	for name, audience := range map[string][]string{
		"none": nil, "an empty one": {"bank", ""}, "a long one": {strings.Repeat("a", maxAudience+1)}, "too many": slices.Repeat([]string{"a"}, maxAudiences+1),
	} {
		r.log.take(t)
		res, err := r.client().SignJWT(r.bearer(web1), &cav1.SignJWTRequest{Audience: audience})
		if rec := r.log.take(t); status.Code(err) != codes.InvalidArgument || len(rec) != 1 || rec[0]["reason"] != string(Audience) {
			t.Errorf("%s: %v, %v, audit %v", name, res, err, rec)
		}
	}
	if _, err := r.client().SignJWT(r.bearer(web1), &cav1.SignJWTRequest{Audience: slices.Repeat([]string{strings.Repeat("a", maxAudience)}, maxAudiences)}); err != nil {
		t.Error(err)
	}
}

// A pod that is bound to no node is nobody's to ask for, and neither is one by an agent without a node.
func TestPodsOfNoNode(t *testing.T) {
	r := newRig(t, nil)
	waiting := pod("shop", "waiting", "web", "")
	r.world.add(waiting)
	r.try(t, attempt{ctx: r.bearer(agent1), request: one(t, forPod(waiting)), reason: string(PodNode), subject: "shop/waiting", code: codes.PermissionDenied})
	g := r.service.grants(&ca.Caller{Kind: ca.Node})
	if to, f := g.pod(t.Context(), waiting.PodRef); f == nil || f.reason != PodNode {
		t.Errorf("%+v, %+v", to, f)
	}
}
