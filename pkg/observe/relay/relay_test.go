package relay

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/api/observe/observer"
	observev1 "fairlead.io/fairlead/api/observe/v1"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/node/flows"
	"fairlead.io/fairlead/pkg/observe/filter"
	"fairlead.io/fairlead/pkg/verdict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names are those of two pods.
type names struct{}

func (names) Identity(n uint32) (name, workload string, labels map[string]string) {
	if n == 0 {
		return "", "", nil
	}
	ns := []string{"", "web", "shop"}[n]
	return "td/ns/" + ns + "/sa/x/0" + fmt.Sprint(n), "", map[string]string{"app": ns}
}

func (names) Pod(a netip.Addr) (namespace, name, node string) {
	switch a.String() {
	case "10.0.0.1":
		return "web", "web-1", "a"
	case "10.0.0.2":
		return "shop", "db-0", "b"
	}
	return "", "", ""
}
func (names) Rule(uint32, uint32) (verdict.Rule, bool) { return verdict.Rule{}, false }
func (names) Isolating(uint32, verdict.Direction, verdict.Family) []verdict.Origin {
	return nil
}

// rig is a relay on a connection in memory.
type rig struct {
	*Relay
	t      *testing.T
	conn   *grpc.ClientConn
	access Access
	// others are of other replicas; guarded by mu.
	mu     sync.Mutex
	others []observev1.FlowsClient
}

func newRig(t *testing.T, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, access: Everything}
	cfg := Config{
		Caller: func(ctx context.Context) (string, error) {
			if v := metadata.ValueFromIncomingContext(ctx, "node"); len(v) == 1 {
				return v[0], nil
			}
			return "", status.Error(codes.PermissionDenied, "not a node")
		},
		Replicas: func() []observev1.FlowsClient {
			r.mu.Lock()
			defer r.mu.Unlock()
			return r.others
		},
		Version: "1", Patience: 20 * time.Second,
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if r.Relay, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	l, s, ended := bufconn.Listen(1<<20), grpc.NewServer(), make(chan error, 1)
	r.RegisterNodes(s)
	r.RegisterObservers(s, func(ctx context.Context, req *observer.GetFlowsRequest) (*filter.Scope, error) {
		return r.access(ctx, req)
	})
	go func() { ended <- s.Serve(l) }()
	if r.conn, err = grpc.NewClient("passthrough:x", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.Dial() })); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.conn.Close()
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

// agent is a node's, connected until leave.
type agent struct {
	*flows.Observer
	leave func()
}

func (r *rig) node(name string) *agent {
	r.t.Helper()
	o, err := flows.New(flows.Config{Node: name, Names: names{}, Version: "1", Capacity: 512, Clock: func() (time.Time, time.Duration) { return time.Unix(0, 0), 0 }})
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "node", name))
	stream, err := observev1.NewFlowsClient(r.conn).Report(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = o.Report(stream) }()
	a := &agent{o, sync.OnceFunc(func() { cancel(); <-ended })}
	r.t.Cleanup(a.leave)
	r.until(func() bool {
		list, _ := r.connected()
		return slices.ContainsFunc(list, func(n *node) bool { return n.name == name })
	})
	return a
}

func (r *rig) until(ok func() bool) {
	r.t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.t.Fatal("it never was so")
		}
	}
}

// at records a flow of a second, whose source port is the second.
func (a *agent) at(seconds ...int) {
	for _, s := range seconds {
		e := datapath.Event{
			Since: time.Duration(s) * time.Second, Kind: datapath.FlowNew, Source: netip.MustParseAddr("10.0.0.1"), Destination: netip.MustParseAddr("10.0.0.2"),
			SourceIdentity: 1, DestinationIdentity: 2, Protocol: 6, SourcePort: uint16(s), DestinationPort: 80,
		}
		a.Record(&e)
	}
}

// reader reads what an observer gets: source ports, and states of nodes.
type reader struct {
	t *testing.T
	grpc.ServerStreamingClient[observer.GetFlowsResponse]
	states []string
}

func (r *rig) observe(ctx context.Context, req *observer.GetFlowsRequest) *reader {
	r.t.Helper()
	s, err := observer.NewObserverClient(r.conn).GetFlows(ctx, req)
	if err != nil {
		r.t.Fatal(err)
	}
	return &reader{t: r.t, ServerStreamingClient: s}
}

func (r *reader) read(n int) (ports []int, err error) {
	for len(ports) < n {
		m, err := r.Recv()
		if err != nil {
			return ports, err
		}
		if s := m.GetNodeStatus(); s != nil {
			r.states = append(r.states, strings.TrimPrefix(s.GetStateChange().String(), "NODE_")+" "+strings.Join(s.GetNodeNames(), " "))
			continue
		}
		ports = append(ports, int(m.GetFlow().GetL4().GetTCP().GetSourcePort()))
	}
	return ports, nil
}

