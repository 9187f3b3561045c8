package push

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
)

// A client that does not read at all blocks only its own stream, and finds the newest state when it reads again.
func TestClientThatDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := snapshot.NewStatic()
		srv := New(Config{Source: src})
		s := &script{ctx: t.Context(), in: make(chan *discovery.DeltaDiscoveryRequest), sent: make(chan *discovery.DeltaDiscoveryResponse)}
		done := make(chan error, 1)
		go func() { done <- srv.DeltaAggregatedResources(s) }()
		src.Update(1, []*snapshot.Resource{res(t, endpointType, "a", "0", 1)})
		s.in <- &discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: "n"}, TypeUrl: endpointType, ResourceNamesSubscribe: []string{"a"}}
		synctest.Wait() // now it blocks in Send
		var last *snapshot.Resource
		for i := range 1000 {
			last = res(t, endpointType, "a", fmt.Sprint(i), uint64(i+2))
			src.Update(uint64(i+2), []*snapshot.Resource{last})
		}
		if c := srv.Clients(); len(c) != 1 || c[0].Types[0].Pending > 1 {
			t.Fatalf("clients: %+v", c)
		}
		m := <-s.sent
		s.in <- &discovery.DeltaDiscoveryRequest{TypeUrl: endpointType, ResponseNonce: m.Nonce}
		if m = <-s.sent; m.Resources[0].Version != last.Version() {
			t.Errorf("got %s, want the newest %s", m.Resources[0].Version, last.Version())
		}
		close(s.in)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	bubble(t, Config{Registry: reg}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "1", 1)})
		c := r.client("n")
		c.subscribe(clusterType)
		c.expect("Cluster +a")
		c.quiet()
		r.src.Update(2, []*snapshot.Resource{res(t, clusterType, "a", "2", 2)})
		m := c.want("Cluster +a")
		time.Sleep(time.Second) // virtual: the acknowledgement takes a second
		c.ack(m)
		c.quiet()
		r.src.Update(3, []*snapshot.Resource{res(t, clusterType, "a", "3", 3)})
		c.nack(c.want("Cluster +a"), "no")
		c.quiet()
		got := map[string]float64{}
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			for _, m := range f.GetMetric() {
				name := f.GetName()
				for _, l := range m.GetLabel() {
					name += " " + l.GetValue()
				}
				got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetHistogram().GetSampleSum()
			}
		}
		for name, want := range map[string]float64{
			"fairlead_xds_clients": 1, "fairlead_xds_nacks_total Cluster": 1, "fairlead_xds_responses_total Cluster": 3,
			"fairlead_xds_quarantined": 1, "fairlead_push_latency_seconds acked Cluster": 1, "fairlead_push_latency_seconds sent Cluster": 0,
		} {
			if v, ok := got[name]; !ok || v != want {
				t.Errorf("%s = %v, want %v", name, v, want)
			}
		}
	})
}

// BenchmarkEndpointChange is one changed endpoint set from publication to the message, for one stream that is subscribed
// to 5,000 (without gRPC's own work).
func BenchmarkEndpointChange(b *testing.B) {
	src := &counted{keys: []snapshot.Key{key(endpointType, "r000")}, newer: make(chan struct{}), get: map[string]*snapshot.Resource{}}
	names := []string{}
	for i := range 5000 {
		n := fmt.Sprintf("r%03d", i)
		src.get[n] = res(b, endpointType, n, "1", 1)
		names = append(names, n)
	}
	srv := New(Config{Source: src})
	st := newStream(srv, deltaTransport{&script{ctx: context.Background()}, ""})
	ctx := context.Background()
	src.seq = 1
	subscribe(b, st, names...)
	for m := st.next(time.Now()); m != nil; m = st.next(time.Now()) {
		_ = st.handle(ctx, &discovery.DeltaDiscoveryRequest{TypeUrl: endpointType, ResponseNonce: m.nonce})
	}
	versions := []*snapshot.Resource{res(b, endpointType, "r000", "a", 1), res(b, endpointType, "r000", "b", 1)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		src.get["r000"] = versions[i%2]
		src.seq++
		m := st.next(time.Now())
		if m == nil || len(m.resources) != 1 {
			b.Fatal("no response for a change")
		}
		_ = st.handle(ctx, &discovery.DeltaDiscoveryRequest{TypeUrl: endpointType, ResponseNonce: m.nonce})
	}
}

func subscribe(t testing.TB, st *stream, names ...string) {
	t.Helper()
	req := &discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: "n"}, TypeUrl: endpointType, ResourceNamesSubscribe: names}
	if err := st.handle(context.Background(), req); err != nil {
		t.Fatal(err)
	}
}

// counted is a source whose publication costs nothing, so that a benchmark sees only the stream. Each Latest is a value
// of its own.
type counted struct {
	seq   uint64
	keys  []snapshot.Key
	newer chan struct{}
	get   map[string]*snapshot.Resource
}

func (c *counted) Latest() snapshot.Snapshot {
	if c.seq == 0 {
		return nil
	}
	v := *c
	return &v
}
func (c *counted) Ready() <-chan struct{}                     { return c.newer }
func (c *counted) Seq() uint64                                { return c.seq }
func (c *counted) Position() uint64                           { return c.seq }
func (c *counted) Complete() uint64                           { return c.seq }
func (c *counted) Want(uint64) bool                           { return true }
func (c *counted) Newer() <-chan struct{}                     { return c.newer }
func (c *counted) ChangesSince(uint64) ([]snapshot.Key, bool) { return c.keys, true }
func (c *counted) Scope(string) *model.NodeScope              { return nil }
func (c *counted) Get(k snapshot.Key) *snapshot.Resource {
	if k.Variant != "" || k.Type != endpointType {
		return nil
	}
	return c.get[k.Name]
}

func (c *counted) Lookup(variants []string, typeURL, name string) *snapshot.Resource {
	return snapshot.Pick(c, variants, typeURL, name)
}

func (c *counted) Shared(typeURL, name string) (*snapshot.Resource, bool) {
	return c.Get(snapshot.Key{Type: typeURL, Name: name}), true
}
func (c *counted) Prefix(string, string, func(*snapshot.Resource) bool) {}
func (c *counted) Range(string, func(*snapshot.Resource) bool)          {}
