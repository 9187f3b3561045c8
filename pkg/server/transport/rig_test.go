package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	barrierv1 "fairlead.io/fairlead/api/barrier/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var td = spiffeid.RequireTrustDomainFromString("cluster.local")

// cluster is a directory that a test writes.
type cluster struct {
	mu    sync.Mutex
	nodes map[string]string
	moved chan struct{}
}

func (c *cluster) Pod(string, string) (ca.Pod, bool)   { return ca.Pod{}, false }
func (c *cluster) RunsOn(string, string, string) bool  { return false }
func (c *cluster) Runs(_, account string) bool         { return account != "gone" }
func (c *cluster) Gateway(string, string, string) bool { return false }
func (c *cluster) DNSNames(string, string) []string    { return nil }
func (c *cluster) Node(name string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	uid, ok := c.nodes[name]
	return uid, ok
}

func (c *cluster) set(name, uid string) {
	c.mu.Lock()
	if uid == "" {
		delete(c.nodes, name)
	} else {
		c.nodes[name] = uid
	}
	c.mu.Unlock()
	c.moved <- struct{}{}
}

// rig is a TLS port with xDS behind it.
type rig struct {
	*testing.T
	authority *authority.Authority
	cluster   *cluster
	transport *Transport
	address   string
	src       *snapshot.Static
}

func newAuthority(t *testing.T, domain spiffeid.TrustDomain, now func() time.Time) *authority.Authority {
	t.Helper()
	a := authority.New(authority.Config{TrustDomain: domain, Store: store.NewMemory(), Now: now})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	<-a.Ready()
	return a
}

func newRig(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{T: t, cluster: &cluster{nodes: map[string]string{"a": "uid-a", "b": "uid-b"}, moved: make(chan struct{})}, src: snapshot.NewStatic()}
	r.authority = newAuthority(t, td, nil)
	server := spiffeid.RequireFromSegments(td, "ns", "fairlead-system", "sa", "fairlead")
	proof, err := authn.New(authn.Config{
		TrustDomain: td, Server: server, Directory: r.cluster,
		Roots: func(spiffeid.TrustDomain) []*x509.Certificate { return r.authority.State().Roots() },
	})
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		TrustDomain: td, Server: server, DNS: []string{"fairlead.fairlead-system.svc"}, Authority: r.authority, Authn: proof,
		Directory: r.cluster, Registry: prometheus.NewRegistry(),
	}
	if change != nil {
		change(&cfg)
	}
	if r.transport, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	p := push.New(push.Config{Source: r.src, Admit: r.transport.Admit, Allow: r.transport.Allow})
	g := grpc.NewServer(append(push.ServerOptions(), r.transport.ServerOptions()...)...)
	p.Register(g)
	barrierv1.RegisterBarrierServer(g, barrierv1.UnimplementedBarrierServer{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.address = lis.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { r.transport.Run(ctx, r.cluster.moved) })
	wg.Go(func() { _ = g.Serve(r.transport.Listener(lis)) })
	t.Cleanup(func() { p.Drain(); g.Stop(); cancel(); wg.Wait() })
	r.src.Update(1, nil)
	r.eventually("a certificate", func() bool { return r.transport.identity.current.Load() != nil })
	return r
}

func (r *rig) eventually(what string, fn func() bool) {
	r.Helper()
	for end := time.Now().Add(20 * time.Second); !fn(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("no %s within 20 s", what)
		}
	}
}

// failures counts handshakes that failed for a reason.
func (r *rig) failures(why refusal) float64 {
	return testutil.ToFloat64(r.transport.metrics.failures.WithLabelValues(string(why)))
}

// svid has an identity signed.
func svid(t *testing.T, a *authority.Authority, id string, ttl time.Duration) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	out, err := a.SignX509(authority.X509Template{ID: spiffeid.RequireFromString(id), PublicKey: &key.PublicKey, TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: out.Raw, PrivateKey: key, Leaf: out.Chain[0]}
}

// past is the certificate of an identity that ended yesterday.
func past(t *testing.T, s authority.State, id string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	g, _ := s.Generation(s.Signing)
	u := spiffeid.RequireFromString(id).URL()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(7), NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour), URIs: []*url.URL{u},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, g.Issuer, &key.PublicKey, g.Key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func nodeID(name string) string { return "spiffe://cluster.local/node/" + name + "/uid-" + name }

// client is a TLS configuration that trusts the server by its root.
func (r *rig) client(cert *tls.Certificate) *tls.Config {
	c := &tls.Config{RootCAs: pool(r.authority.State()), ServerName: "fairlead.fairlead-system.svc", NextProtos: []string{"h2"}}
	if cert != nil {
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert, nil }
	}
	return c
}

type ads = discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient

// open begins a stream.
func (r *rig) open(c *tls.Config) ads {
	r.Helper()
	conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	r.Cleanup(cancel)
	s, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return ended{err: err} // a connection that is refused is noticed here or at the first response
	}
	return s
}

// ended is a stream that did not begin.
type ended struct {
	ads
	err error
}

func (e ended) Send(*discovery.DeltaDiscoveryRequest) error      { return e.err }
func (e ended) Recv() (*discovery.DeltaDiscoveryResponse, error) { return nil, e.err }

const (
	clusters = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	secrets  = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// ask subscribes to a type as a node, and gives the first response.
func ask(s ads, typeURL, node, agent string) (*discovery.DeltaDiscoveryResponse, error) {
	_ = s.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURL, Node: &core.Node{Id: node, UserAgentName: agent}})
	return s.Recv()
}
