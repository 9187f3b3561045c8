package issue

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/durationpb"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/ca"
)

func TestWhoMayHaveWhat(t *testing.T) {
	r := newRig(t, nil)
	n1, _ := r.svid(spiffeid.RequireFromString("spiffe://cluster.local/node/n1/"+uidN1), time.Hour)
	webSVID, _ := r.svid(spiffeid.RequireFromString("spiffe://cluster.local/ns/shop/sa/web"), time.Hour)
	server, _ := r.svid(self, time.Hour)
	for name, c := range map[string]struct {
		as      *ca.Pod // by token
		cert    *tls.Certificate
		subject *cav1.Subject
		want    string
	}{
		"a pod for itself":                  {as: &web1, want: "ns/shop/sa/web"},
		"a pod that names itself":           {as: &web1, subject: forPod(web1), want: "ns/shop/sa/web"},
		"a workload renews":                 {cert: &webSVID, want: "ns/shop/sa/web"},
		"a node agent for its node":         {as: &agent1, want: "node/n1/" + uidN1},
		"a node renews":                     {cert: &n1, want: "node/n1/" + uidN1},
		"a node agent for a pod":            {as: &agent1, subject: forPod(web1), want: "ns/shop/sa/web"},
		"a node for a pod":                  {cert: &n1, subject: forPod(web1), want: "ns/shop/sa/web"},
		"a node for a Gateway":              {cert: &n1, subject: forGateway("shop", "front"), want: "ns/shop/gateway/front"},
		"a replica renews":                  {cert: &server, want: "ns/fairlead-system/sa/fairlead"},
		"a token beside a certificate wins": {as: &web1, cert: &n1, want: "ns/shop/sa/web"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if c.as != nil {
				ctx = r.bearer(*c.as)
			}
			var certs []tls.Certificate
			if c.cert != nil {
				certs = append(certs, *c.cert)
			}
			r.log.take(t)
			res, err := r.client(certs...).SignX509(ctx, batch(one(t, c.subject)))
			if err != nil {
				t.Fatal(err)
			}
			svid := res.GetResults()[0].GetSvid()
			if svid == nil {
				t.Fatalf("refused: %v, %v", res.GetResults()[0].GetError(), r.log.take(t))
			}
			leaf := r.verify(svid.GetChain())
			if want := "spiffe://cluster.local/" + c.want; svid.GetSpiffeId() != want || leaf.URIs[0].String() != want {
				t.Errorf("%s with %v; want %s", svid.GetSpiffeId(), leaf.URIs, want)
			}
			records := r.log.take(t)
			if len(records) != 1 || records[0]["decision"] != "allowed" || records[0]["identity"] != svid.GetSpiffeId() ||
				records[0]["serial"] != leaf.SerialNumber.Text(16) || records[0]["authority"] != svid.GetAuthority() {
				t.Errorf("audit: %v", records)
			}
			if !slices.ContainsFunc(r.service.Ledger().List(), hasSerial(leaf.SerialNumber.Text(16))) {
				t.Error("the ledger does not have it")
			}
		})
	}
}

func TestAliasRenewsIntoOurs(t *testing.T) {
	r := newRig(t, nil)
	old, err := r.foreign(spiffeid.RequireFromString("spiffe://old.example/ns/shop/sa/web"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := r.client(old).SignX509(t.Context(), batch(one(t, nil)))
	if err != nil {
		t.Fatal(err)
	}
	if id := res.GetResults()[0].GetSvid().GetSpiffeId(); id != "spiffe://cluster.local/ns/shop/sa/web" {
		t.Errorf("renewed as %q", id)
	}
}

func TestTTL(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Policy = Policy{TTL: 2 * time.Hour, MinTTL: 10 * time.Minute, MaxTTL: 3 * time.Hour}
	})
	client := r.client()
	for asked, want := range map[time.Duration]time.Duration{
		0: 2 * time.Hour, time.Hour: time.Hour, time.Second: 10 * time.Minute, 1000 * time.Hour: 3 * time.Hour,
	} {
		q := one(t, nil)
		if asked > 0 {
			q.Ttl = durationpb.New(asked)
		}
		before := time.Now()
		res, err := client.SignX509(r.bearer(web1), batch(q))
		if err != nil {
			t.Fatal(err)
		}
		svid := res.GetResults()[0].GetSvid()
		got := r.verify(svid.GetChain()).NotAfter
		if got.Before(before.Add(want-time.Second)) || got.After(time.Now().Add(want)) {
			t.Errorf("TTL %s asked: ends in %s; want %s", asked, got.Sub(before), want)
		}
		if !svid.GetNotAfter().AsTime().Equal(got) {
			t.Errorf("the answer says %s, the certificate %s", svid.GetNotAfter().AsTime(), got)
		}
	}
}