func (r *rig) all(req *observer.GetFlowsRequest) []int {
	r.t.Helper()
	ports, err := r.observe(r.t.Context(), req).read(1 << 20)
	if err.Error() != "EOF" {
		r.t.Errorf("%v: %v", req, err)
	}
	return ports
}

// TestMerge: kept flows of all nodes come in the order of their times, at every replica.
func TestMerge(t *testing.T) {
	r, other := newRig(t, func(c *Config) { c.Name = "one" }), newRig(t, func(c *Config) { c.Name = "other" })
	r.node("a").at(1, 4, 7)
	r.node("b").at(2, 3, 9)
	r.node("empty")
	other.node("c").at(5, 6, 8)
	var many []int
	for i := range 500 {
		many = append(many, 100+i)
	}
	other.node("d").at(many...)
	r.others = []observev1.FlowsClient{observev1.NewFlowsClient(other.conn), observev1.NewFlowsClient(r.conn)} // itself too
	few := &flow.FlowFilter{NodeName: []string{"a", "b", "c"}}
	for name, c := range map[string]struct {
		req  *observer.GetFlowsRequest
		want []int
	}{
		"all":      {&observer.GetFlowsRequest{}, append([]int{1, 2, 3, 4, 5, 6, 7, 8, 9}, many...)},
		"of three": {&observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{few}}, []int{1, 2, 3, 4, 5, 6, 7, 8, 9}},
		"first":    {&observer.GetFlowsRequest{Number: 5, First: true}, []int{1, 2, 3, 4, 5}},
		"last":     {&observer.GetFlowsRequest{Number: 3}, []int{597, 598, 599}},
		"last few": {&observer.GetFlowsRequest{Number: 4, Whitelist: []*flow.FlowFilter{few}}, []int{6, 7, 8, 9}},
	} {
		if got := r.all(c.req); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v", name, got)
		}
	}
	st, err := observer.NewObserverClient(r.conn).ServerStatus(t.Context(), &observer.ServerStatusRequest{})
	if err != nil || st.GetNumFlows() != 509 || st.GetNumConnectedNodes().GetValue() != 5 {
		t.Errorf("status: %v, %v", st, err)
	}
	ns, err := observer.NewObserverClient(r.conn).GetNamespaces(t.Context(), &observer.GetNamespacesRequest{})
	if err != nil || len(ns.GetNamespaces()) != 2 {
		t.Errorf("namespaces: %v, %v", ns, err)
	}
}

