package push

import (
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"fairlead.io/fairlead/pkg/snapshot"
)

// full subscribes a client to everything and takes the first answers.
func full(t *testing.T, r *rig, text string) *peerClient {
	r.src.Update(1, []*snapshot.Resource{
		res(t, clusterType, "a", text, 1), res(t, endpointType, "a", text, 1), res(t, listenerType, "l", text, 1),
		res(t, routeType, "r", text, 1), res(t, virtualHostType, "r/v", text, 1),
	})
	c := r.client("n")
	c.subscribe(clusterType)
	c.expect("Cluster +a")
	c.subscribe(endpointType, "a")
	c.expect("ClusterLoadAssignment +a")
	c.subscribe(listenerType)
	c.expect("Listener +l")
	c.subscribe(routeType, "r")
	c.expect("RouteConfiguration +r")
	c.subscribe(virtualHostType)
	c.expect("VirtualHost +r/v")
	c.quiet()
	return c
}

func TestMakeBeforeBreak(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		c := full(t, r, "1")
		r.src.Update(2, []*snapshot.Resource{
			res(t, clusterType, "b", "2", 2), res(t, endpointType, "b", "2", 2), res(t, listenerType, "m", "2", 2),
			res(t, routeType, "r", "2", 2), res(t, virtualHostType, "r/v", "2", 2),
		}, key(clusterType, "a"), key(endpointType, "a"), key(listenerType, "l"))
		cds := c.want("Cluster +b")
		c.quiet()
		c.ack(cds)
		c.quiet() // b warms until it has its endpoints
		c.subscribe(endpointType, "b")
		eds := c.want("ClusterLoadAssignment +b")
		c.quiet()
		c.ack(eds)
		for _, line := range []string{"Listener +m", "RouteConfiguration +r", "VirtualHost +r/v", "Listener -l", "ClusterLoadAssignment -a", "Cluster -a"} {
			m := c.want(line)
			c.quiet()
			if b := r.srv.Status().For(res(t, clusterType, "b", "", 1).Origins[0]).Behind; b != 1 {
				t.Errorf("client is not counted as behind before %s is acknowledged", line)
			}
			c.ack(m)
		}
		c.quiet()
		if b := r.srv.Status().For(res(t, clusterType, "b", "", 1).Origins[0]).Behind; b != 0 {
			t.Error("client is behind after the last acknowledgement")
		}
	})
}

func TestHoldEndsByTime(t *testing.T) {
	bubble(t, Config{Hold: 2 * time.Second}, func(t *testing.T, r *rig) {
		c := full(t, r, "1")
		r.src.Update(2, []*snapshot.Resource{res(t, clusterType, "a", "2", 2), res(t, listenerType, "l", "2", 2)})
		c.want("Cluster +a") // never acknowledged
		c.expect("ClusterLoadAssignment +a")
		start := time.Now()
		c.expect("Listener +l")
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("held for %v, want 2s", d)
		}
		if o := r.srv.Status().For(res(t, clusterType, "a", "", 1).Origins[0]); o.Programmed() {
			t.Errorf("programmed without an acknowledgement: %+v", o)
		}
	})
}

func TestNackDoesNotHold(t *testing.T) {
	bubble(t, Config{Hold: time.Hour}, func(t *testing.T, r *rig) {
		c := full(t, r, "1")
		r.src.Update(2, []*snapshot.Resource{res(t, clusterType, "a", "2", 2), res(t, listenerType, "l", "2", 2)})
		m := c.want("Cluster +a")
		c.expect("ClusterLoadAssignment +a")
		c.quiet()
		c.nack(m, "no")
		c.expect("Listener +l")
	})
}

func TestEndpointsDoNotWait(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		c := full(t, r, "1")
		r.src.Update(2, []*snapshot.Resource{res(t, clusterType, "other", "2", 2)})
		cds := c.want("Cluster +other")
		r.src.Update(3, []*snapshot.Resource{res(t, endpointType, "a", "3", 3)})
		c.expect("ClusterLoadAssignment +a") // while CDS is not acknowledged
		// Both change: the endpoints wait for the cluster, which is not sent before the ACK.
		r.src.Update(4, []*snapshot.Resource{res(t, clusterType, "a", "4", 4), res(t, endpointType, "a", "4", 4)})
		c.ack(cds)
		c.expect("Cluster +a", "ClusterLoadAssignment +a")
		c.quiet()
	})
}

