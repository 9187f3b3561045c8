package authn

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/url"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/ca"
)

// root is an authority of a test.
type root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newRoot(t testing.TB) root {
	t.Helper()
	k := newSigner(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	return root{signed(t, template, template, k, k), k}
}

func signed(t testing.TB, template, parent *x509.Certificate, of, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, of.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// leaf is the certificate of an identity, an hour long and of a certain age.
func (r root) leaf(t testing.TB, id string, age time.Duration, change func(*x509.Certificate)) *x509.Certificate {
	t.Helper()
	u, err := url.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-age), NotAfter: time.Now().Add(time.Hour - age), URIs: []*url.URL{u},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}, BasicConstraintsValid: true,
	}
	if change != nil {
		change(template)
	}
	return signed(t, template, r.cert, newSigner(t), r.key)
}

func connected(ctx context.Context, chain ...*x509.Certificate) context.Context {
	return peer.NewContext(ctx, &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{PeerCertificates: chain}}})
}

// refusal asserts why a caller is not believed, "" for one that is.
func refusal(t testing.TB, a *Authn, ctx context.Context, reason Reason, code codes.Code) *ca.Caller { //nolint:revive // as want has it
	t.Helper()
	c, err := a.Authenticate(ctx)
	var r *Refusal
	switch {
	case reason == "" && err != nil:
		t.Errorf("refused: %v", err)
	case reason != "" && (!errors.As(err, &r) || r.Reason != reason || status.Code(err) != code):
		t.Errorf("%v with code %s; want %s, %s", err, status.Code(err), reason, code)
	}
	return c
}

// places is a Directory of which a test says what runs.
type places struct {
	pods
	runs func(namespace, account string) bool
	uids map[string]string
}

func (p *places) Runs(namespace, account string) bool { return p.runs(namespace, account) }
func (p *places) Node(name string) (string, bool)     { uid, ok := p.uids[name]; return uid, ok }

const webID = "spiffe://cluster.local/ns/shop/sa/web"

// A workload's certificate is of use as long as a pod of its ServiceAccount runs.
func TestCertificateEndsWithTheLastPod(t *testing.T) {
	for name, c := range map[string]struct {
		age    time.Duration
		before bool          // a pod has been seen
		comes  time.Duration // after the call; 0 for never
		waits  time.Duration
		reason Reason
		code   codes.Code
	}{
		"runs":                               {time.Hour / 2, true, 0, 0, "", 0},
		"its last pod is gone":               {time.Minute, true, 0, 0, IdentityNotRunning, codes.Unauthenticated},
		"no pod was seen, and it is old":     {time.Hour / 2, false, 0, 0, IdentityNotRunning, codes.Unauthenticated},
		"no pod was seen, and it is new":     {time.Minute, false, 0, podWait, IdentityNotRunning, codes.Unavailable},
		"its pod is seen after its call was": {time.Minute, false, time.Second, time.Second, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var running atomic.Bool
				r := newRoot(t)
				d := &places{runs: func(namespace, account string) bool { return running.Load() && namespace == "shop" && account == "web" }}
				a := newAuthn(t, d, func(cfg *Config) {
					cfg.Roots = func(spiffeid.TrustDomain) []*x509.Certificate { return []*x509.Certificate{r.cert} }
				})
				ctx := connected(t.Context(), r.leaf(t, webID, c.age, nil))
				if c.before {
					running.Store(true)
					refusal(t, a, ctx, "", 0)
					running.Store(name == "runs")
				}
				began := time.Now()
				if c.comes > 0 {
					time.AfterFunc(c.comes, func() { running.Store(true) })
				}
				refusal(t, a, ctx, c.reason, c.code)
				if waited := time.Since(began); waited < c.waits || waited > c.waits+2*podPoll {
					t.Errorf("waited %s; want %s", waited, c.waits)
				}
			})
		})
	}
}

// What was seen of a certificate is not forgotten when another root is trusted beside its own.
func TestSeenOutlivesARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, other, running := newRoot(t), newRoot(t), true
		roots := []*x509.Certificate{r.cert}
		a := newAuthn(t, &places{runs: func(string, string) bool { return running }}, func(cfg *Config) {
			cfg.Roots = func(spiffeid.TrustDomain) []*x509.Certificate { return roots }
		})
		ctx := connected(t.Context(), r.leaf(t, webID, 0, nil))
		refusal(t, a, ctx, "", 0)
		running, roots = false, []*x509.Certificate{other.cert, r.cert}
		refusal(t, a, ctx, IdentityNotRunning, codes.Unauthenticated)
		running = true
		refusal(t, a, ctx, "", 0)
		roots = roots[:1] // and what was verified is verified again
		refusal(t, a, ctx, CertificateUntrusted, codes.Unauthenticated)
	})
}

// A chain that was verified once counts as long as all of it is valid.
func TestVerifiedChainEndsWithItsFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRoot(t)
		key := newSigner(t)
		between := signed(t, &x509.Certificate{
			SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "between"}, NotBefore: time.Now(), NotAfter: time.Now().Add(10 * time.Minute),
			IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
		}, r.cert, key, r.key)
		a := newAuthn(t, &places{runs: func(string, string) bool { return true }}, func(cfg *Config) {
			cfg.Roots = func(spiffeid.TrustDomain) []*x509.Certificate { return []*x509.Certificate{r.cert} }
		})
		ctx := connected(t.Context(), root{between, key}.leaf(t, webID, 0, nil), between)
		refusal(t, a, ctx, "", 0)
		time.Sleep(9 * time.Minute)
		refusal(t, a, ctx, "", 0)
		time.Sleep(2 * time.Minute)
		refusal(t, a, ctx, CertificateUntrusted, codes.Unauthenticated)
	})
}

