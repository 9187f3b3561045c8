package push

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// res makes a resource of a type; text is its content, so that another text is another hash.
func res(t testing.TB, typeURL, name, text string, pos uint64) *snapshot.Resource {
	t.Helper()
	var m proto.Message
	switch typeURL {
	case clusterType:
		m = &cluster.Cluster{Name: name, AltStatName: text}
	case endpointType:
		m = &endpoint.ClusterLoadAssignment{ClusterName: name, NamedEndpoints: map[string]*endpoint.Endpoint{text: {}}}
	case listenerType:
		m = &listener.Listener{Name: name, StatPrefix: text}
	case routeType:
		m = &route.RouteConfiguration{Name: name, InternalOnlyHeaders: []string{text}, Vhds: &route.Vhds{}}
	case virtualHostType:
		m = &route.VirtualHost{Name: name, Domains: []string{text}}
	default:
		t.Fatalf("no test resource of type %s", typeURL)
	}
	r, err := snapshot.Encode(name, m, pos, model.Ref{Kind: "Test", Namespace: "ns", Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// rig is a server over an in-memory listener.
type rig struct {
	t    *testing.T
	src  *snapshot.Static
	srv  *Server
	grpc *grpc.Server
	lis  *bufconn.Listener
	conn *grpc.ClientConn
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	r := &rig{t: t, src: snapshot.NewStatic(), lis: bufconn.Listen(1 << 20), grpc: grpc.NewServer()}
	cfg.Source = r.src
	r.srv = New(cfg)
	r.srv.Register(r.grpc)
	done := make(chan struct{})
	go func() { defer close(done); _ = r.grpc.Serve(r.lis) }()
	var err error
	r.conn, err = grpc.NewClient("passthrough:bufconn", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return r.lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.srv.Drain()
		_ = r.conn.Close()
		r.grpc.Stop()
		<-done
	})
	return r
}

// peerClient is a client that acknowledges only when told.
type peerClient struct {
	t      *testing.T
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	cancel context.CancelFunc
	node   *core.Node
	got    chan *discovery.DeltaDiscoveryResponse
	err    chan error
	first  bool
}

func (r *rig) client(id string) *peerClient {
	return r.clientOf(&core.Node{Id: id, UserAgentName: "test", UserAgentVersionType: &core.Node_UserAgentVersion{UserAgentVersion: "1.40.0"}})
}

func (r *rig) clientOf(n *core.Node) *peerClient {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := discovery.NewAggregatedDiscoveryServiceClient(r.conn).DeltaAggregatedResources(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	c := &peerClient{t: r.t, stream: s, cancel: cancel, node: n, got: make(chan *discovery.DeltaDiscoveryResponse, 1000), err: make(chan error, 1), first: true}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := s.Recv()
			if err != nil {
				c.err <- err
				return
			}
			c.got <- m
		}
	}()
	r.t.Cleanup(func() { cancel(); <-done })
	return c
}

func (c *peerClient) send(req *discovery.DeltaDiscoveryRequest) {
	c.t.Helper()
	if c.first {
		req.Node, c.first = c.node, false
	}
	if err := c.stream.Send(req); err != nil {
		c.t.Fatal(err)
	}
}

func (c *peerClient) subscribe(typeURL string, names ...string) {
	c.t.Helper()
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

func (c *peerClient) ack(m *discovery.DeltaDiscoveryResponse) {
	c.t.Helper()
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce})
}

func (c *peerClient) nack(m *discovery.DeltaDiscoveryResponse, message string) {
	c.t.Helper()
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: m.TypeUrl, ResponseNonce: m.Nonce, ErrorDetail: &rpc.Status{Code: 13, Message: message}})
}

// show is a response as one line: "Cluster +a +b -c".
func show(m *discovery.DeltaDiscoveryResponse) string {
	var parts []string
	for _, r := range m.Resources {
		parts = append(parts, "+"+r.Name)
	}
	slices.Sort(parts)
	removed := slices.Clone(m.RemovedResources)
	slices.Sort(removed)
	for _, n := range removed {
		parts = append(parts, "-"+n)
	}
	return strings.Join(append([]string{short(m.TypeUrl)}, parts...), " ")
}

// next gives the next response, within virtual or real time.
func (c *peerClient) next() *discovery.DeltaDiscoveryResponse {
	c.t.Helper()
	select {
	case m := <-c.got:
		return m
	case err := <-c.err:
		c.t.Fatalf("stream ended: %v", err)
	case <-time.After(20 * time.Second):
		c.t.Fatal("no response")
	}
	return nil
}

// want takes the next response, compares it with what show says of it, and does not acknowledge it.
func (c *peerClient) want(line string) *discovery.DeltaDiscoveryResponse {
	c.t.Helper()
	m := c.next()
	if got := show(m); got != line {
		c.t.Fatalf("got response %q, want %q", got, line)
	}
	return m
}

// expect is want and an ACK.
func (c *peerClient) expect(lines ...string) {
	c.t.Helper()
	for _, l := range lines {
		c.ack(c.want(l))
	}
}

// settle lets everything in the bubble come to rest, without time passing.
func (c *peerClient) settle() {
	c.t.Helper()
	synctest.Wait()
}

// quiet asserts that nothing comes until everything in the bubble waits. Only inside synctest.
func (c *peerClient) quiet() {
	c.t.Helper()
	synctest.Wait()
	select {
	case m := <-c.got:
		c.t.Fatalf("unexpected response %q", show(m))
	default:
	}
}

// bubble runs a test in virtual time.
func bubble(t *testing.T, cfg Config, fn func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { fn(t, newRig(t, cfg)) })
}

func many(t testing.TB, typeURL, text string, pos uint64, n int) (out []*snapshot.Resource) {
	for i := range n {
		out = append(out, res(t, typeURL, fmt.Sprintf("r%03d", i), text, pos))
	}
	return out
}