func TestChangedClusterGetsItsEndpointsAgain(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		c := full(t, r, "1")
		r.src.Update(2, []*snapshot.Resource{res(t, clusterType, "a", "2", 2)})
		c.expect("Cluster +a", "ClusterLoadAssignment +a")
		c.quiet()
	})
}

// Envoy acknowledges a cluster only when it is warm: its endpoints must not wait for that cluster's next version.
func TestWarmingClusterThatChangesAgain(t *testing.T) {
	bubble(t, Config{Hold: time.Hour}, func(t *testing.T, r *rig) {
		c := full(t, r, "1")
		r.src.Update(2, []*snapshot.Resource{res(t, listenerType, "l", "2", 2)})
		c.want("Listener +l") // keeps the transition open
		r.src.Update(3, []*snapshot.Resource{res(t, clusterType, "a", "3", 3)})
		c.quiet()
		r.src.Update(4, []*snapshot.Resource{res(t, endpointType, "a", "4", 4)})
		c.quiet() // waits for its cluster
		c.subscribe(endpointType, "a")
		c.expect("ClusterLoadAssignment +a") // but not when asked for
	})
	bubble(t, Config{Hold: time.Hour}, func(t *testing.T, r *rig) {
		c := full(t, r, "1")
		r.src.Update(2, []*snapshot.Resource{res(t, endpointType, "a", "2", 2)})
		eds := c.want("ClusterLoadAssignment +a")
		r.src.Update(3, []*snapshot.Resource{res(t, clusterType, "a", "3", 3), res(t, clusterType, "b", "3", 3)})
		c.quiet()
		c.ack(eds)
		cds := c.want("Cluster +a +b")
		r.src.Update(4, []*snapshot.Resource{res(t, clusterType, "a", "4", 4), res(t, endpointType, "a", "4", 4)})
		c.expect("ClusterLoadAssignment +a") // the warming a, version 3, needs it
		c.quiet()
		c.ack(cds)
	})
}

func TestEndlessClusterChangesDoNotStarveRoutes(t *testing.T) {
	bubble(t, Config{Hold: time.Hour}, func(t *testing.T, r *rig) {
		c := full(t, r, "1")
		r.src.Update(2, []*snapshot.Resource{res(t, clusterType, "b", "0", 2), res(t, routeType, "r", "2", 2)})
		routes := 0
		for i := range 10 {
			m := c.next()
			r.src.Update(uint64(i+3), []*snapshot.Resource{res(t, clusterType, "b", string(rune('a'+i)), uint64(i+3))})
			c.quiet()
			if m.TypeUrl == routeType {
				routes++
			}
			c.ack(m)
		}
		if routes != 1 {
			t.Errorf("route sent %d times among 10 responses, want once", routes)
		}
	})
}

func TestScopeWaitsForItsRoutes(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		scope, err := snapshot.Encode("s", &route.ScopedRouteConfiguration{Name: "s", RouteConfigurationName: "rc"}, 1)
		if err != nil {
			t.Fatal(err)
		}
		r.src.Update(1, []*snapshot.Resource{res(t, routeType, "first", "1", 1)})
		c := r.clientOf(&core.Node{Id: "n", UserAgentName: "envoy"})
		c.subscribe(scopedRouteType)
		c.expect("ScopedRouteConfiguration")
		c.subscribe(routeType, "first", "unknown")
		m := c.want("RouteConfiguration +first +unknown") // a removal would keep a listener closed
		c.ack(m)
		r.src.Update(2, []*snapshot.Resource{scope, res(t, routeType, "rc", "1", 2)})
		c.expect("ScopedRouteConfiguration +s")
		c.quiet()
		if clients, behind, _ := r.srv.progress(2); clients != 1 || behind != 1 {
			t.Errorf("%d of %d clients behind before the scope's routes are there", behind, clients)
		}
		c.subscribe(routeType, "rc")
		c.expect("RouteConfiguration +rc")
		c.quiet()
		if _, behind, _ := r.srv.progress(2); behind != 0 {
			t.Error("client is behind after the scope's routes were acknowledged")
		}
		r.src.Update(3, []*snapshot.Resource{res(t, routeType, "unknown", "1", 3)})
		c.expect("RouteConfiguration +unknown")
		r.src.Update(4, nil, key(scopedRouteType, "s"), key(routeType, "rc"))
		c.expect("ScopedRouteConfiguration -s", "RouteConfiguration -rc")
	})
}
