package flows

import (
	"context"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"fairlead.io/fairlead/api/observe/observer"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/node/enforce"
	"fairlead.io/fairlead/pkg/observe/filter"
	"fairlead.io/fairlead/pkg/verdict"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What an agent puts in.
var (
	_ Names    = (*enforce.Engine)(nil)
	_ Reader   = (*datapath.EventReader)(nil)
	_ Counters = (*datapath.Datapath)(nil)
)

const (
	clientID = "cluster.local/ns/web/sa/client/00ff"
	dbID     = "cluster.local/ns/shop/sa/db/11ff"
)

// cluster has a client in web, a database in shop, this node and another one.
type cluster struct {
	pods       map[string][2]string
	identities []string
	rules      map[[2]uint32]verdict.Origin
	isolation  map[uint32][]verdict.Origin
}

func newCluster() *cluster {
	return &cluster{
		pods:       map[string][2]string{"10.1.0.5": {"web", "client-1"}, "10.2.0.7": {"shop", "db-0"}, "fd00::7": {"shop", "db-0"}},
		identities: []string{"", clientID, dbID, "node/node-a", "node/node-b", "kube-apiserver/10.0.0.9"},
		rules: map[[2]uint32]verdict.Origin{
			{9, 1}: {Group: "networking.k8s.io", Kind: "NetworkPolicy", Namespace: "shop", Name: "db", Rule: "ingress[1]"},
			{8, 0}: {Group: "policy.networking.k8s.io", Kind: "ClusterNetworkPolicy", Name: "guard", Rule: "egress[0]"},
		},
		isolation: map[uint32][]verdict.Origin{
			9: {{Kind: "NetworkPolicy", Namespace: "shop", Name: "db"}, {Kind: "NetworkPolicy", Namespace: "shop", Name: "all"}},
		},
	}
}

func (c *cluster) Identity(n uint32) (name, workload string, labels map[string]string) {
	if int(n) < len(c.identities) {
		name = c.identities[n]
	}
	switch name {
	case clientID:
		return name, "Deployment/client", map[string]string{"app": "client", "a.b/c": "d"}
	case dbID:
		return name, "StatefulSet/db", map[string]string{"app": "db"}
	}
	return name, "", nil
}

func (c *cluster) Pod(a netip.Addr) (namespace, name, node string) {
	p := c.pods[a.String()]
	return p[0], p[1], "node-a"
}

func (c *cluster) Rule(set, rule uint32) (verdict.Rule, bool) {
	o, ok := c.rules[[2]uint32{set, rule}]
	return verdict.Rule{Origin: o}, ok
}

func (c *cluster) Isolating(set uint32, d verdict.Direction, f verdict.Family) []verdict.Origin {
	if d == verdict.Ingress && f == verdict.Network {
		return c.isolation[set]
	}
	return nil
}

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// syn is the event of a SYN to the database that no rule lets in, some time after the machine started.
func syn(since time.Duration) datapath.Event {
	e := datapath.Event{
		Since: since, Kind: datapath.FlowDenied, Hook: datapath.ToPod, Source: netip.MustParseAddr("10.1.0.5"), Destination: netip.MustParseAddr("10.2.0.7"),
		SourceIdentity: 1, DestinationIdentity: 2, Protocol: protoTCP, SourcePort: 40000, DestinationPort: 5432, TCPFlags: 2,
		Direction: verdict.Ingress, Reason: datapath.PolicyDenied, Interface: 7, Length: 60,
	}
	e.Said[verdict.Ingress] = datapath.Said{Judged: true, Because: datapath.Isolation, Set: 9}
	return e
}

// allowed is the event of a connection to the database that a rule lets in, from a port.
func allowed(since time.Duration, port uint16) datapath.Event {
	e := syn(since)
	e.Kind, e.Reason, e.SourcePort = datapath.FlowNew, 0, port
	e.Said[verdict.Egress] = datapath.Said{Judged: true, Allowed: true, Because: datapath.NoPolicy}
	e.Said[verdict.Ingress] = datapath.Said{Judged: true, Allowed: true, Because: datapath.ByRule, Set: 9, Rule: 1}
	return e
}

// counters are those of a kernel.
type counters struct {
	mu    sync.Mutex
	lost  uint64
	drops []datapath.Drop
}

func (c *counters) Lost() (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost, nil
}

func (c *counters) lose(n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lost += n
}

func (c *counters) Drops(fn func(datapath.Drop) bool) error {
	for _, d := range c.drops {
		if !fn(d) {
			break
		}
	}
	return nil
}

func (c *counters) ForgetDrops(set uint32) (gone []datapath.Drop, err error) {
	kept := c.drops
	c.drops = nil
	for _, d := range kept {
		if d.Set == set {
			gone = append(gone, d)
		} else {
			c.drops = append(c.drops, d)
		}
	}
	return gone, nil
}

// rig is an Observer whose clock stands still, an hour after the machine started.
type rig struct {
	*Observer
	t        testing.TB
	cluster  *cluster
	counters *counters
	registry *prometheus.Registry
}

func newRig(t testing.TB, capacity int) *rig {
	t.Helper()
	r := &rig{t: t, cluster: newCluster(), counters: &counters{}, registry: prometheus.NewRegistry()}
	o, err := New(Config{
		Node: "node-a", Names: r.cluster, Counters: r.counters, Capacity: capacity, Version: "v1.2.3", Registry: r.registry,
		Clock: func() (time.Time, time.Duration) { return start.Add(time.Hour), time.Hour },
	})
	if err != nil {
		t.Fatal(err)
	}
	r.Observer = o
	return r
}

func (r *rig) record(events ...datapath.Event) {
	for i := range events {
		r.Record(&events[i])
	}
}

// get asks once and gives all answers.
func (r *rig) get(req *observer.GetFlowsRequest) (out []*observer.GetFlowsResponse) {
	r.t.Helper()
	if err := r.Observe(context.Background(), req, &filter.Scope{All: true}, func(m *observer.GetFlowsResponse) error {
		out = append(out, m)
		return nil
	}); err != nil {
		r.t.Fatal(err)
	}
	return out
}

// sourcePorts of flows, and -n for n events that were lost.
func sourcePorts(list []*observer.GetFlowsResponse) (out []int) {
	for _, m := range list {
		if l := m.GetLostEvents(); l != nil {
			out = append(out, -int(l.GetNumEventsLost()))
			continue
		}
		out = append(out, int(m.GetFlow().GetL4().GetTCP().GetSourcePort()))
	}
	return out
}

// stream is a Reader of what is put in.
type stream struct {
	events chan datapath.Event
	closed chan struct{}
	once   sync.Once
}

func newStream() *stream {
	return &stream{events: make(chan datapath.Event), closed: make(chan struct{})}
}

func (s *stream) Read(e *datapath.Event) error {
	select {
	case *e = <-s.events:
		return nil
	case <-s.closed:
		return os.ErrClosed
	}
}

func (s *stream) Close() error { s.once.Do(func() { close(s.closed) }); return nil }
