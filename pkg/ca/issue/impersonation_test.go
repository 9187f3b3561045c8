package issue

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/csr"
	"fairlead.io/fairlead/pkg/ca/ledger"
)

func hasSerial(s string) func(ledger.Entry) bool {
	return func(e ledger.Entry) bool { return e.Serial == s }
}

// foreign is a certificate of another trust domain, signed by our authority: that of an alias, or a forgery.
func (r *rig) foreign(id spiffeid.ID) (tls.Certificate, error) {
	g := r.authority.State().Generations[0]
	key := newKey(r)
	return leafOf(id, key, g.Issuer, g.Key, time.Now().Add(time.Hour))
}

func leafOf(id spiffeid.ID, key *ecdsa.PrivateKey, issuer *x509.Certificate, by any, end time.Time) (tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: end,
		URIs: []*url.URL{id.URL()}, KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, key.Public(), by)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// attempt is one impersonation.
type attempt struct {
	ctx     context.Context // nil for none but the connection
	cert    *tls.Certificate
	request *cav1.X509Request // nil for a good one for the caller
	reason  string
	// subject has to stand in the audit record: of whom, or for whom.
	subject string
	code    codes.Code
}

// try makes an attempt and asserts its refusal, its audit record and its count.
func (r *rig) try(t *testing.T, a attempt) {
	t.Helper()
	if a.ctx == nil {
		a.ctx = t.Context()
	}
	if a.request == nil {
		a.request = one(t, nil)
	}
	var certs []tls.Certificate
	if a.cert != nil {
		certs = append(certs, *a.cert)
	}
	r.log.take(t)
	counted := testutil.ToFloat64(r.service.metrics.failures.WithLabelValues(a.reason))
	res, err := r.client(certs...).SignX509(a.ctx, batch(a.request))
	code := status.Code(err)
	if err == nil {
		if res.GetResults()[0].GetSvid() != nil {
			t.Fatalf("issued %s", res.GetResults()[0].GetSvid().GetSpiffeId())
		}
		code = codes.Code(res.GetResults()[0].GetError().GetCode()) //nolint:gosec // 0 to 16
	}
	if code != a.code {
		t.Errorf("code %s; want %s", code, a.code)
	}
	records := r.log.take(t)
	if len(records) != 1 {
		t.Fatalf("%d audit records: %v", len(records), records)
	}
	rec := records[0]
	if rec["decision"] != "refused" || rec["reason"] != a.reason {
		t.Errorf("audit: %v; want reason %s", rec, a.reason)
	}
	if !strings.Contains(rec["claim"]+" "+rec["asked"]+" "+rec["identity"]+" "+rec["caller"], a.subject) {
		t.Errorf("audit: %v; want %q in it", rec, a.subject)
	}
	if got := testutil.ToFloat64(r.service.metrics.failures.WithLabelValues(a.reason)); got != counted+1 {
		t.Errorf("counted %v times", got-counted)
	}
	said := status.Convert(err).Message() + res.String()
	for _, secret := range []string{"uid-", "n2", a.reason, "eyJ"} {
		if strings.Contains(said, secret) {
			t.Errorf("the caller is told %q", said)
		}
	}
}

