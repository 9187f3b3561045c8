package push

import (
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/snapshot"
)

func key(typeURL, name string) snapshot.Key { return snapshot.Key{Type: typeURL, Name: name} }

func TestWaitsForReady(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		c := r.client("n")
		c.subscribe(clusterType)
		c.quiet()
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "1", 1)})
		c.expect("Cluster +a")
	})
}

func TestIdleClientSurvivesSnapshots(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		c := r.client("n") // connected, and has asked for nothing
		for i := range 5 {
			r.src.Update(uint64(i+1), []*snapshot.Resource{res(t, clusterType, "a", string(rune('a'+i)), uint64(i+1))})
			c.quiet()
		}
		c.subscribe(clusterType)
		c.expect("Cluster +a")
	})
}

func TestWildcardOfNothingIsAnswered(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, nil)
		c := r.client("n")
		c.subscribe(clusterType)
		c.expect("Cluster")
		c.subscribe(listenerType, "*")
		c.expect("Listener")
		c.quiet()
	})
}

func TestSubscribeByName(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, endpointType, "a", "1", 1), res(t, endpointType, "b", "1", 1)})
		c := r.client("n")
		c.subscribe(endpointType, "a", "none")
		c.expect("ClusterLoadAssignment +a -none")
		r.src.Update(2, []*snapshot.Resource{res(t, endpointType, "b", "2", 2)})
		c.quiet()
		r.src.Update(3, []*snapshot.Resource{res(t, endpointType, "none", "1", 3)})
		c.expect("ClusterLoadAssignment +none")
		c.subscribe(endpointType, "a") // asked again: may have been forgotten
		c.expect("ClusterLoadAssignment +a")
		c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: endpointType, ResourceNamesUnsubscribe: []string{"a"}})
		c.quiet()
		r.src.Update(4, []*snapshot.Resource{res(t, endpointType, "a", "2", 4)})
		c.quiet()
	})
}

func TestWildcardAndNames(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "1", 1), res(t, clusterType, "b", "1", 1)})
		c := r.client("n")
		c.subscribe(clusterType, "*", "a", "x")
		c.expect("Cluster +a +b -x")
		c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType, ResourceNamesUnsubscribe: []string{"a"}})
		c.expect("Cluster +a") // still part of the wildcard
		c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType, ResourceNamesUnsubscribe: []string{"*"}})
		c.quiet()
		r.src.Update(2, []*snapshot.Resource{res(t, clusterType, "b", "2", 2), res(t, clusterType, "x", "2", 2)})
		c.expect("Cluster +x")
	})
}

func TestEqualContentIsNotSent(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "1", 1)})
		c := r.client("n")
		c.subscribe(clusterType)
		c.expect("Cluster +a")
		r.src.Update(2, nil, key(clusterType, "a"))
		r.src.Update(3, []*snapshot.Resource{res(t, clusterType, "a", "1", 3)})
		c.quiet()
	})
}

func TestVariants(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		variant := func(v, text string) *snapshot.Resource {
			x := res(t, endpointType, "a", text, 1)
			x.Variant = v
			return x
		}
		r.src.Update(1, []*snapshot.Resource{variant("", "all"), variant("node/m", "own"), variant("locality/r/z", "zone")})
		n, m := r.client("n"), r.client("m")
		l := r.clientOf(&core.Node{Id: "l", Locality: &core.Locality{Region: "r", Zone: "z", SubZone: "s"}})
		for c, text := range map[*peerClient]string{n: "all", m: "own", l: "zone"} {
			c.subscribe(endpointType, "a")
			if got, want := c.next().Resources[0].Version, variant("", text).Version(); got != want {
				t.Errorf("%s got version %s, want %s", c.node.Id, got, want)
			}
		}
		r.src.Update(2, []*snapshot.Resource{variant("node/m", "own2")})
		n.quiet()
	})
}

