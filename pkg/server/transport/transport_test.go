package transport

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	barrierv1 "fairlead.io/fairlead/api/barrier/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/snapshot"
)

func TestNodeIsServedAsTheNodeOfItsCredential(t *testing.T) {
	r := newRig(t, nil)
	cert := svid(t, r.authority, nodeID("a"), time.Hour)
	if _, err := ask(r.open(r.client(cert)), clusters, "a", "envoy"); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"b", "A", "a ", "uid-a", "prod/web/a"} {
		_, err := ask(r.open(r.client(cert)), clusters, other, "envoy")
		if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), `credential is that of node "a"`) {
			t.Errorf("as %q: %v", other, err)
		}
	}
}

// Whoever is not of us does not get beyond the handshake, or beyond the call.
func TestStrangersAreRefused(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Aliases = []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("old.local")}
	})
	other := spiffeid.RequireTrustDomainFromString("other.example")
	for _, c := range []struct {
		name string
		cert *tls.Certificate
		why  refusal // none: the handshake succeeds and the call fails
		code codes.Code
	}{
		{"nobody", nil, "", codes.Unauthenticated},
		{"another root", svid(t, newAuthority(t, td, nil), nodeID("a"), time.Hour), untrusted, codes.Unavailable},
		{"another trust domain", svid(t, newAuthority(t, other, nil), "spiffe://other.example/node/a/uid-a", time.Hour), domain, codes.Unavailable},
		{"expired", past(t, r.authority.State(), nodeID("a")), expired, codes.Unavailable},
		{"a node that is not there", svid(t, r.authority, nodeID("c"), time.Hour), "", codes.Unauthenticated},
		{"a node of another UID", svid(t, r.authority, "spiffe://cluster.local/node/a/uid-before", time.Hour), "", codes.Unauthenticated},
		{"a path that is neither", svid(t, r.authority, "spiffe://cluster.local/root", time.Hour), "", codes.Unauthenticated},
		{"a replica asks for xDS", svid(t, r.authority, "spiffe://cluster.local/ns/fairlead-system/sa/fairlead", time.Hour), "", codes.PermissionDenied},
	} {
		t.Run(c.name, func(t *testing.T) {
			was := 0.0
			if c.why != "" {
				was = r.failures(c.why)
			}
			_, err := ask(r.open(r.client(c.cert)), clusters, "a", "envoy")
			if status.Code(err) != c.code {
				t.Errorf("stream ended with %v, want %s", err, c.code)
			}
			if c.why != "" {
				r.eventually("handshake failure: "+string(c.why), func() bool { return r.failures(c.why) > was })
			}
		})
	}
}

func TestOtherProtocolsAreRefused(t *testing.T) {
	r := newRig(t, nil)
	conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	err = conn.Invoke(t.Context(), "/x/y", &barrierv1.FollowRequest{}, &barrierv1.FollowRequest{})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("plaintext: %v", err)
	}
	r.eventually("plaintext counted", func() bool { return r.failures(plaintext) > 0 })
	old := r.client(svid(t, r.authority, nodeID("a"), time.Hour))
	old.MaxVersion = tls.VersionTLS12
	if c, err := tls.Dial("tcp", r.address, old); err == nil {
		_ = c.Close()
		t.Error("TLS 1.2 is let in")
	}
	r.eventually("old version counted", func() bool { return r.failures(version) > 0 })
}