// TestFollow: who follows gets what comes, of nodes that come too, and is told of those that go.
func TestFollow(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Nodes = func() []string { return []string{"a", "missing"} } })
	a := r.node("a")
	a.at(1, 2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := r.observe(ctx, &observer.GetFlowsRequest{Follow: true, Number: 1})
	if got, err := o.read(1); err != nil || !slices.Equal(got, []int{2}) {
		t.Fatalf("%v, %v", got, err)
	}
	a.at(3)
	if got, err := o.read(1); err != nil || !slices.Equal(got, []int{3}) {
		t.Fatalf("%v, %v", got, err)
	}
	b := r.node("b")
	asked, recorded := make(chan struct{}), make(chan struct{})
	go func() { // until it is asked
		defer close(recorded)
		for {
			b.at(4)
			select {
			case <-asked:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	if got, err := o.read(1); err != nil || !slices.Equal(got, []int{4}) {
		t.Fatalf("%v, %v", got, err)
	}
	close(asked)
	<-recorded
	a.leave()
	r.until(func() bool { list, _ := r.connected(); return len(list) == 1 })
	b.at(5)
	for got := []int{4}; got[0] != 5; {
		var err error
		if got, err = o.read(1); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{"CONNECTED a", "UNAVAILABLE missing", "CONNECTED b"} {
		if !slices.Contains(o.states, want) {
			t.Errorf("not told: %s: %v", want, o.states)
		}
	}
	for !slices.Contains(o.states, "UNAVAILABLE a") { // it may come after the flow
		b.at(6)
		if _, err := o.read(1); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSlow: an observer that does not read loses flows, is told so, and holds up nobody.
func TestSlow(t *testing.T) {
	r := newRig(t)
	a := r.node("a")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a.at(1)
	slow, quick := r.observe(ctx, &observer.GetFlowsRequest{Follow: true, Number: 1}), r.observe(ctx, &observer.GetFlowsRequest{Follow: true, Number: 1})
	for _, o := range []*reader{slow, quick} {
		if _, err := o.read(1); err != nil {
			t.Fatal(err)
		}
	}
	const total = 2000
	for i := range total {
		a.at(2)
		if i%8 == 7 { // the quick one keeps up
			if _, err := quick.read(8); err != nil {
				t.Fatal(err)
			}
		}
	}
	lost, got := uint64(0), 0
	for got+int(lost) < total {
		m, err := slow.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if l := m.GetLostEvents(); l != nil {
			lost += l.GetNumEventsLost()
			continue
		}
		if m.GetFlow() != nil {
			got++
		}
	}
	if lost == 0 || got+int(lost) != total {
		t.Errorf("%d flows, %d lost, of %d", got, lost, total)
	}
}

// TestAccess: what is hidden stays hidden, also when a node does not hide it, and a right that is taken away ends who follows.
func TestAccess(t *testing.T) {
	r := newRig(t)
	a := r.node("a")
	a.at(1)
	r.access = func(context.Context, *observer.GetFlowsRequest) (*filter.Scope, error) {
		return &filter.Scope{Namespaces: []string{"web"}}, nil
	}
	m, err := func() (*flow.Flow, error) {
		s := r.observe(t.Context(), &observer.GetFlowsRequest{})
		for {
			m, err := s.Recv()
			if err != nil || m.GetFlow() != nil {
				return m.GetFlow(), err
			}
		}
	}()
	if err != nil || m.GetSource().GetPodName() != "web-1" || m.GetDestination().GetPodName() != "" {
		t.Errorf("%v, %v", m, err)
	}
	if got := r.all(&observer.GetFlowsRequest{Whitelist: []*flow.FlowFilter{{DestinationLabel: []string{"app=shop"}}}}); len(got) != 0 {
		t.Errorf("a filter finds what is hidden: %v", got)
	}
	// A node of another mind: pass hides it.
	var sent []*observev1.Answer
	g := &gathering{r: r.Relay, scope: &filter.Scope{Namespaces: []string{"bank"}}, send: func(a *observev1.Answer) error { sent = append(sent, a); return nil }}
	if err := g.pass(&observev1.Answer{What: &observev1.Answer_Flow{Flow: &observer.GetFlowsResponse{ResponseTypes: &observer.GetFlowsResponse_Flow{Flow: m}}}}); err != nil || len(sent) != 0 {
		t.Errorf("passed on: %v, %v", sent, err)
	}
	if _, err := observer.NewObserverClient(r.conn).GetNodes(t.Context(), &observer.GetNodesRequest{}); status.Code(err) != codes.PermissionDenied {
		t.Errorf("nodes: %v", err)
	}
	r.access = func(context.Context, *observer.GetFlowsRequest) (*filter.Scope, error) {
		return nil, status.Error(codes.PermissionDenied, "no")
	}
	if _, err := r.observe(t.Context(), &observer.GetFlowsRequest{}).read(1); status.Code(err) != codes.PermissionDenied {
		t.Errorf("refused: %v", err)
	}
}

// TestRefused: requests that are wrong, agents that are none, and too many observers.
func TestRefused(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Observers = 1 })
	r.node("a").at(1)
	for _, req := range []*observer.GetFlowsRequest{{First: true, Follow: true}, {Whitelist: []*flow.FlowFilter{{DnsQuery: []string{"x"}}}}} {
		if _, err := r.observe(t.Context(), req).read(1); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", req, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if _, err := r.observe(ctx, &observer.GetFlowsRequest{Follow: true, Number: 1}).read(1); err != nil {
		t.Fatal(err)
	}
	if _, err := r.observe(t.Context(), &observer.GetFlowsRequest{}).read(1); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("one too many: %v", err)
	}
	s, err := observev1.NewFlowsClient(r.conn).Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); status.Code(err) != codes.PermissionDenied {
		t.Errorf("not a node: %v", err)
	}
}

// TestSilent: a node that does not answer is given up after a while, and the others' flows come.
func TestSilent(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Patience = 50 * time.Millisecond })
	r.node("a").at(1)
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), "node", "silent"))
	defer cancel()
	s, err := observev1.NewFlowsClient(r.conn).Report(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&observev1.Answer{What: &observev1.Answer_Hello{Hello: &observev1.Hello{}}}); err != nil {
		t.Fatal(err)
	}
	r.until(func() bool { list, _ := r.connected(); return len(list) == 2 })
	o := r.observe(t.Context(), &observer.GetFlowsRequest{})
	if got, err := o.read(2); !slices.Equal(got, []int{1}) || err.Error() != "EOF" || !slices.Contains(o.states, "UNAVAILABLE silent") {
		t.Errorf("%v, %v, %v", got, err, o.states)
	}
	// One that sends what nobody has asked for is sent away.
	q, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}

	o = r.observe(t.Context(), &observer.GetFlowsRequest{})
	for q.GetAsk() == nil || q.GetId() == 1 {
		if q, err = s.Recv(); err != nil {
			t.Fatal(err)
		}
	}
	for range 1000 {
		if err = s.Send(&observev1.Answer{Id: q.GetId(), What: &observev1.Answer_Flow{Flow: &observer.GetFlowsResponse{}}}); err != nil {
			break
		}
	}
	for err == nil {
		_, err = s.Recv()
	}
	_, _ = o.read(2)
}