func TestReconnect(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		a, b, gone := res(t, clusterType, "a", "1", 5), res(t, clusterType, "b", "1", 5), res(t, clusterType, "gone", "1", 5)
		r.src.Update(5, []*snapshot.Resource{a, b})
		c := r.client("n")
		c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType, InitialResourceVersions: map[string]string{
			"a": a.Version(), "b": b.Version(),
		}})
		c.quiet()
		d := r.client("m")
		d.send(&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType, InitialResourceVersions: map[string]string{
			"a": a.Version(), "b": "of another control plane", "gone": gone.Version(),
		}})
		d.expect("Cluster +b", "Cluster -gone")
		e := r.client("o")
		e.send(&discovery.DeltaDiscoveryRequest{
			TypeUrl: endpointType, ResourceNamesSubscribe: []string{"x", "y"},
			InitialResourceVersions: map[string]string{"x": "1@1"},
		})
		e.expect("ClusterLoadAssignment -y", "ClusterLoadAssignment -x")
	})
}

func TestPositionGates(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		newer := res(t, clusterType, "a", "new", 100)
		r.src.Update(90, []*snapshot.Resource{res(t, clusterType, "a", "old", 50), res(t, clusterType, "deleted", "1", 50)})
		c := r.client("n")
		c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType, InitialResourceVersions: map[string]string{
			"a": newer.Version(), "made": "abc@95",
		}})
		c.quiet() // neither the older a, nor what was deleted meanwhile, nor the removal of what we do not know yet
		if g := r.srv.Clients()[0].Types[0].Gated; g != 3 {
			t.Errorf("%d names gated, want 3", g)
		}
		r.src.Update(94, nil)
		c.quiet()
		r.src.Update(101, []*snapshot.Resource{res(t, clusterType, "a", "newest", 101), res(t, clusterType, "made", "1", 95)}, key(clusterType, "deleted"))
		c.expect("Cluster +a +made")
	})
}

// A watch that catches up without any change lets through what waited for it. Until then the client has acknowledged nothing: a
// rotation that counted it would sign with what it has not been told to trust.
func TestGateOpensWithoutAChange(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(90, []*snapshot.Resource{res(t, clusterType, "a", "ours", 50)})
		c := r.client("n")
		c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType, InitialResourceVersions: map[string]string{"a": "abc@95", "gone": "def@94"}})
		c.quiet()
		r.src.Advance(93)
		time.Sleep(time.Second)
		c.quiet()
		if n := r.srv.Progress()[0].Settled; n != 0 {
			t.Errorf("it is through with snapshot %d, and has not been sent it", n)
		}
		r.src.Advance(95)
		c.expect("Cluster +a", "Cluster -gone")
		c.quiet()
		if n := r.srv.Progress()[0].Settled; n == 0 {
			t.Error("it is not through with what it has acknowledged")
		}
	})
}

// A stream that breaks between a changed cluster and its endpoints leaves Envoy warming the cluster: it waits for a set of
// which it says that it has the newest.
func TestEndpointsAfterABrokenStream(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		edited, calm := res(t, clusterType, "edited", "2", 7), res(t, clusterType, "calm", "1", 1)
		a, b := res(t, endpointType, "edited", "1", 5), res(t, endpointType, "calm", "1", 5)
		r.src.Update(9, []*snapshot.Resource{edited, calm, a, b})
		c := r.client("n")
		c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType, InitialResourceVersions: map[string]string{
			"edited": edited.Version(), "calm": calm.Version(),
		}})
		c.send(&discovery.DeltaDiscoveryRequest{
			TypeUrl: endpointType, ResourceNamesSubscribe: []string{"edited", "calm"},
			InitialResourceVersions: map[string]string{"edited": a.Version(), "calm": b.Version()},
		})
		c.expect("ClusterLoadAssignment +edited")
		c.quiet()
	})
}

func TestSlowClientGetsNewest(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, endpointType, "a", "1", 1), res(t, endpointType, "b", "1", 1)})
		c := r.client("n")
		c.subscribe(endpointType, "a", "b")
		m := c.want("ClusterLoadAssignment +a +b")
		var last *snapshot.Resource
		for i := range 500 {
			last = res(t, endpointType, "a", string(rune('A'+i%26))+time.Duration(i).String(), uint64(i+2))
			r.src.Update(uint64(i+2), []*snapshot.Resource{last})
		}
		c.quiet()
		if p := r.srv.Clients()[0].Types[0].Pending; p > 1 {
			t.Errorf("backlog of %d names for one that changed", p)
		}
		c.ack(m)
		m = c.want("ClusterLoadAssignment +a")
		if m.Resources[0].Version != last.Version() {
			t.Errorf("got %s, want the newest %s", m.Resources[0].Version, last.Version())
		}
		c.ack(m)
		c.quiet()
	})
}

