package authn

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/ca"
)

// townsfolk is a Directory of single pods.
type townsfolk struct {
	places
	pods map[string]ca.Pod
}

func (d *townsfolk) Pod(namespace, name string) (ca.Pod, bool) {
	p, ok := d.pods[namespace+"/"+name]
	return p, ok
}

func newTown() *townsfolk {
	d := &townsfolk{pods: map[string]ca.Pod{}}
	d.runs, d.uids = func(string, string) bool { return true }, map[string]string{"n1": "uid-n1"}
	for _, p := range []ca.Pod{
		{PodRef: ca.PodRef{Namespace: "shop", Name: "web-1", UID: "uid-1", ServiceAccount: "web"}, Node: "n1"},
		{PodRef: ca.PodRef{Namespace: "shop", Name: "waiting", UID: "uid-w", ServiceAccount: "web"}},
		{PodRef: ca.PodRef{Namespace: "system", Name: "agent-1", UID: "uid-a1", ServiceAccount: "agent"}, Node: "n1"},
		{PodRef: ca.PodRef{Namespace: "system", Name: "agent-9", UID: "uid-a9", ServiceAccount: "agent"}, Node: "n9"},
		{PodRef: ca.PodRef{Namespace: "shop", Name: "agent-1", UID: "uid-f", ServiceAccount: "agent"}, Node: "n1"},
		{PodRef: ca.PodRef{Namespace: "system", Name: "server-1", UID: "uid-s", ServiceAccount: "fairlead"}, Node: "n1"},
		{PodRef: ca.PodRef{Namespace: "shop", Name: "odd", UID: "uid-o", ServiceAccount: "o d"}, Node: "n1"},
	} {
		d.pods[p.Namespace+"/"+p.Name] = p
	}
	return d
}

// claimed is what a token says of a pod, minutes old.
func claimed(namespace, pod, uid, account string) *payload {
	var p payload
	now := time.Now()
	p.Claims = jwt.Claims{
		Issuer: "k8s", Subject: "system:serviceaccount:" + namespace + ":" + account, Audience: jwt.Audience{"fairlead"},
		Expiry: jwt.NewNumericDate(now.Add(time.Hour)), IssuedAt: jwt.NewNumericDate(now.Add(-10 * time.Minute)), NotBefore: jwt.NewNumericDate(now.Add(-10 * time.Minute)),
	}
	p.Kubernetes.Namespace, p.Kubernetes.ServiceAccount = namespace, named{account, "uid-sa"}
	p.Kubernetes.Pod, p.Kubernetes.Node = &named{pod, uid}, &named{"n1", "uid-n1"}
	return &p
}

func (p *payload) sign(t testing.TB, algorithm jose.SignatureAlgorithm, key any) string {
	t.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.serialize(t, s)
}