func TestDNSNamesWhenAskedAndAllowed(t *testing.T) {
	r := newRig(t, nil)
	key := newKey(t)
	q := &cav1.X509Request{Csr: request(t, &x509.CertificateRequest{DNSNames: []string{"web.shop.svc"}}, key), DnsNames: []string{"web.shop.svc"}}
	plain := one(t, nil)
	res, err := r.client().SignX509(r.bearer(web1), batch(q, plain))
	if err != nil {
		t.Fatal(err)
	}
	if leaf := r.verify(res.GetResults()[0].GetSvid().GetChain()); !slices.Equal(leaf.DNSNames, []string{"web.shop.svc"}) {
		t.Errorf("DNS names %v", leaf.DNSNames)
	}
	if leaf := r.verify(res.GetResults()[1].GetSvid().GetChain()); len(leaf.DNSNames) != 0 {
		t.Errorf("DNS names that nobody asked for: %v", leaf.DNSNames)
	}
}

func TestOneRefusalLeavesTheOthers(t *testing.T) {
	r := newRig(t, nil)
	res, err := r.client().SignX509(r.bearer(agent1), batch(one(t, forPod(web1)), one(t, forPod(bank2)), &cav1.X509Request{}, one(t, nil)))
	if err != nil {
		t.Fatal(err)
	}
	var got []bool
	for _, x := range res.GetResults() {
		got = append(got, x.GetSvid() != nil)
	}
	if !slices.Equal(got, []bool{true, false, false, true}) {
		t.Errorf("issued: %v", got)
	}
	if records := r.log.take(t); len(records) != 4 {
		t.Errorf("%d audit records of 4 decisions", len(records))
	}
}

func TestJWT(t *testing.T) {
	r := newRig(t, nil)
	res, err := r.client().SignJWT(r.bearer(agent1), &cav1.SignJWTRequest{Subject: forPod(web1), Audience: []string{"db"}, Ttl: durationpb.New(100 * time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jwt.ParseSigned(res.GetToken(), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	key, ok := r.authority.Bundle().FindJWTAuthority(parsed.Headers[0].KeyID)
	if !ok {
		t.Fatal("the bundle has no such key")
	}
	var c jwt.Claims
	if err := parsed.Claims(key, &c); err != nil {
		t.Fatal(err)
	}
	if c.Subject != "spiffe://cluster.local/ns/shop/sa/web" || !c.Audience.Contains("db") || c.Expiry.Time().After(time.Now().Add(time.Hour)) {
		t.Errorf("claims %+v", c)
	}
	if records := r.log.take(t); len(records) != 1 || records[0]["audience"] != `["db"]` || records[0]["decision"] != "allowed" {
		t.Errorf("audit: %v", records)
	}
}

func TestPodThatComesLate(t *testing.T) {
	r := newRig(t, nil)
	late := pod("shop", "late", "web", "n1")
	time.AfterFunc(100*time.Millisecond, func() { r.world.add(late) })
	res, err := r.client().SignX509(r.bearer(agent1), batch(one(t, forPod(late))))
	if err != nil || res.GetResults()[0].GetSvid() == nil {
		t.Errorf("%v, %v", res, err)
	}
}