func TestWorkloadIsAGRPCClientAndNothingElse(t *testing.T) {
	r := newRig(t, nil)
	cert := svid(t, r.authority, "spiffe://cluster.local/ns/prod/sa/web", time.Hour)
	if _, err := ask(r.open(r.client(cert)), clusters, "b", "gRPC Go"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ typeURL, agent string }{
		{clusters, "envoy"},
		{clusters, "fairlead-node"},
		{secrets, "gRPC Go"},
		{"type.googleapis.com/fairlead.node.v1.Workload", "gRPC Go"},
		{"type.googleapis.com/fairlead.node.v1.TrustBundle", "gRPC Go"},
		{"type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration", "gRPC Go"},
	} {
		if _, err := ask(r.open(r.client(cert)), c.typeURL, "b", c.agent); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s asks for %s: %v", c.agent, c.typeURL, err)
		}
	}
	ctx := authn.With(t.Context(), &ca.Caller{Kind: ca.Workload, Method: ca.MTLS, ID: spiffeid.RequireFromString("spiffe://cluster.local/ns/prod/sa/web")})
	n, err := r.transport.Admit(ctx, snapshot.Node{ID: "b", Agent: "gRPC Go", Namespace: "kube-system"})
	if err != nil || n.ID != "prod/web/b" || n.Namespace != "prod" {
		t.Errorf("admitted as %+v, %v", n, err)
	}
}

func TestOnlyReplicasReachTheBarrier(t *testing.T) {
	r := newRig(t, nil)
	for id, want := range map[string]codes.Code{
		nodeID("a"): codes.PermissionDenied, "spiffe://cluster.local/ns/prod/sa/web": codes.PermissionDenied, "": codes.Unauthenticated,
		"spiffe://cluster.local/ns/fairlead-system/sa/fairlead": codes.Unimplemented, // let through: the rig's barrier does nothing
	} {
		var cert *tls.Certificate
		if id != "" {
			cert = svid(t, r.authority, id, time.Hour)
		}
		conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(credentials.NewTLS(r.client(cert))))
		if err != nil {
			t.Fatal(err)
		}
		s, err := barrierv1.NewBarrierClient(conn).Follow(t.Context(), &barrierv1.FollowRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		if status.Code(err) != want {
			t.Errorf("%q: %v, want %s", id, err, want)
		}
		_ = conn.Close()
	}
}

// Replicas know one another by the identity of the control plane alone.
func TestCredentialsReachReplicasOnly(t *testing.T) {
	r, foreign := newRig(t, nil), newRig(t, nil)
	for address, want := range map[string]codes.Code{r.address: codes.Unimplemented, foreign.address: codes.Unavailable} {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(r.transport.Credentials()))
		if err != nil {
			t.Fatal(err)
		}
		s, err := barrierv1.NewBarrierClient(conn).Follow(t.Context(), &barrierv1.FollowRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		if status.Code(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
		_ = conn.Close()
	}
}

func TestStreamEndsWithItsCredential(t *testing.T) {
	r := newRig(t, nil)
	s := r.open(r.client(svid(t, r.authority, nodeID("a"), 2*time.Second)))
	if _, err := ask(s, clusters, "a", "envoy"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "renewed") {
		t.Errorf("stream ended with %v", err)
	}
}

// A client that keeps its connection comes again with another certificate.
func TestConnectionEndsWithItsCertificate(t *testing.T) {
	r := newRig(t, nil)
	current := svid(t, r.authority, nodeID("a"), 2*time.Second)
	c := r.client(nil)
	var mu sync.Mutex
	shown := 0
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		mu.Lock()
		defer mu.Unlock()
		shown++
		return current, nil
	}
	conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(credentials.NewTLS(c)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	stream := func() ads {
		s, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(t.Context(), grpc.WaitForReady(true))
		if err != nil {
			return ended{err: err}
		}
		return s
	}
	s := stream()
	if _, err := ask(s, clusters, "a", "envoy"); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	current = svid(t, r.authority, nodeID("a"), time.Hour)
	mu.Unlock()
	if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("stream ended with %v", err)
	}
	r.eventually("the client has come again", func() bool { _, err := ask(stream(), clusters, "a", "envoy"); return err == nil })
	mu.Lock()
	defer mu.Unlock()
	if shown != 2 {
		t.Errorf("%d certificates were shown, want 2", shown)
	}
}