func (p *payload) serialize(t testing.TB, s jose.Signer) string {
	t.Helper()
	text, err := jwt.Signed(s).Claims(p).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// assembled is a compact token of parts that no library would put together.
func assembled(header, payload, signature string) string {
	b := base64.RawURLEncoding.EncodeToString
	return b([]byte(header)) + "." + b([]byte(payload)) + "." + b([]byte(signature))
}

func TestTokens(t *testing.T) {
	key := newSigner(t)
	a := newAuthn(t, newTown(), func(c *Config) {
		c.Keys = &source{keys: []jose.JSONWebKey{{KeyID: "k1", Key: key.Public(), Algorithm: "ES256"}}}
		c.Server = spiffeid.RequireFromString("spiffe://cluster.local/ns/system/sa/fairlead")
		c.NodeAgents = []ServiceAccount{{"system", "agent"}}
	})
	web := func(change func(*payload)) string {
		p := claimed("shop", "web-1", "uid-1", "web")
		change(p)
		return p.sign(t, jose.ES256, key)
	}
	at := func(d time.Duration) *jwt.NumericDate { return jwt.NewNumericDate(time.Now().Add(d)) }
	secret, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	nothing := web(func(*payload) {})
	_, rest, _ := strings.Cut(nothing, ".")
	for name, c := range map[string]struct {
		token  string
		reason Reason
		code   codes.Code
		kind   ca.Kind
		id     string
	}{
		"of a pod":                   {nothing, "", 0, ca.Workload, webID},
		"of a pod, without a node":   {web(func(p *payload) { p.Kubernetes.Node = nil }), "", 0, ca.Workload, webID},
		"of an agent":                {claimed("system", "agent-1", "uid-a1", "agent").sign(t, jose.ES256, key), "", 0, ca.Node, "spiffe://cluster.local/node/n1/uid-n1"},
		"of an agent's namesake":     {claimed("shop", "agent-1", "uid-f", "agent").sign(t, jose.ES256, key), "", 0, ca.Workload, "spiffe://cluster.local/ns/shop/sa/agent"},
		"of the control plane":       {claimed("system", "server-1", "uid-s", "fairlead").sign(t, jose.ES256, key), "", 0, ca.Replica, "spiffe://cluster.local/ns/system/sa/fairlead"},
		"that begins just now":       {web(func(p *payload) { p.NotBefore = at(leeway / 2) }), "", 0, ca.Workload, webID},
		"for others too":             {web(func(p *payload) { p.Audience = jwt.Audience{"vault", "fairlead"} }), "", 0, ca.Workload, webID},
		"that has ended":             {web(func(p *payload) { p.Expiry = at(-leeway - 2*time.Second) }), TokenExpired, 0, "", ""},
		"that never ends":            {web(func(p *payload) { p.Expiry = nil }), TokenMalformed, 0, "", ""},
		"that ended in 1970":         {web(func(p *payload) { p.Expiry = jwt.NewNumericDate(time.Unix(0, 0)) }), TokenMalformed, 0, "", ""},
		"that has not begun":         {web(func(p *payload) { p.NotBefore = at(leeway + 5*time.Second) }), TokenEarly, 0, "", ""},
		"for others":                 {web(func(p *payload) { p.Audience = jwt.Audience{"vault"} }), TokenAudience, 0, "", ""},
		"for nobody":                 {web(func(p *payload) { p.Audience = nil }), TokenAudience, 0, "", ""},
		"for nearly us":              {web(func(p *payload) { p.Audience = jwt.Audience{"Fairlead", "fairlead2"} }), TokenAudience, 0, "", ""},
		"of no pod":                  {web(func(p *payload) { p.Kubernetes.Pod = nil }), TokenUnbound, 0, "", ""},
		"of a pod without a name":    {web(func(p *payload) { p.Kubernetes.Pod.Name = "" }), TokenUnbound, 0, "", ""},
		"of a pod without a UID":     {web(func(p *payload) { p.Kubernetes.Pod.UID = "" }), TokenUnbound, 0, "", ""},
		"of no namespace":            {web(func(p *payload) { p.Kubernetes.Namespace, p.Subject = "", "system:serviceaccount::web" }), TokenMalformed, 0, "", ""},
		"of no account":              {web(func(p *payload) { p.Kubernetes.ServiceAccount.Name, p.Subject = "", "system:serviceaccount:shop:" }), TokenMalformed, 0, "", ""},
		"whose subject is another":   {web(func(p *payload) { p.Subject = "system:serviceaccount:shop:bank" }), TokenMalformed, 0, "", ""},
		"of a pod that is not there": {claimed("shop", "web-9", "uid-1", "web").sign(t, jose.ES256, key), PodUnknown, 0, "", ""},
		"of another namespace's pod": {claimed("bank", "web-1", "uid-1", "web").sign(t, jose.ES256, key), PodUnknown, 0, "", ""},
		"of a former pod":            {claimed("shop", "web-1", "uid-0", "web").sign(t, jose.ES256, key), PodUID, 0, "", ""},
		"of another account":         {claimed("shop", "web-1", "uid-1", "bank").sign(t, jose.ES256, key), PodServiceAccount, 0, "", ""},
		"of an agent's account":      {claimed("system", "web-1", "uid-1", "agent").sign(t, jose.ES256, key), PodUnknown, 0, "", ""},
		"of another node":            {web(func(p *payload) { p.Kubernetes.Node.Name = "n2" }), PodNode, 0, "", ""},
		"of a pod that is nowhere":   {claimed("shop", "waiting", "uid-w", "web").sign(t, jose.ES256, key), PodNode, 0, "", ""},
		"of a pod that is nowhere, too": {func() string {
			p := claimed("shop", "waiting", "uid-w", "web")
			p.Kubernetes.Node = nil
			return p.sign(t, jose.ES256, key)
		}(), PodNode, 0, "", ""},
		"of an agent of no node": {func() string {
			p := claimed("system", "agent-9", "uid-a9", "agent")
			p.Kubernetes.Node = &named{"n9", "uid-n9"}
			return p.sign(t, jose.ES256, key)
		}(), NodeUnknown, 0, "", ""},
		"of an agent of a former node": {func() string {
			p := claimed("system", "agent-1", "uid-a1", "agent")
			p.Kubernetes.Node.UID = "uid-n0"
			return p.sign(t, jose.ES256, key)
		}(), NodeUID, 0, "", ""},
		"of what cannot be an identity": {claimed("shop", "odd", "uid-o", "o d").sign(t, jose.ES256, key), IdentityGrammar, 0, "", ""},
		"of another key":                {claimed("shop", "web-1", "uid-1", "web").sign(t, jose.ES256, newSigner(t)), TokenSignature, 0, "", ""},
		"of another issuer":             {web(func(p *payload) { p.Issuer = "k9s" }), TokenUnverified, codes.Unavailable, "", ""},
		"by a secret that is our key":   {claimed("shop", "web-1", "uid-1", "web").sign(t, jose.HS256, secret), TokenAlgorithm, 0, "", ""},
		"by nobody":                     {assembled(`{"alg":"none","kid":"k1"}`, `{"sub":"system:serviceaccount:shop:web"}`, ""), TokenAlgorithm, 0, "", ""},
		"by NONE":                       {assembled(`{"alg":"NONE","kid":"k1"}`, `{}`, "x"), TokenAlgorithm, 0, "", ""},
		"by another algorithm":          {assembled(`{"alg":"ES384","kid":"k1"}`, decoded(t, rest), strings.Repeat("x", 96)), TokenAlgorithm, 0, "", ""},
		"that brings its own key":       {bringing(t, claimed("shop", "web-1", "uid-1", "web")), TokenSignature, 0, "", ""},
		"in JSON":                       {`{"payload":"e30","signatures":[{"protected":"e30","signature":"AA"}]}`, TokenMalformed, 0, "", ""},
		"whose claims are a list":       {assembled(`{"alg":"ES256","kid":"k1"}`, `[]`, "x"), TokenMalformed, 0, "", ""},
		"that is none":                  {"hello", TokenMalformed, 0, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for range 2 { // the second time it is remembered
				code := c.code
				if c.reason != "" && code == 0 {
					code = codes.Unauthenticated
				}
				got := refusal(t, a, present(t.Context(), c.token), c.reason, code)
				if c.reason == "" && got != nil && (got.Kind != c.kind || got.ID.String() != c.id || got.Method == ca.MTLS || got.Certificate != nil) {
					t.Errorf("%+v", got)
				}
			}
		})
	}
}

