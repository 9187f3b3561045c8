package issue

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/test/bufconn"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	td    = spiffeid.RequireTrustDomainFromString("cluster.local")
	alias = spiffeid.RequireTrustDomainFromString("old.example")
	self  = spiffeid.RequireFromString("spiffe://cluster.local/ns/fairlead-system/sa/fairlead")
)

const (
	issuer = "https://kubernetes.default.svc"
	uidN1  = "11111111-aaaa"
	uidN2  = "22222222-aaaa"
)

// world is a Directory that a test writes.
type world struct {
	mu       sync.Mutex
	pods     map[string]ca.Pod
	nodes    map[string]string
	gateways map[string]bool
	dns      map[string][]string
}

func (w *world) Pod(namespace, name string) (ca.Pod, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.pods[namespace+"/"+name]
	return p, ok
}

func (w *world) RunsOn(node, namespace, account string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pods {
		if p.Node == node && p.Namespace == namespace && p.ServiceAccount == account {
			return true
		}
	}
	return false
}

func (w *world) Runs(namespace, account string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, p := range w.pods {
		if p.Node != "" && p.Namespace == namespace && p.ServiceAccount == account {
			return true
		}
	}
	return false
}

func (w *world) Node(name string) (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	uid, ok := w.nodes[name]
	return uid, ok
}

func (w *world) Gateway(node, namespace, name string) bool {
	return w.gateways[node+"/"+namespace+"/"+name]
}
func (w *world) DNSNames(namespace, name string) []string { return w.dns[namespace+"/"+name] }

func (w *world) add(p ca.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods[p.Namespace+"/"+p.Name] = p
}

func (w *world) remove(p ca.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.pods, p.Namespace+"/"+p.Name)
}

func pod(namespace, name, account, node string) ca.Pod {
	return ca.Pod{PodRef: ca.PodRef{Namespace: namespace, Name: name, UID: "uid-" + name, ServiceAccount: account}, Node: node}
}

var (
	web1   = pod("shop", "web-1", "web", "n1")
	web2   = pod("shop", "web-2", "web", "n2")
	bank2  = pod("shop", "bank-2", "bank", "n2")
	agent1 = pod("fairlead-system", "agent-1", "fairlead-node", "n1")
	agent2 = pod("fairlead-system", "agent-2", "fairlead-node", "n2")
)

func newWorld() *world {
	w := &world{
		pods:     map[string]ca.Pod{},
		nodes:    map[string]string{"n1": uidN1, "n2": uidN2},
		gateways: map[string]bool{"n1/shop/front": true},
		dns:      map[string][]string{"shop/web-1": {"web.shop.svc", "web.shop.svc.cluster.local"}},
	}
	for _, p := range []ca.Pod{web1, web2, bank2, agent1, agent2} {
		w.add(p)
	}
	return w
}

// rig is the service behind TLS, with an authority and a token issuer of its own.
type rig struct {
	testing.TB
	world     *world
	authority *authority.Authority
	service   *Service
	registry  *prometheus.Registry
	tokens    *ecdsa.PrivateKey
	log       *log
	dial      func(context.Context, string) (net.Conn, error)
}

// log keeps the audit records.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// take gives the audit records since the last time.
func (l *log) take(t testing.TB) (out []map[string]string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	d := json.NewDecoder(&l.b)
	for d.More() {
		var line struct{ Audit map[string]string }
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		if line.Audit != nil {
			out = append(out, line.Audit)
		}
	}
	l.b.Reset()
	return out
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{TB: t, world: newWorld(), registry: prometheus.NewRegistry(), tokens: newKey(t), log: &log{}}
	r.authority = authority.New(authority.Config{TrustDomain: td, Store: store.NewMemory()})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.authority.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-r.authority.Ready()
	logger := slog.New(slog.NewJSONHandler(r.log, nil))
	proof, err := authn.New(authn.Config{
		TrustDomain: td, Aliases: []spiffeid.TrustDomain{alias}, Server: self, Directory: r.world,
		Roots:      func(spiffeid.TrustDomain) []*x509.Certificate { return r.authority.State().Roots() },
		NodeAgents: []authn.ServiceAccount{{Namespace: "fairlead-system", Name: "fairlead-node"}},
		Audiences:  []string{"fairlead", "istio-ca"}, Keys: authn.KeysOfFile(r.jwks(), issuer), Log: logger, Registry: r.registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		TrustDomain: td, Aliases: []spiffeid.TrustDomain{alias}, Authority: r.authority, Authn: proof, Directory: r.world,
		Log: logger, Registry: r.registry,
	}
	if change != nil {
		change(&cfg)
	}
	if r.service, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	r.serve()
	return r
}

func (r *rig) serve() {
	lis := bufconn.Listen(1 << 20)
	cert, _ := r.svid(self, time.Hour)
	server := grpc.NewServer(grpc.MaxRecvMsgSize(MaxMessage), grpc.Creds(credentials.NewTLS(&tls.Config{
		// Whoever has a key may come in: the service is to know them by itself.
		Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert, MinVersion: tls.VersionTLS13,
	})))
	r.service.Register(server)
	done := make(chan error, 1)
	go func() { done <- server.Serve(lis) }()
	r.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // that of a test which ended before it served
			r.Error(err)
		}
	})
	r.dial = func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }
}