func TestImpersonationByToken(t *testing.T) {
	r := newRig(t, nil)
	with := func(p ca.Pod, change func(*token)) context.Context {
		c := r.claims(p)
		change(c)
		return withToken(c.sign(t))
	}
	gone := pod("shop", "gone", "web", "n1")
	r.world.add(gone)
	goneToken := r.claims(gone)
	goneToken.IssuedAt = jwt.NewNumericDate(time.Now()) // a new token, so that only having been seen tells that the pod is gone
	replayed := withToken(goneToken.sign(t))
	if _, err := r.client().SignX509(replayed, batch(one(t, nil))); err != nil {
		t.Fatal(err)
	}
	r.world.remove(gone)
	for name, a := range map[string]attempt{
		"nobody":                       {reason: string(authn.NoCredential)},
		"expired":                      {ctx: with(web1, func(c *token) { c.Expiry = jwt.NewNumericDate(time.Now().Add(-time.Minute)) }), reason: string(authn.TokenExpired), subject: "shop:web pod web-1"},
		"without an end":               {ctx: with(web1, func(c *token) { c.Expiry = nil }), reason: string(authn.TokenMalformed), subject: "shop:web"},
		"not yet valid":                {ctx: with(web1, func(c *token) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Minute)) }), reason: string(authn.TokenEarly), subject: "shop:web"},
		"for another audience":         {ctx: with(web1, func(c *token) { c.Audience = jwt.Audience{"vault"} }), reason: string(authn.TokenAudience), subject: "shop:web"},
		"of another key":               {ctx: with(web1, func(c *token) { c.key = newKey(t) }), reason: string(authn.TokenSignature), subject: "shop:web"},
		"not bound to a pod":           {ctx: with(web1, func(c *token) { delete(c.Kubernetes, "pod") }), reason: string(authn.TokenUnbound), subject: "shop:web"},
		"of a deleted pod, replayed":   {ctx: replayed, reason: string(authn.PodUnknown), subject: "pod gone uid-gone"},
		"of a pod that never was":      {ctx: r.bearer(pod("shop", "never", "web", "n1")), reason: string(authn.PodUnknown), subject: "pod never"},
		"of a former pod of its name":  {ctx: with(web1, func(c *token) { c.Kubernetes["pod"] = map[string]string{"name": "web-1", "uid": "uid-old"} }), reason: string(authn.PodUID), subject: "uid-old"},
		"of another ServiceAccount":    {ctx: r.bearer(pod("shop", "web-1", "bank", "n1")), reason: string(authn.PodServiceAccount), subject: "shop:bank"},
		"of another node":              {ctx: r.bearer(pod("shop", "web-1", "web", "n2")), reason: string(authn.PodNode), subject: "shop:web"},
		"of an agent of a former node": {ctx: with(agent1, func(c *token) { c.Kubernetes["node"] = map[string]string{"name": "n1", "uid": "old"} }), reason: string(authn.NodeUID), subject: "fairlead-node"},
		"whose subject is another":     {ctx: with(web1, func(c *token) { c.Subject = "system:serviceaccount:shop:bank" }), reason: string(authn.TokenMalformed), subject: "shop:bank"},
		"signed with HMAC by the public key": {ctx: with(web1, func(c *token) {
			c.key, c.alg = r.tokens.X.Bytes(), jose.HS256
		}), reason: string(authn.TokenAlgorithm)},
		"that is not signed": {ctx: withToken("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ4In0."), reason: string(authn.TokenAlgorithm)},
		"that is none":       {ctx: withToken("hello"), reason: string(authn.TokenMalformed)},
		"that is too long":   {ctx: withToken(strings.Repeat("a", 17<<10)), reason: string(authn.TokenOversized)},
		"two of them":        {ctx: metadata.AppendToOutgoingContext(r.bearer(web1), "authorization", "Bearer x"), reason: string(authn.TokenTwice)},
		"another scheme":     {ctx: metadata.AppendToOutgoingContext(context.Background(), "authorization", "Basic eDp5"), reason: string(authn.TokenMalformed)},
	} {
		t.Run(name, func(t *testing.T) {
			a.code = codes.Unauthenticated
			r.try(t, a)
		})
	}
	for name, ctx := range map[string]context.Context{
		"of an unknown key, and nobody to ask":     with(web1, func(c *token) { c.kid = "k9"; c.key = newKey(t) }),
		"of another issuer, and nobody to ask":     with(web1, func(c *token) { c.Issuer = "https://evil.example" }),
		"of a pod that is too new, and never seen": with(pod("shop", "new", "web", "n1"), func(c *token) { c.IssuedAt = jwt.NewNumericDate(time.Now()) }),
	} {
		t.Run(name, func(t *testing.T) {
			reason := authn.TokenUnverified
			if strings.Contains(name, "too new") {
				reason = authn.PodUnknown
			}
			r.try(t, attempt{ctx: ctx, reason: string(reason), subject: "shop:web", code: codes.Unavailable})
		})
	}
}