func decoded(t testing.TB, rest string) string {
	t.Helper()
	p, _, _ := strings.Cut(rest, ".")
	raw, err := base64.RawURLEncoding.DecodeString(p)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// bringing is a token with the key in its header that it is signed with.
func bringing(t testing.TB, p *payload) string {
	t.Helper()
	own := newSigner(t)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: own}, (&jose.SignerOptions{}).
		WithHeader("kid", "k1").WithHeader("jwk", jose.JSONWebKey{Key: own.Public(), KeyID: "k1"}).WithHeader("x5u", "https://evil.example"))
	if err != nil {
		t.Fatal(err)
	}
	return p.serialize(t, s)
}

// What is in the metadata decides before anything of a token is read; a certificate does not help who brings a bad token.
func TestMetadata(t *testing.T) {
	key, r := newSigner(t), newRoot(t)
	a := newAuthn(t, newTown(), func(c *Config) {
		c.Keys = &source{keys: []jose.JSONWebKey{public("k1", key)}}
		c.Roots = func(spiffeid.TrustDomain) []*x509.Certificate { return []*x509.Certificate{r.cert} }
	})
	good := claimed("shop", "web-1", "uid-1", "web").sign(t, jose.ES256, key)
	batch := r.leaf(t, "spiffe://cluster.local/ns/shop/sa/batch", 0, nil)
	for name, c := range map[string]struct {
		values []string
		reason Reason
		id     string
	}{
		"nothing":                  {nil, "", "spiffe://cluster.local/ns/shop/sa/batch"},
		"a token":                  {[]string{"Bearer " + good}, "", webID},
		"another case":             {[]string{"bearer  " + good + " "}, "", webID},
		"two":                      {[]string{"Bearer " + good, "Bearer " + good}, TokenTwice, ""},
		"one that is too long":     {[]string{"Bearer " + strings.Repeat("a", maxToken)}, TokenOversized, ""},
		"another scheme":           {[]string{"Basic " + good}, TokenMalformed, ""},
		"no scheme":                {[]string{good}, TokenMalformed, ""},
		"the scheme alone":         {[]string{"Bearer"}, TokenMalformed, ""},
		"the scheme and a blank":   {[]string{"Bearer  "}, TokenMalformed, ""},
		"nothing where a token is": {[]string{""}, TokenMalformed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := metadata.NewIncomingContext(connected(t.Context(), batch), metadata.MD{"authorization": c.values})
			if got := refusal(t, a, ctx, c.reason, codes.Unauthenticated); c.reason == "" && got != nil && got.ID.String() != c.id {
				t.Errorf("taken for %s", got.ID)
			}
		})
	}
	plain := metadata.NewIncomingContext(peer.NewContext(t.Context(), &peer.Peer{AuthInfo: nil}), metadata.Pairs("authorization", "Bearer "+good))
	refusal(t, a, plain, NoTLS, codes.Unauthenticated)
	nowhere := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", "Bearer "+good))
	refusal(t, a, nowhere, NoTLS, codes.Unauthenticated)
}