func TestStaleNonceIsNoAck(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, endpointType, "a", "1", 1)})
		c := r.client("n")
		c.subscribe(endpointType, "a")
		m := c.want("ClusterLoadAssignment +a")
		c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: endpointType, ResponseNonce: "made up"})
		r.src.Update(2, []*snapshot.Resource{res(t, endpointType, "a", "2", 2)})
		c.quiet()
		c.ack(m)
		c.expect("ClusterLoadAssignment +a")
	})
}

func TestLargeResponsesAreSplit(t *testing.T) {
	bubble(t, Config{MaxResponse: 400}, func(t *testing.T, r *rig) {
		r.src.Update(1, many(t, clusterType, "1", 1, 12))
		c := r.client("n")
		c.subscribe(clusterType)
		seen, messages := 0, 0
		for seen < 12 {
			m := c.next()
			seen += len(m.Resources)
			messages++
			c.quiet()
			c.ack(m)
		}
		if messages != 3 {
			t.Errorf("%d messages, want 3", messages)
		}
	})
}

// A route table that is whole in itself has no virtual hosts to wait for.
func TestWholeRouteTable(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		whole, err := snapshot.Encode("whole", &route.RouteConfiguration{Name: "whole"}, 1)
		if err != nil {
			t.Fatal(err)
		}
		r.src.Update(1, []*snapshot.Resource{whole})
		c := r.client("n")
		c.subscribe(virtualHostType)
		c.expect("VirtualHost")
		c.subscribe(routeType, "whole")
		c.expect("RouteConfiguration +whole")
		c.quiet()
	})
}

func TestVirtualHosts(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{
			res(t, routeType, "in", "1", 1), res(t, routeType, "out/80", "1", 1), res(t, routeType, "empty", "1", 1),
			res(t, virtualHostType, "in/a", "a", 1), res(t, virtualHostType, "in/b", "b", 1), res(t, virtualHostType, "out/80/c", "c", 1),
		})
		c := r.client("n")
		c.subscribe(routeType, "in")
		c.expect("RouteConfiguration +in")
		c.subscribe(virtualHostType)
		c.expect("VirtualHost +in/a +in/b")
		// Envoy subscribes once: a further route configuration brings its hosts by itself.
		c.subscribe(routeType, "out/80")
		c.expect("RouteConfiguration +out/80", "VirtualHost +out/80/c")
		c.subscribe(routeType, "empty")
		c.expect("RouteConfiguration +empty", "VirtualHost -empty/")
		r.src.Update(2, []*snapshot.Resource{res(t, virtualHostType, "in/a", "a2", 2), res(t, virtualHostType, "other/z", "z", 2)})
		c.expect("VirtualHost +in/a")
		r.src.Update(3, nil, key(virtualHostType, "in/b"))
		c.expect("VirtualHost -in/b")
		// By name, as another client may.
		d := r.client("m")
		d.subscribe(virtualHostType, "in")
		d.expect("VirtualHost +in/a")
		// Dropped and subscribed again: everything comes again.
		c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: routeType, ResourceNamesUnsubscribe: []string{"in"}})
		c.subscribe(routeType, "in")
		c.expect("RouteConfiguration +in", "VirtualHost +in/a")
		c.quiet()
	})
}

func TestDrain(t *testing.T) {
	r := newRig(t, Config{})
	r.src.Update(1, nil)
	c := r.client("n")
	c.subscribe(clusterType)
	c.expect("Cluster")
	r.srv.Drain()
	r.grpc.GracefulStop()
	if err := <-c.err; status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	if n := len(r.srv.Clients()); n != 0 {
		t.Errorf("%d clients after drain", n)
	}
}
