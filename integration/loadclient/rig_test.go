package loadclient

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ads is the config source of everything that a client follows.
var ads = &core.ConfigSource{ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}}}

// The resources of the tests. Text is content that changes.

func clusterOf(name, text string) *cluster.Cluster {
	return &cluster.Cluster{
		Name: name, AltStatName: text, ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_EDS},
		EdsClusterConfig: &cluster.Cluster_EdsClusterConfig{EdsConfig: ads},
	}
}

func endpointsOf(name, text string) *endpoint.ClusterLoadAssignment {
	return &endpoint.ClusterLoadAssignment{ClusterName: name, NamedEndpoints: map[string]*endpoint.Endpoint{text: {}}}
}

func secretOf(name, text string) *tls.Secret {
	return &tls.Secret{Name: name, Type: &tls.Secret_TlsCertificate{TlsCertificate: &tls.TlsCertificate{
		PrivateKey: &core.DataSource{Specifier: &core.DataSource_InlineString{InlineString: text}},
	}}}
}

func routesOf(name, text string, vhds bool) *route.RouteConfiguration {
	r := &route.RouteConfiguration{Name: name, InternalOnlyHeaders: []string{text}}
	if vhds {
		r.Vhds = &route.Vhds{ConfigSource: ads}
	}
	return r
}

func scopeOf(name, routes string) *route.ScopedRouteConfiguration {
	return &route.ScopedRouteConfiguration{Name: name, RouteConfigurationName: routes}
}

func hostOf(name, text string) *route.VirtualHost {
	return &route.VirtualHost{Name: name, Domains: []string{text}}
}

// listenerOf has an HTTP connection manager with the route table "rds", one with scoped routes, and a certificate by SDS.
func listenerOf(t testing.TB, name, rds, secret string) *listener.Listener {
	filter := func(h *hcm.HttpConnectionManager) *listener.Filter {
		return &listener.Filter{Name: "hcm", ConfigType: &listener.Filter_TypedConfig{TypedConfig: pack(t, h)}}
	}
	return &listener.Listener{
		Name: name,
		FilterChains: []*listener.FilterChain{{
			Filters: []*listener.Filter{filter(&hcm.HttpConnectionManager{RouteSpecifier: &hcm.HttpConnectionManager_Rds{
				Rds: &hcm.Rds{ConfigSource: ads, RouteConfigName: rds},
			}})},
			TransportSocket: &core.TransportSocket{Name: "tls", ConfigType: &core.TransportSocket_TypedConfig{
				TypedConfig: pack(t, &tls.DownstreamTlsContext{CommonTlsContext: &tls.CommonTlsContext{
					TlsCertificateSdsSecretConfigs: []*tls.SdsSecretConfig{{Name: secret, SdsConfig: ads}, {Name: "elsewhere"}},
				}}),
			}},
		}},
		DefaultFilterChain: &listener.FilterChain{
			Filters: []*listener.Filter{filter(&hcm.HttpConnectionManager{RouteSpecifier: &hcm.HttpConnectionManager_ScopedRoutes{
				ScopedRoutes: &hcm.ScopedRoutes{ConfigSpecifier: &hcm.ScopedRoutes_ScopedRds{ScopedRds: &hcm.ScopedRds{ScopedRdsConfigSource: ads}}},
			}})},
		},
	}
}

