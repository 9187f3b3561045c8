package integration_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	secretv3 "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/ca/authn"
	caauthority "fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/source/files"
	"fairlead.io/fairlead/pkg/source/schema"
)

const serverIdentity = "spiffe://cluster.local/ns/fairlead-system/sa/fairlead"

// tlsServer is a whole server with an authority, and one of the test's own that signs by the same keys.
type tlsServer struct {
	*testing.T
	*server.Server
	authority *caauthority.Authority
}

func newTLSServer(t *testing.T) *tlsServer {
	t.Helper()
	dir := t.TempDir()
	manifests := "apiVersion: v1\nkind: Node\nmetadata: {name: node-a, uid: uid-a}\n---\napiVersion: v1\nkind: Node\nmetadata: {name: node-b, uid: uid-b}\n"
	if err := os.WriteFile(filepath.Join(dir, "nodes.yaml"), []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	keys := store.NewMemory()
	cfg := resolve.DefaultConfig()
	srv, err := server.New(server.Config{
		Mesh: cfg, Source: files.New(files.Config{Dir: dir, Schemas: schema.New(), Log: slog.New(slog.DiscardHandler)}),
		Admin: "127.0.0.1:0", Version: "test", Drain: time.Second,
		Identity: &server.Identity{
			Address: "127.0.0.1:0", Store: keys, DNS: []string{"localhost"},
			Account: authn.ServiceAccount{Namespace: "fairlead-system", Name: "fairlead"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := &tlsServer{T: t, Server: srv}
	s.authority = caauthority.New(caauthority.Config{TrustDomain: spiffeid.RequireTrustDomainFromString(cfg.TrustDomain), Store: keys})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- srv.Run(ctx) }()
	go func() { done <- s.authority.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	<-s.authority.Ready()
	return s
}

// metric is the value of a line of the server's metrics; 0 where there is none.
func (s *tlsServer) metric(line string) float64 {
	s.Helper()
	text, err := admin.NewClient(s.Admin()).Raw(s.Context(), "/metrics")
	if err != nil {
		s.Fatal(err)
	}
	var v float64
	if m := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(line) + ` (.+)$`).FindSubmatch(text); m != nil {
		_, _ = fmt.Sscan(string(m[1]), &v)
	}
	return v
}

// node tells whether the server has a client of that name, and since when.
func (s *tlsServer) node(name string) (time.Time, bool) {
	for _, c := range s.Push().Clients() {
		if c.Node.ID == name {
			return c.Connected, true
		}
	}
	return time.Time{}, false
}

func (s *tlsServer) until(what string, fn func() bool) {
	s.Helper()
	for end := time.Now().Add(40 * time.Second); !fn(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			s.Fatalf("not within 40 s: %s", what)
		}
	}
}

// agentSocket stands for the agent of a node: it serves its secrets by SDS.
type agentSocket struct {
	secretv3.UnimplementedSecretDiscoveryServiceServer
	push   *push.Server
	src    *snapshot.Static
	socket string
	at     uint64
}

// DeltaSecrets implements the Secret Discovery Service.
func (a *agentSocket) DeltaSecrets(s secretv3.SecretDiscoveryService_DeltaSecretsServer) error {
	return a.push.DeltaAggregatedResources(s)
}

func newAgentSocket(t *testing.T) *agentSocket {
	t.Helper()
	a := &agentSocket{src: snapshot.NewStatic(), socket: filepath.Join(t.TempDir(), "sds")}
	a.push = push.New(push.Config{Source: a.src})
	g := grpc.NewServer(push.ServerOptions()...)
	secretv3.RegisterSecretDiscoveryServiceServer(g, a)
	lis, err := net.Listen("unix", a.socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(lis) }()
	t.Cleanup(func() { a.push.Drain(); g.Stop(); <-done })
	return a
}

func pemOf(t *testing.T, kind string, list ...[]byte) *corev3.DataSource {
	t.Helper()
	var b bytes.Buffer
	for _, der := range list {
		if err := pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}); err != nil {
			t.Fatal(err)
		}
	}
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b.Bytes()}}
}