func TestCertificates(t *testing.T) {
	ours, theirs := newRoot(t), newRoot(t)
	server := spiffeid.RequireFromString("spiffe://cluster.local/ns/fairlead-system/sa/fairlead")
	var asked []spiffeid.TrustDomain
	d := &places{runs: func(_, account string) bool { return account == "web" }, uids: map[string]string{"n1": "uid-n1"}}
	a := newAuthn(t, d, func(cfg *Config) {
		cfg.Server, cfg.Aliases = server, []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("old.example")}
		cfg.Roots = func(td spiffeid.TrustDomain) []*x509.Certificate {
			asked = append(asked, td)
			return []*x509.Certificate{ours.cert}
		}
	})
	between := ours.leaf(t, webID, 0, func(c *x509.Certificate) { // a workload that signs
		c.IsCA, c.KeyUsage = true, x509.KeyUsageCertSign
	})
	for name, c := range map[string]struct {
		leaf   *x509.Certificate
		reason Reason
		kind   ca.Kind
		id     string
	}{
		"a workload":                  {ours.leaf(t, webID, 0, nil), "", ca.Workload, webID},
		"a node":                      {ours.leaf(t, "spiffe://cluster.local/node/n1/uid-n1", 0, nil), "", ca.Node, "spiffe://cluster.local/node/n1/uid-n1"},
		"the control plane":           {ours.leaf(t, server.String(), 0, nil), "", ca.Replica, server.String()},
		"of an alias":                 {ours.leaf(t, "spiffe://old.example/ns/shop/sa/web", 0, nil), "", ca.Workload, webID},
		"a node of an alias":          {ours.leaf(t, "spiffe://old.example/node/n1/uid-n1", 0, nil), "", ca.Node, "spiffe://cluster.local/node/n1/uid-n1"},
		"of another trust domain":     {ours.leaf(t, "spiffe://partner.example/ns/shop/sa/web", 0, nil), CertificateDomain, "", ""},
		"of another root":             {theirs.leaf(t, webID, 0, nil), CertificateUntrusted, "", ""},
		"that has ended":              {ours.leaf(t, webID, time.Hour+time.Second, nil), CertificateExpired, "", ""},
		"that has not begun":          {ours.leaf(t, webID, -time.Minute, nil), CertificateExpired, "", ""},
		"that signs":                  {between, CertificateProfile, "", ""},
		"that signs, and says not so": {ours.leaf(t, webID, 0, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), CertificateProfile, "", ""},
		"that is an authority's":      {ours.leaf(t, webID, 0, func(c *x509.Certificate) { c.IsCA = true }), CertificateProfile, "", ""},
		"that signs lists":            {ours.leaf(t, webID, 0, func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }), CertificateProfile, "", ""},
		"for servers alone":           {ours.leaf(t, webID, 0, func(c *x509.Certificate) { c.ExtKeyUsage = c.ExtKeyUsage[1:] }), CertificateUntrusted, "", ""},
		"without a name":              {ours.leaf(t, webID, 0, func(c *x509.Certificate) { c.URIs = nil }), CertificateProfile, "", ""},
		"with two names":              {ours.leaf(t, webID, 0, func(c *x509.Certificate) { c.URIs = append(c.URIs, c.URIs[0]) }), CertificateProfile, "", ""},
		"that is no SVID":             {ours.leaf(t, "https://cluster.local/ns/shop/sa/web", 0, nil), CertificateProfile, "", ""},
		"of a node that is not there": {ours.leaf(t, "spiffe://cluster.local/node/n9/uid-n1", 0, nil), NodeUnknown, "", ""},
		"of a former node":            {ours.leaf(t, "spiffe://cluster.local/node/n1/uid-n0", 0, nil), NodeUID, "", ""},
		"of a Gateway":                {ours.leaf(t, "spiffe://cluster.local/ns/shop/gateway/front", 0, nil), CertificatePath, "", ""},
		"of no pod":                   {ours.leaf(t, "spiffe://cluster.local/ns/shop/sa/batch", 10*time.Minute, nil), IdentityNotRunning, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time it is remembered
				got := refusal(t, a, connected(t.Context(), c.leaf), c.reason, codes.Unauthenticated)
				if c.reason == "" && got != nil && (got.Kind != c.kind || got.ID.String() != c.id || got.Method != ca.MTLS || got.Certificate != c.leaf || !got.Expires.Equal(c.leaf.NotAfter)) {
					t.Errorf("%+v", got)
				}
			}
		})
	}
	if i := slices.IndexFunc(asked, func(td spiffeid.TrustDomain) bool {
		return td.Name() != "cluster.local" && td.Name() != "old.example"
	}); i >= 0 {
		t.Errorf("the roots of %s are asked for", asked[i])
	}
	// Who holds a certificate signs another one with it.
	holder, key := ours.leaf(t, webID, 0, nil), newSigner(t)
	holder = signed(t, holder, ours.cert, key, ours.key)
	forged := root{holder, key}.leaf(t, webID, 0, nil)
	refusal(t, a, connected(t.Context(), holder), "", 0)
	refusal(t, a, connected(t.Context(), forged, holder), CertificateUntrusted, codes.Unauthenticated)
	refusal(t, a, connected(t.Context()), NoCredential, codes.Unauthenticated)
}