func pack(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// world is a little of everything that a client follows.
func world(t testing.TB) []proto.Message {
	return []proto.Message{
		clusterOf("c1", "1"), clusterOf("c2", "1"), endpointsOf("c1", "1"), endpointsOf("c2", "1"), endpointsOf("c3", "1"),
		listenerOf(t, "l1", "gateway", "s1"), secretOf("s1", "1"), secretOf("s2", "1"),
		routesOf("gateway", "1", true), routesOf("r1", "1", false), routesOf("unused", "1", false),
		scopeOf("1.2.3.4:80", "r1"), hostOf("gateway/h1", "1"),
	}
}

func nameOf(m proto.Message) string {
	if e, ok := m.(*endpoint.ClusterLoadAssignment); ok {
		return e.GetClusterName()
	}
	return m.(interface{ GetName() string }).GetName()
}

// served is a push server on a Unix socket.
type served struct {
	t       *testing.T
	src     *snapshot.Static
	push    *push.Server
	grpc    *grpc.Server
	address string
	seq     uint64
}

func serve(t *testing.T, first ...proto.Message) *served {
	t.Helper()
	s := &served{t: t, src: snapshot.NewStatic(), grpc: grpc.NewServer(push.ServerOptions()...)}
	s.push = push.New(push.Config{Source: s.src})
	s.push.Register(s.grpc)
	s.address = listen(t, s.grpc)
	s.update(first)
	return s
}

// listen serves on a Unix socket until the end of the test.
func listen(t *testing.T, s *grpc.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x")
	lis, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(lis) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return "unix:" + path
}

func (s *served) update(put []proto.Message, del ...snapshot.Key) {
	s.t.Helper()
	s.seq++
	var res []*snapshot.Resource
	for _, m := range put {
		r, err := snapshot.Encode(nameOf(m), m, s.seq, model.Ref{Kind: "Test", Namespace: "ns", Name: nameOf(m)})
		if err != nil {
			s.t.Fatal(err)
		}
		res = append(res, r)
	}
	s.src.Update(s.seq, res, del...)
}

// start runs a fleet that is complete, until the end of the test.
func start(t *testing.T, cfg Config) *Fleet {
	t.Helper()
	cfg.Backoff = time.Millisecond
	f, err := Start(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	if err := f.Complete(patience(t)); err != nil {
		t.Fatal(err)
	}
	return f
}

// patience is a context that ends when a test has waited too long.
func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// eventually polls until fn has no objection.
func eventually(t *testing.T, fn func() error) {
	t.Helper()
	ctx := patience(t)
	for {
		err := fn()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// same waits until every client of a fleet has what a fresh one gets.
func same(t *testing.T, f *Fleet, clients ...*Client) {
	t.Helper()
	cfg := f.cfg
	cfg.N, cfg.Behave, cfg.OnUpdate = 1, nil, nil
	cfg.Node = func(int) *core.Node { return EnvoyNode(1000) }
	fresh := start(t, cfg)
	if err := f.WaitEqual(patience(t), fresh.Clients()[0], nil, clients...); err != nil {
		t.Fatal(err)
	}
}

// fake is a server that does only what a test tells it.
type fake struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	delta func(discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error
	sotw  func(discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error
}

func (f fake) DeltaAggregatedResources(s discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return f.delta(s)
}

func (f fake) StreamAggregatedResources(s discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return f.sotw(s)
}

func serveFake(t *testing.T, f fake) string {
	t.Helper()
	s := grpc.NewServer()
	discovery.RegisterAggregatedDiscoveryServiceServer(s, f)
	return listen(t, s)
}

// script plays a delta server by hand, in a test's goroutine.
type script struct {
	t  *testing.T
	in chan *discovery.DeltaDiscoveryRequest
	// out sends; closing it ends the stream.
	out   chan *discovery.DeltaDiscoveryResponse
	nonce int
}

// play serves one stream after the other, each as the script says.
func play(t *testing.T) (*script, string) {
	t.Helper()
	s := &script{t: t, in: make(chan *discovery.DeltaDiscoveryRequest, 100), out: make(chan *discovery.DeltaDiscoveryResponse, 100)}
	return s, serveFake(t, fake{delta: func(st discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
		go func() {
			for req, err := st.Recv(); err == nil; req, err = st.Recv() {
				s.in <- req
			}
		}()
		for {
			select {
			case <-st.Context().Done():
				return nil
			case m := <-s.out:
				if m == nil {
					return nil // the client sees the end of its stream
				}
				if err := st.Send(m); err != nil {
					return err
				}
			}
		}
	}})
}

// want receives the next request.
func (s *script) want(typeURL string) *discovery.DeltaDiscoveryRequest {
	s.t.Helper()
	select {
	case r := <-s.in:
		if r.TypeUrl != typeURL {
			s.t.Fatalf("got a request of %v, want one for %s", r, typeURL)
		}
		return r
	case <-patience(s.t).Done():
		s.t.Fatalf("no request for %s", typeURL)
		return nil
	}
}

// send gives resources with a version, and returns the nonce.
func (s *script) send(typeURL, version string, ms ...proto.Message) string {
	s.nonce++
	m := &discovery.DeltaDiscoveryResponse{TypeUrl: typeURL, Nonce: fmt.Sprint(s.nonce)}
	for _, r := range ms {
		m.Resources = append(m.Resources, &discovery.Resource{Name: nameOf(r), Version: version, Resource: pack(s.t, r)})
	}
	s.out <- m
	return m.Nonce
}

// anyBroken is a cluster that cannot be decoded.
var anyBroken = anypb.Any{TypeUrl: "type.googleapis.com/envoy.config.cluster.v3.Cluster", Value: []byte{0x0a, 0x05, 'x'}}