// hold gives the node an SVID by the authority, and its roots.
func (a *agentSocket) hold(t *testing.T, by *caauthority.Authority, id string, ttl time.Duration) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	svid, err := by.SignX509(caauthority.X509Template{ID: spiffeid.RequireFromString(id), PublicKey: &key.PublicKey, TTL: ttl})
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var roots [][]byte
	for _, r := range by.State().Roots() {
		roots = append(roots, r.Raw)
	}
	validator, err := anypb.New(&tlsv3.SPIFFECertValidatorConfig{TrustDomains: []*tlsv3.SPIFFECertValidatorConfig_TrustDomain{{
		Name: "cluster.local", TrustBundle: pemOf(t, "CERTIFICATE", roots...),
	}}})
	if err != nil {
		t.Fatal(err)
	}
	a.at++
	var list []*snapshot.Resource
	for name, m := range map[string]proto.Message{
		bootstrap.NodeSecret: &tlsv3.Secret{Name: bootstrap.NodeSecret, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: pemOf(t, "CERTIFICATE", svid.Raw...), PrivateKey: pemOf(t, "PRIVATE KEY", private),
		}}},
		bootstrap.BundlesSecret: &tlsv3.Secret{Name: bootstrap.BundlesSecret, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			CustomValidatorConfig: &corev3.TypedExtensionConfig{Name: "envoy.tls.cert_validator.spiffe", TypedConfig: validator},
		}}},
	} {
		r, err := snapshot.Encode(name, m, a.at)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	a.src.Update(a.at, list)
}

func (s *tlsServer) envoy(a *agentSocket, node, address, serverID string) *envoy.Envoy {
	s.Helper()
	return envoy.Start(s, envoy.Options{Config: bootstrap.Config{
		NodeID: node, TLS: &bootstrap.TLS{Address: address, SDS: "unix:" + a.socket, ServerID: serverID},
	}})
}

// A real Envoy connects by mTLS with the identity of its node, by an address and by a name, and is served; when its SVID ends
// it comes again with the next one.
func TestEnvoyConnectsWithTheIdentityOfItsNode(t *testing.T) {
	s := newTLSServer(t)
	a, b := newAgentSocket(t), newAgentSocket(t)
	b.hold(t, s.authority, "spiffe://cluster.local/node/node-b/uid-b", time.Hour)
	_, port, err := net.SplitHostPort(s.TLS())
	if err != nil {
		t.Fatal(err)
	}
	first := s.envoy(a, "node-a", s.TLS(), serverIdentity)
	second := s.envoy(b, "node-b", "localhost:"+port, serverIdentity)
	a.hold(t, s.authority, "spiffe://cluster.local/node/node-a/uid-a", 8*time.Second) // after its Envoy has begun
	for node, e := range map[string]*envoy.Envoy{"node-a": first, "node-b": second} {
		s.until(node+" is served", func() bool {
			_, ok := s.node(node)
			stats, err := e.Stats("cluster_manager.cds.update_success|listener_manager.lds.update_success")
			return ok && err == nil && stats["cluster_manager.cds.update_success"] > 0 && stats["listener_manager.lds.update_success"] > 0
		})
	}
	was, _ := s.node("node-a")
	a.hold(t, s.authority, "spiffe://cluster.local/node/node-a/uid-a", time.Hour)
	s.until("node-a has come with its next SVID", func() bool {
		now, ok := s.node("node-a")
		return ok && now.After(was)
	})
	if n := s.metric(`fairlead_tls_streams_ended_total{reason="expires"}`); n == 0 {
		t.Error("the stream did not end with its credential")
	}
	if rejected, names, err := first.UpdateRejected(); err != nil || rejected > 0 {
		t.Errorf("Envoy rejected %d updates %v: %v", rejected, names, err)
	}
}

func TestEnvoyIsRefused(t *testing.T) {
	s := newTLSServer(t)
	a := newAgentSocket(t)
	a.hold(t, s.authority, "spiffe://cluster.local/node/node-a/uid-a", time.Hour)
	s.envoy(a, "node-b", s.TLS(), serverIdentity)
	s.until("an Envoy that says it is another node is refused", func() bool {
		return s.metric(`fairlead_tls_calls_denied_total{reason="node"}`) > 0
	})
	// An Envoy refuses a server that is not the one it looks for.
	imposter := s.envoy(a, "node-a", s.TLS(), strings.TrimSuffix(serverIdentity, "fairlead")+"imposter")
	s.until("an Envoy refuses another server", func() bool {
		stats, err := imposter.Stats("cluster." + bootstrap.XDSCluster + ".ssl.fail_verify_san")
		return err == nil && stats["cluster."+bootstrap.XDSCluster+".ssl.fail_verify_san"] > 0
	})
	for _, node := range []string{"node-a", "node-b"} {
		if _, ok := s.node(node); ok {
			t.Errorf("%s is served", node)
		}
	}
	s.until("the handshakes that the Envoy broke off are counted", func() bool {
		return s.metric(`fairlead_tls_handshake_failures_total{reason="alert"}`)+s.metric(`fairlead_tls_handshake_failures_total{reason="abandoned"}`) > 0
	})
}