func TestWithoutAudiencesNoTokenIsBelieved(t *testing.T) {
	key := newSigner(t)
	a := newAuthn(t, newTown(), func(c *Config) {
		c.Keys, c.Audiences = &source{keys: []jose.JSONWebKey{public("k1", key)}}, nil
	})
	for _, audience := range []jwt.Audience{nil, {""}, {"fairlead"}} {
		p := claimed("shop", "web-1", "uid-1", "web")
		p.Audience = audience
		want(t, a, p.sign(t, jose.ES256, key), TokenAudience, codes.Unauthenticated)
	}
}

// A refusal is written down with who it claims to be, counted, and told to its caller without a reason.
func TestRefusalsAreWrittenDown(t *testing.T) {
	var out bytes.Buffer
	registry := prometheus.NewRegistry()
	key := newSigner(t)
	a := newAuthn(t, newTown(), func(c *Config) {
		c.Keys = &source{keys: []jose.JSONWebKey{public("k1", key)}}
		c.Log, c.Registry = slog.New(slog.NewJSONHandler(&out, nil)), registry
		c.Roots = func(spiffeid.TrustDomain) []*x509.Certificate { return nil }
	})
	where := func(ctx context.Context) context.Context {
		p, _ := peer.FromContext(ctx)
		return peer.NewContext(ctx, &peer.Peer{AuthInfo: p.AuthInfo, Addr: &net.TCPAddr{IP: net.IPv4(10, 0, 0, 7), Port: 4711}})
	}
	former := claimed("shop", "web-1", "uid-0", "web").sign(t, jose.ES256, key)
	for _, c := range []struct {
		ctx           context.Context
		reason, claim string
	}{
		{present(t.Context(), former), "pod-uid", "system:serviceaccount:shop:web pod web-1 uid-0"},
		{present(t.Context(), former), "pod-uid", "system:serviceaccount:shop:web pod web-1 uid-0"},
		{connected(t.Context(), newRoot(t).leaf(t, webID, 0, nil)), "certificate-untrusted", webID},
		{present(t.Context(), "x"), "token-malformed", ""},
	} {
		out.Reset()
		was := testutil.ToFloat64(a.metrics.refusals.WithLabelValues(c.reason))
		_, err := a.Authenticate(where(c.ctx))
		if s := status.Convert(err); s.Code() != codes.Unauthenticated || s.Message() != "the caller could not be authenticated" || len(s.Details()) > 0 {
			t.Errorf("%s: the caller is told %v", c.reason, s)
		}
		if got := testutil.ToFloat64(a.metrics.refusals.WithLabelValues(c.reason)); got != was+1 {
			t.Errorf("%s: counted %g times", c.reason, got-was)
		}
		var line struct {
			Level string
			Audit map[string]string
		}
		if err := json.Unmarshal(out.Bytes(), &line); err != nil {
			t.Fatalf("%s: not one record: %s", c.reason, out.String())
		}
		if line.Level != "WARN" || line.Audit["decision"] != "refused" || line.Audit["reason"] != c.reason || line.Audit["claim"] != c.claim || line.Audit["peer"] != "10.0.0.7:4711" || line.Audit["detail"] == "" {
			t.Errorf("%s: %+v", c.reason, line)
		}
		if strings.Contains(out.String(), former) {
			t.Errorf("%s: the token is written down", c.reason)
		}
	}
	if n, err := testutil.GatherAndCount(registry, "fairlead_authn_refusals_total"); err != nil || n != 3 {
		t.Errorf("%d series, %v", n, err)
	}
}

func TestNewRefusesHalfAConfiguration(t *testing.T) {
	full := Config{
		TrustDomain: spiffeid.RequireTrustDomainFromString("cluster.local"), Directory: newTown(),
		Roots: func(spiffeid.TrustDomain) []*x509.Certificate { return nil }, Registry: prometheus.NewRegistry(),
	}
	if _, err := New(full); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no trust domain": func(c *Config) { c.TrustDomain = spiffeid.TrustDomain{} },
		"no roots":        func(c *Config) { c.Roots = nil },
		"no directory":    func(c *Config) { c.Directory = nil },
		"metrics twice":   func(*Config) {},
	} {
		cfg := full
		if name != "metrics twice" {
			cfg.Registry = nil
		}
		change(&cfg)
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: made", name)
		}
	}
}