func TestStreamEndsWithItsNode(t *testing.T) {
	for name, uid := range map[string]string{"deleted": "", "made anew": "uid-after"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nil)
			gone, stays := r.open(r.client(svid(t, r.authority, nodeID("a"), time.Hour))), r.open(r.client(svid(t, r.authority, nodeID("b"), time.Hour)))
			for s, node := range map[ads]string{gone: "a", stays: "b"} {
				if _, err := ask(s, clusters, node, "envoy"); err != nil {
					t.Fatal(err)
				}
			}
			r.cluster.set("a", uid)
			if _, err := gone.Recv(); status.Code(err) != codes.Unavailable {
				t.Errorf("stream ended with %v", err)
			}
			if _, err := ask(r.open(r.client(svid(t, r.authority, nodeID("a"), time.Hour))), clusters, "a", "envoy"); status.Code(err) != codes.Unauthenticated {
				t.Errorf("let in again: %v", err)
			}
			if n := len(r.streams()); n != 1 {
				t.Errorf("%d streams left, want that of b", n)
			}
		})
	}
}

func (r *rig) streams() []*session {
	r.transport.sessions.mu.Lock()
	defer r.transport.sessions.mu.Unlock()
	var out []*session
	for s := range r.transport.sessions.open {
		out = append(out, s)
	}
	return out
}

// The port's certificate follows the authority that signs, and a stream ends with the root of its certificate.
func TestRotation(t *testing.T) {
	r := newRig(t, nil)
	first := r.authority.State().Signing
	s := r.open(r.client(svid(t, r.authority, nodeID("a"), time.Hour)))
	if _, err := ask(s, clusters, "a", "envoy"); err != nil {
		t.Fatal(err)
	}
	g, err := authority.Generate(td, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	change := func(fn func(authority.State) (authority.State, error)) {
		t.Helper()
		if _, err := r.authority.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	change(func(s authority.State) (authority.State, error) { return authority.Add(s, g) })
	change(func(s authority.State) (authority.State, error) { s.Signing = g.ID; return s, nil })
	r.eventually("a certificate of the new authority", func() bool { return r.transport.identity.current.Load().signing == g.ID })
	chain := served(t, r)
	if root := chain[len(chain)-1]; !root.Equal(g.Roots[0]) {
		t.Error("the chain that is served does not end with the root")
	}
	if n := len(r.streams()); n != 1 {
		t.Fatalf("%d streams while both are trusted", n)
	}
	change(func(s authority.State) (authority.State, error) {
		s.Generations = slices.DeleteFunc(slices.Clone(s.Generations), func(g authority.Generation) bool { return g.ID == first })
		return s, nil
	})
	if _, err := s.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("stream of a root that is gone ended with %v", err)
	}
}

// served is the chain that the port shows.
func served(t *testing.T, r *rig) []*x509.Certificate {
	t.Helper()
	c, err := tls.Dial("tcp", r.address, r.client(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates
}

func TestServedCertificate(t *testing.T) {
	r := newRig(t, nil)
	leaf := served(t, r)[0]
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://cluster.local/ns/fairlead-system/sa/fairlead" || len(leaf.IPAddresses) != 0 {
		t.Errorf("served to be %v %v", leaf.URIs, leaf.IPAddresses)
	}
	if len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != "fairlead.fairlead-system.svc" {
		t.Errorf("served as %v", leaf.DNSNames)
	}
}

// Connections that never say who they are do not keep others out, and go.
func TestHandshakeFlood(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Strangers = 8 })
	var flood []net.Conn
	for range 200 {
		c, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		flood = append(flood, c)
	}
	defer func() {
		for _, c := range flood {
			_ = c.Close()
		}
	}()
	anonymous, err := tls.Dial("tcp", r.address, r.client(nil)) // shaken, and still nobody
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = anonymous.Close() }()
	r.eventually("the flood is closed", func() bool { return r.failures(crowded) >= 190 })
	s := r.open(r.client(svid(t, r.authority, nodeID("a"), time.Hour)))
	if _, err := ask(s, clusters, "a", "envoy"); err != nil {
		t.Fatalf("in a flood: %v", err)
	}
	for range 50 {
		c, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		flood = append(flood, c)
	}
	r.eventually("the second flood is closed", func() bool { return r.failures(crowded) >= 240 })
	if n := testutil.ToFloat64(r.transport.metrics.strangers); n > 8 {
		t.Errorf("%g strangers are kept, want 8 at most", n)
	}
	_ = anonymous.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, anonymous); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("a connection without a caller outlived the flood")
	}
	if n := len(r.streams()); n != 1 {
		t.Errorf("%d streams, want the one that was there", n)
	}
}