// jwks writes the public key of tokens, as a cluster publishes it.
func (r *rig) jwks() string {
	raw, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: r.tokens.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		r.Fatal(err)
	}
	path := filepath.Join(r.TempDir(), "jwks.json")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		r.Fatal(err)
	}
	return path
}

// svid is a certificate of the rig's authority.
func (r *rig) svid(id spiffeid.ID, ttl time.Duration) (tls.Certificate, *ecdsa.PrivateKey) {
	r.Helper()
	key := newKey(r)
	x, err := r.authority.SignX509(authority.X509Template{ID: id, PublicKey: key.Public(), TTL: ttl})
	if err != nil {
		r.Fatal(err)
	}
	return tls.Certificate{Certificate: x.Raw, PrivateKey: key}, key
}

// token is what a test changes before it is signed.
type token struct {
	jwt.Claims
	Kubernetes map[string]any `json:"kubernetes.io"`
	kid        string
	key        any
	alg        jose.SignatureAlgorithm
}

func (r *rig) claims(p ca.Pod) *token {
	now := time.Now()
	node, _ := r.world.Node(p.Node)
	return &token{
		Claims: jwt.Claims{
			Issuer: issuer, Subject: "system:serviceaccount:" + p.Namespace + ":" + p.ServiceAccount, Audience: jwt.Audience{"fairlead"},
			Expiry: jwt.NewNumericDate(now.Add(time.Hour)), NotBefore: jwt.NewNumericDate(now), IssuedAt: jwt.NewNumericDate(now.Add(-5 * time.Minute)),
		},
		Kubernetes: map[string]any{
			"namespace": p.Namespace, "pod": map[string]string{"name": p.Name, "uid": p.UID},
			"serviceaccount": map[string]string{"name": p.ServiceAccount, "uid": "uid-sa"}, "node": map[string]string{"name": p.Node, "uid": node},
		},
		kid: "k1", key: r.tokens, alg: jose.ES256,
	}
}

func (t *token) sign(tb testing.TB) string {
	tb.Helper()
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: t.alg, Key: jose.JSONWebKey{Key: t.key, KeyID: t.kid}}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	text, err := jwt.Signed(s).Claims(t).Serialize()
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// bearer is a context with the token of a pod.
func (r *rig) bearer(p ca.Pod) context.Context { return withToken(r.claims(p).sign(r)) }

func withToken(text string) context.Context {
	return metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+text)
}

// conn is a connection, with a certificate or without.
func (r *rig) conn(certs ...tls.Certificate) *grpc.ClientConn {
	r.Helper()
	c, err := grpc.NewClient("passthrough:ca", grpc.WithContextDialer(r.dial), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		Certificates: certs, InsecureSkipVerify: true, MinVersion: tls.VersionTLS13, // the server is not what is tested
	})))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = c.Close() })
	return c
}

func (r *rig) client(certs ...tls.Certificate) cav1.CertificateAuthorityClient {
	r.Helper()
	return cav1.NewCertificateAuthorityClient(r.conn(certs...))
}

func request(t testing.TB, template *x509.CertificateRequest, key crypto.Signer) []byte {
	t.Helper()
	if template == nil {
		template = &x509.CertificateRequest{}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func forPod(p ca.Pod) *cav1.Subject {
	return &cav1.Subject{Of: &cav1.Subject_Pod{Pod: &cav1.Pod{Namespace: p.Namespace, Name: p.Name, Uid: p.UID, ServiceAccount: p.ServiceAccount}}}
}

func forGateway(namespace, name string) *cav1.Subject {
	return &cav1.Subject{Of: &cav1.Subject_Gateway{Gateway: &cav1.Gateway{Namespace: namespace, Name: name}}}
}

// one asks for one certificate.
func one(t testing.TB, s *cav1.Subject) *cav1.X509Request {
	t.Helper()
	return &cav1.X509Request{Csr: request(t, nil, newKey(t)), Subject: s}
}

func batch(list ...*cav1.X509Request) *cav1.SignX509Request {
	return &cav1.SignX509Request{Certificates: list}
}

// verify parses a chain, verifies it against the authority, and gives the leaf.
func (r *rig) verify(raw [][]byte) *x509.Certificate {
	r.Helper()
	leaf, err := x509.ParseCertificate(raw[0])
	if err != nil {
		r.Fatal(err)
	}
	roots := x509.NewCertPool()
	for _, c := range r.authority.State().Roots() {
		roots.AddCert(c)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}}); err != nil {
		r.Fatal(err)
	}
	if slices.ContainsFunc(leaf.IPAddresses, func(net.IP) bool { return true }) || len(leaf.EmailAddresses) > 0 || len(leaf.URIs) != 1 {
		r.Errorf("the certificate has names %v %v %v", leaf.IPAddresses, leaf.EmailAddresses, leaf.URIs)
	}
	return leaf
}
