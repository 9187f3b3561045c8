package authn

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	authentication "k8s.io/api/authentication/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	client "k8s.io/client-go/kubernetes/typed/authentication/v1"

	"fairlead.io/fairlead/pkg/ca"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pods is a Directory of pods on node n1.
type pods struct {
	mu  sync.Mutex
	uid map[string]string
}

func (p *pods) Pod(namespace, name string) (ca.Pod, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	uid, ok := p.uid[name]
	return ca.Pod{PodRef: ca.PodRef{Namespace: namespace, Name: name, UID: uid, ServiceAccount: "web"}, Node: "n1"}, ok
}

func (p *pods) set(name, uid string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uid[name] = uid
}
func (*pods) RunsOn(string, string, string) bool { return false }
func (p *pods) Runs(_, account string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return account == "web" && len(p.uid) > 0
}
func (*pods) Node(string) (string, bool)          { return "uid-n1", true }
func (*pods) Gateway(string, string, string) bool { return false }
func (*pods) DNSNames(string, string) []string    { return nil }

// apiServer reviews tokens, of which it knows one answer for each call.
type apiServer struct {
	client.TokenReviewInterface
	calls  atomic.Int32
	answer func(*authentication.TokenReview) error
	slow   time.Duration
}

func (a *apiServer) Create(ctx context.Context, r *authentication.TokenReview, _ meta.CreateOptions) (*authentication.TokenReview, error) {
	a.calls.Add(1)
	select {
	case <-time.After(a.slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	out := r.DeepCopy()
	return out, a.answer(out)
}

// believes is the answer of an API server that knows pod web-1.
func believes(r *authentication.TokenReview) error {
	r.Status = authentication.TokenReviewStatus{
		Authenticated: true, Audiences: []string{"fairlead"},
		User: authentication.UserInfo{Username: "system:serviceaccount:shop:web", Extra: map[string]authentication.ExtraValue{
			extraPodName: {"web-1"}, extraPodUID: {"uid-1"}, extraNodeName: {"n1"}, extraNodeUID: {"uid-n1"},
		}},
	}
	return nil
}

// believesBut is that answer with a change.
func believesBut(change func(*authentication.TokenReview)) func(*authentication.TokenReview) error {
	return func(r *authentication.TokenReview) error {
		err := believes(r)
		change(r)
		return err
	}
}

// source is a KeySource that a test changes.
type source struct {
	mu    sync.Mutex
	keys  []jose.JSONWebKey
	err   error
	reads int
}

func (s *source) Keys(context.Context) (string, jose.JSONWebKeySet, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	return "k8s", jose.JSONWebKeySet{Keys: s.keys}, s.err
}

func (s *source) set(err error, keys ...jose.JSONWebKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.keys = err, keys
}

func newSigner(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public(kid string, k crypto.Signer) jose.JSONWebKey {
	return jose.JSONWebKey{KeyID: kid, Key: k.Public()}
}

func newToken(t testing.TB, kid string, key crypto.Signer, age, life time.Duration) string {
	t.Helper()
	var p payload
	now := time.Now()
	p.Claims = jwt.Claims{
		Issuer: "k8s", Subject: "system:serviceaccount:shop:web", Audience: jwt.Audience{"fairlead"},
		Expiry: jwt.NewNumericDate(now.Add(life)), IssuedAt: jwt.NewNumericDate(now.Add(-age)),
	}
	p.Kubernetes.Namespace, p.Kubernetes.ServiceAccount = "shop", named{"web", "uid-sa"}
	p.Kubernetes.Pod, p.Kubernetes.Node = &named{"web-1", "uid-1"}, &named{"n1", "uid-n1"}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: kid}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p.serialize(t, s)
}

func newAuthn(t testing.TB, d ca.Directory, change func(*Config)) *Authn {
	t.Helper()
	cfg := Config{
		TrustDomain: spiffeid.RequireTrustDomainFromString("cluster.local"), Directory: d, Audiences: []string{"fairlead"},
		Roots: func(spiffeid.TrustDomain) []*x509.Certificate { return nil }, Log: slog.New(slog.DiscardHandler),
	}
	change(&cfg)
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func present(ctx context.Context, token string) context.Context {
	ctx = peer.NewContext(ctx, &peer.Peer{AuthInfo: credentials.TLSInfo{}})
	return metadata.NewIncomingContext(ctx, metadata.Pairs("authorization", "Bearer "+token))
}

// want authenticates and asserts the reason, "" for a caller.
func want(t testing.TB, a *Authn, token string, reason Reason, code codes.Code) {
	t.Helper()
	refusal(t, a, present(t.Context(), token), reason, code)
}

func TestReviewIsRememberedUntilTheTokenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := &apiServer{answer: believes, slow: 50 * time.Millisecond}
		a := newAuthn(t, &pods{uid: map[string]string{"web-1": "uid-1"}}, func(c *Config) { c.Review = api })
		token := newToken(t, "k1", newSigner(t), 0, time.Hour)
		var all sync.WaitGroup
		for range 100 { // at once, before anything is remembered
			all.Go(func() { want(t, a, token, "", 0) })
		}
		all.Wait()
		time.Sleep(59 * time.Minute)
		want(t, a, token, "", 0)
		if n := api.calls.Load(); n != 1 {
			t.Errorf("the API server was asked %d times; want once", n)
		}
		time.Sleep(2 * time.Minute)
		want(t, a, token, TokenExpired, codes.Unauthenticated)
	})
}

func TestReviewThatRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		answer func(*authentication.TokenReview) error
		reason Reason
		code   codes.Code
		asked  int32 // by two calls at once after another
	}{
		"refused":               {func(r *authentication.TokenReview) error { r.Status.Error = "no"; return nil }, TokenRefused, codes.Unauthenticated, 1},
		"for others":            {believesBut(func(r *authentication.TokenReview) { r.Status.Audiences = []string{"vault"} }), TokenAudience, codes.Unauthenticated, 1},
		"without a pod":         {believesBut(func(r *authentication.TokenReview) { r.Status.User.Extra = nil }), TokenUnbound, codes.Unauthenticated, 1},
		"another pod":           {believesBut(func(r *authentication.TokenReview) { r.Status.User.Extra[extraPodUID] = []string{"uid-2"} }), TokenRefused, codes.Unauthenticated, 1},
		"a pod of another name": {believesBut(func(r *authentication.TokenReview) { r.Status.User.Extra[extraPodName] = []string{"web-2"} }), TokenRefused, codes.Unauthenticated, 1},
		"two pods":              {believesBut(func(r *authentication.TokenReview) { r.Status.User.Extra[extraPodName] = []string{"web-1", "web-2"} }), TokenUnbound, codes.Unauthenticated, 1},
		"another node":          {believesBut(func(r *authentication.TokenReview) { r.Status.User.Extra[extraNodeName] = []string{"n2"} }), TokenRefused, codes.Unauthenticated, 1},
		"a former node":         {believesBut(func(r *authentication.TokenReview) { r.Status.User.Extra[extraNodeUID] = []string{"uid-n0"} }), TokenRefused, codes.Unauthenticated, 1},
		"another account":       {believesBut(func(r *authentication.TokenReview) { r.Status.User.Username = "system:serviceaccount:shop:bank" }), TokenRefused, codes.Unauthenticated, 1},
		"not to be asked":       {func(*authentication.TokenReview) error { return errors.New("connection refused") }, TokenUnverified, codes.Unavailable, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := &apiServer{answer: c.answer}
				a := newAuthn(t, &pods{uid: map[string]string{"web-1": "uid-1"}}, func(cfg *Config) { cfg.Review = api })
				token := newToken(t, "k1", newSigner(t), 0, time.Hour)
				want(t, a, token, c.reason, c.code)
				want(t, a, token, c.reason, c.code)
				if n := api.calls.Load(); n != c.asked {
					t.Errorf("asked %d times; want %d", n, c.asked)
				}
				time.Sleep(refusedFor + time.Second)
				api.answer = believes
				want(t, a, token, "", 0)
			})
		})
	}
}

func TestKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newSigner(t), newSigner(t)
		src := &source{keys: []jose.JSONWebKey{public("k1", first)}}
		api := &apiServer{answer: believes}
		a := newAuthn(t, &pods{uid: map[string]string{"web-1": "uid-1"}}, func(c *Config) { c.Review, c.Keys = api, src })
		fresh := func(kid string, key crypto.Signer) string {
			time.Sleep(time.Second) // another iat, so another token
			return newToken(t, kid, key, 0, 24*time.Hour)
		}
		want(t, a, fresh("k1", first), "", 0)
		want(t, a, fresh("k1", second), TokenSignature, codes.Unauthenticated)
		if src.reads != 1 || api.calls.Load() != 0 {
			t.Errorf("%d readings of keys, %d reviews; want 1 and none", src.reads, api.calls.Load())
		}
		// Whoever makes keys up has them read once in a while; the API server says what else is to be said.
		for range 5 {
			want(t, a, fresh("k2", second), "", 0)
		}
		if src.reads != 1 || api.calls.Load() != 5 {
			t.Errorf("%d readings of keys, %d reviews; want 1 and 5", src.reads, api.calls.Load())
		}
		time.Sleep(keysPause)
		src.set(nil, public("k1", first), public("k2", second))
		want(t, a, fresh("k2", second), "", 0)
		if src.reads != 2 || api.calls.Load() != 5 {
			t.Errorf("%d readings of keys, %d reviews; want 2 and 5", src.reads, api.calls.Load())
		}
		// An outage: keys that are known stay.
		src.set(errors.New("connection refused"))
		api.answer = func(*authentication.TokenReview) error { return errors.New("connection refused") }
		time.Sleep(time.Hour)
		want(t, a, fresh("k2", second), "", 0)
		want(t, a, fresh("k2", second), "", 0)
		// A key that was withdrawn is known no more after the next reading.
		src.set(nil, public("k1", first))
		time.Sleep(keysOld)
		want(t, a, fresh("k1", first), "", 0)
		synctest.Wait()
		want(t, a, fresh("k2", second), TokenUnverified, codes.Unavailable)
	})
}