func TestSilenceIsClosed(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Handshake = 50 * time.Millisecond })
	c, err := net.Dial("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("read %v", err)
	}
	r.eventually("timeout counted", func() bool { return r.failures(timeout) == 1 })
}

func TestStreamsOfANodeAreBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Streams = 2 })
	cert := svid(t, r.authority, nodeID("a"), time.Hour)
	for range 2 {
		if _, err := ask(r.open(r.client(cert)), clusters, "a", "envoy"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ask(r.open(r.client(cert)), clusters, "a", "envoy"); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a third stream: %v", err)
	}
	if _, err := ask(r.open(r.client(svid(t, r.authority, nodeID("b"), time.Hour))), clusters, "b", "envoy"); err != nil {
		t.Errorf("another node: %v", err)
	}
}

// What is larger than a message may be is refused, and of nobody not even read.
func TestOversizedMessages(t *testing.T) {
	r := newRig(t, nil)
	huge := strings.Repeat("x", 17<<20)
	_, err := ask(r.open(r.client(svid(t, r.authority, nodeID("a"), time.Hour))), clusters, huge, "envoy")
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("17 MiB: %v", err)
	}
	if _, err := ask(r.open(r.client(nil)), clusters, huge, "envoy"); status.Code(err) != codes.Unauthenticated {
		t.Errorf("17 MiB of nobody: %v", err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "x", strings.Repeat("x", 100<<10))
	conn, err := grpc.NewClient(r.address, grpc.WithTransportCredentials(credentials.NewTLS(r.client(nil))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.Invoke(ctx, "/x/y", &barrierv1.FollowRequest{}, &barrierv1.FollowRequest{}); err == nil || status.Code(err) == codes.OK {
		t.Errorf("100 KiB of headers: %v", err)
	}
}

// A unary method that was made a stream is the same to its client, and the caller is known before the message is read.
func TestServicesAreUnaryToTheirClients(t *testing.T) {
	var got any
	desc := &grpc.ServiceDesc{ServiceName: "test.Echo", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "Echo", Handler: func(_ any, _ context.Context, dec func(any) error, before grpc.UnaryServerInterceptor) (any, error) {
			if before != nil { // as generated code does
				return before(t.Context(), nil, &grpc.UnaryServerInfo{FullMethod: "/test.Past/Echo"}, nil)
			}
			in := &barrierv1.FollowRequest{}
			if err := dec(in); err != nil {
				return nil, err
			}
			got = in
			return in, nil
		},
	}}}
	order := ""
	g := grpc.NewServer(grpc.ChainUnaryInterceptor(unguarded), grpc.ChainStreamInterceptor(func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, h grpc.StreamHandler) error {
		if got == nil {
			order += "caller"
		}
		return h(srv, ss)
	}))
	(&Transport{}).Services(g).RegisterService(desc, struct{}{})
	past := *desc
	past.ServiceName = "test.Past"
	g.RegisterService(&past, struct{}{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = g.Serve(lis) }()
	defer func() { g.Stop(); <-done }()
	conn, err := grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	in, out := &barrierv1.FollowRequest{}, &barrierv1.FollowRequest{}
	if err := conn.Invoke(t.Context(), "/test.Echo/Echo", in, out); err != nil {
		t.Fatal(err)
	}
	if order != "caller" || !proto.Equal(in, out) {
		t.Errorf("order %q, answer %v", order, out)
	}
	if err := conn.Invoke(t.Context(), "/test.Past/Echo", in, out); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a service that was registered past the transport: %v", err)
	}
}