func TestImpersonationByCertificate(t *testing.T) {
	r := newRig(t, nil)
	cert := func(id string) *tls.Certificate {
		c, _ := r.svid(spiffeid.RequireFromString(id), time.Hour)
		return &c
	}
	must := func(c tls.Certificate, err error) *tls.Certificate {
		if err != nil {
			t.Fatal(err)
		}
		return &c
	}
	web := spiffeid.RequireFromString("spiffe://cluster.local/ns/shop/sa/web")
	other, err := authority.Generate(td, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	mine := r.authority.State().Generations[0]
	for name, a := range map[string]attempt{
		"of another authority":      {cert: must(leafOf(web, newKey(t), other.Issuer, other.Key, time.Now().Add(time.Hour))), reason: string(authn.CertificateUntrusted), subject: web.String()},
		"that has ended":            {cert: must(leafOf(web, newKey(t), mine.Issuer, mine.Key, time.Now().Add(-time.Second))), reason: string(authn.CertificateExpired), subject: web.String()},
		"of a foreign trust domain": {cert: must(r.foreign(spiffeid.RequireFromString("spiffe://partner.example/ns/shop/sa/web"))), reason: string(authn.CertificateDomain), subject: "partner.example"},
		"of a node that is gone":    {cert: cert("spiffe://cluster.local/node/n9/" + uidN1), reason: string(authn.NodeUnknown), subject: "node/n9"},
		"of a former node":          {cert: cert("spiffe://cluster.local/node/n1/old"), reason: string(authn.NodeUID), subject: "node/n1/old"},
		"of a Gateway for itself":   {cert: cert("spiffe://cluster.local/ns/shop/gateway/front"), reason: string(authn.CertificatePath), subject: "gateway/front"},
		"of what nobody is":         {cert: cert("spiffe://cluster.local/admin"), reason: string(authn.CertificatePath), subject: "/admin"},
		"of the authority itself":   {cert: &tls.Certificate{Certificate: [][]byte{mine.Issuer.Raw}, PrivateKey: mine.Key}, reason: string(authn.CertificateProfile)},
	} {
		t.Run(name, func(t *testing.T) {
			a.code = codes.Unauthenticated
			r.try(t, a)
		})
	}
}

func TestImpersonationOfOthers(t *testing.T) {
	r := newRig(t, nil)
	n1, _ := r.svid(spiffeid.RequireFromString("spiffe://cluster.local/node/n1/"+uidN1), time.Hour)
	webSVID, _ := r.svid(spiffeid.RequireFromString("spiffe://cluster.local/ns/shop/sa/web"), time.Hour)
	wrong := func(change func(*ca.Pod)) *cav1.X509Request {
		p := web1
		change(&p)
		return one(t, forPod(p))
	}
	agent := func() context.Context { return r.bearer(agent1) }
	for name, a := range map[string]attempt{
		"a pod on another node":              {ctx: agent(), request: one(t, forPod(bank2)), reason: string(PodNode), subject: "shop/bank-2"},
		"a pod on another node, by the SVID": {cert: &n1, request: one(t, forPod(bank2)), reason: string(PodNode), subject: "shop/bank-2"},
		"a finished pod":                     {ctx: agent(), request: one(t, forPod(pod("shop", "job", "web", "n1"))), reason: string(PodUnknown), subject: "shop/job"},
		"a pod of another UID":               {ctx: agent(), request: wrong(func(p *ca.Pod) { p.UID = "uid-x" }), reason: string(PodUID), subject: "uid-x"},
		"a pod under another ServiceAccount": {ctx: agent(), request: wrong(func(p *ca.Pod) { p.ServiceAccount = "bank" }), reason: string(PodServiceAccount), subject: "sa bank"},
		"a Gateway that is elsewhere":        {ctx: r.bearer(agent2), request: one(t, forGateway("shop", "front")), reason: string(GatewayPlacement), subject: "shop/front"},
		"a pod's neighbour, by a pod":        {ctx: r.bearer(web1), request: one(t, forPod(bank2)), reason: string(NotNodeAgent), subject: "shop/bank-2"},
		"another pod of its account":         {ctx: r.bearer(web1), request: one(t, forPod(web2)), reason: string(NotNodeAgent), subject: "shop/web-2"},
		"a pod, by a workload's SVID":        {cert: &webSVID, request: one(t, forPod(web1)), reason: string(NotNodeAgent), subject: "shop/web-1"},
		"a Gateway, by a pod":                {ctx: r.bearer(web1), request: one(t, forGateway("shop", "front")), reason: string(NotNodeAgent), subject: "shop/front"},
		"a DNS name of another Service":      {ctx: r.bearer(web1), request: asking(t, nil, "bank.shop.svc"), reason: string(DNSNames), subject: "sa/web"},
		"a DNS name, without a pod":          {cert: &webSVID, request: asking(t, nil, "web.shop.svc"), reason: string(DNSNames), subject: "sa/web"},
	} {
		t.Run(name, func(t *testing.T) {
			a.code = codes.PermissionDenied
			r.try(t, a)
		})
	}
	t.Run("a pod without its UID", func(t *testing.T) {
		r.try(t, attempt{ctx: agent(), request: wrong(func(p *ca.Pod) { p.UID = "" }), reason: string(Malformed), subject: "web-1", code: codes.InvalidArgument})
	})
	t.Run("a negative TTL", func(t *testing.T) {
		q := one(t, nil)
		q.Ttl = durationpb.New(-time.Hour)
		r.try(t, attempt{ctx: agent(), request: q, reason: string(TTL), subject: "node/n1", code: codes.InvalidArgument})
	})
}

// asking is a request with DNS names beside it.
func asking(t testing.TB, template *x509.CertificateRequest, dns ...string) *cav1.X509Request {
	t.Helper()
	return &cav1.X509Request{Csr: request(t, template, newKey(t)), DnsNames: dns}
}

// TestSmuggling has what package csr refuses arrive there over the wire; its own tests have the whole table.
func TestSmuggling(t *testing.T) {
	r := newRig(t, nil)
	bank := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/shop/sa/bank"}
	web := &url.URL{Scheme: "spiffe", Host: "cluster.local", Path: "/ns/shop/sa/web"}
	broken := request(t, nil, newKey(t))
	broken[len(broken)-1] ^= 1
	for name, c := range map[string]struct {
		request *cav1.X509Request
		reason  csr.Reason
	}{
		"a URI":            {asking(t, &x509.CertificateRequest{URIs: []*url.URL{bank}}), csr.OtherURI},
		"a second URI":     {asking(t, &x509.CertificateRequest{URIs: []*url.URL{web, bank}}), csr.SecondURI},
		"a DNS name":       {asking(t, &x509.CertificateRequest{DNSNames: []string{"web.shop.svc"}}), csr.DNSName},
		"an IP address":    {asking(t, &x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(1, 2, 3, 4)}}), csr.IPAddress},
		"an email address": {asking(t, &x509.CertificateRequest{EmailAddresses: []string{"a@b"}}), csr.Email},
		"oversized":        {&cav1.X509Request{Csr: make([]byte, csr.MaxDER+1)}, csr.Oversized},
		"a forged proof":   {&cav1.X509Request{Csr: broken}, csr.BrokenSignature},
		"nothing":          {&cav1.X509Request{}, csr.Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			r.try(t, attempt{ctx: r.bearer(web1), request: c.request, reason: string(c.reason), subject: "sa/web", code: codes.InvalidArgument})
		})
	}
}

func TestBatchLimit(t *testing.T) {
	r := newRig(t, nil)
	q := one(t, nil)
	many := make([]*cav1.X509Request, MaxBatch+1)
	for i := range many {
		many[i] = q
	}
	for n, want := range map[int]codes.Code{0: codes.InvalidArgument, MaxBatch: codes.OK, MaxBatch + 1: codes.InvalidArgument} {
		if _, err := r.client().SignX509(r.bearer(agent1), batch(many[:n]...)); status.Code(err) != want {
			t.Errorf("%d certificates: %v; want %s", n, err, want)
		}
	}
}