// Of a set of keys those count that are public and have a name.
func TestKeysOfFile(t *testing.T) {
	good, private := newSigner(t), newSigner(t)
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{
		{Key: good.Public()}, {KeyID: "private", Key: private}, {KeyID: "secret", Key: []byte("0123456789abcdef0123456789abcdef")}, public("k1", good),
	}}
	write := func(set jose.JSONWebKeySet) string {
		raw, err := json.Marshal(set)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "jwks.json")
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	issuer, got, err := KeysOfFile(write(set), "k8s").Keys(t.Context())
	if err != nil || issuer != "k8s" || len(got.Keys) != 1 || got.Keys[0].KeyID != "k1" {
		t.Errorf("%q, %d keys, %v", issuer, len(got.Keys), err)
	}
	for name, path := range map[string]string{"none is good": write(jose.JSONWebKeySet{Keys: set.Keys[:3]}), "no file": filepath.Join(t.TempDir(), "none")} {
		if _, _, err := KeysOfFile(path, "k8s").Keys(t.Context()); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func TestPodThatIsNotKnownYet(t *testing.T) {
	key := newSigner(t)
	for name, c := range map[string]struct {
		age    time.Duration // of the token
		comes  time.Duration // after the call; 0 for never
		former string        // the UID that is known before
		waits  time.Duration // in all
		reason Reason
		code   codes.Code
	}{
		"comes":                       {0, time.Second, "", time.Second, "", 0},
		"comes instead of its name":   {0, time.Second, "uid-0", time.Second, "", 0},
		"never comes":                 {0, 0, "", podWait, PodUnknown, codes.Unavailable},
		"is too old to come":          {2 * time.Minute, 0, "", 0, PodUnknown, codes.Unauthenticated},
		"is another, and has been so": {2 * time.Minute, 0, "uid-0", 0, PodUID, codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &pods{uid: map[string]string{}}
				if c.former != "" {
					d.set("web-1", c.former)
				}
				a := newAuthn(t, d, func(cfg *Config) { cfg.Keys = &source{keys: []jose.JSONWebKey{public("k1", key)}} })
				if c.comes > 0 {
					time.AfterFunc(c.comes, func() { d.set("web-1", "uid-1") })
				}
				began := time.Now()
				want(t, a, newToken(t, "k1", key, c.age, time.Hour), c.reason, c.code)
				if waited := time.Since(began); waited < c.waits || waited > c.waits+2*podPoll {
					t.Errorf("waited %s; want %s", waited, c.waits)
				}
			})
		})
	}
}

func TestPlaintextIsRefused(t *testing.T) {
	a := newAuthn(t, &pods{}, func(*Config) {})
	for name, ctx := range map[string]context.Context{
		"no peer": t.Context(), "no TLS": peer.NewContext(t.Context(), &peer.Peer{}),
	} {
		if _, err := a.Authenticate(ctx); status.Code(err) != codes.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLRU(t *testing.T) {
	l := newLRU[int, string](3)
	for i := range 3 {
		l.put(i, fmt.Sprint(i))
	}
	l.get(0)
	l.put(3, "3")
	l.put(2, "two")
	if _, ok := l.get(1); ok || l.len() != 3 {
		t.Errorf("what was used longest ago is there; %d entries", l.len())
	}
	for k, v := range map[int]string{0: "0", 2: "two", 3: "3"} {
		if got, ok := l.get(k); !ok || got != v {
			t.Errorf("%d: %q, %v", k, got, ok)
		}
	}
}

func FuzzToken(f *testing.F) {
	key := newSigner(f)
	good := newToken(f, "k1", key, 0, time.Hour)
	f.Add(good)
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	f.Add("eyJhbGciOiJIUzI1NiIsImtpZCI6ImsxIn0.eyJrdWJlcm5ldGVzLmlvIjp7fX0.AAAA")
	f.Add(`{"payload":"e30","signatures":[]}`)
	a := newAuthn(f, &pods{uid: map[string]string{"web-1": "uid-1"}}, func(c *Config) { c.Keys = &source{keys: []jose.JSONWebKey{public("k1", key)}} })
	f.Fuzz(func(t *testing.T, token string) {
		c, err := a.Authenticate(present(t.Context(), token))
		var r *Refusal
		switch {
		case err == nil && token != good && !resigned(token, good):
			t.Fatalf("believed: %+v by %q", c, token)
		case err != nil && (!errors.As(err, &r) || r.Reason == ""):
			t.Fatalf("an error without a reason: %v", err)
		}
	})
}

// resigned tells whether a token is the good one but for what a signature of ECDSA or base64 leaves open at its end.
func resigned(token, good string) bool {
	cut := len(good) - 2
	return len(token) >= cut && token[:cut] == good[:cut]
}
