package integration_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/snapshot"
)

// The web service, whose routes and endpoints have generations.
const (
	webRoutes    = "RouteConfiguration svc/default/web.default.svc.cluster.local/80"
	webEndpoints = "ClusterLoadAssignment svc/default/web.default.svc.cluster.local/80"
)

func clusterService(name, address string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: default}
spec: {clusterIP: %s, ports: [{name: http, port: 80}]}
`, name, address)
}

func webRoutesYAML(generation int) string {
	return fmt.Sprintf(`
apiVersion: fairlead.io/v1alpha1
kind: VirtualService
metadata: {name: web, namespace: default}
spec:
  hosts: [web]
  http:
  - headers: {request: {set: {x-generation: gen-%d}}}
    route: [{destination: {host: web}}]
`, generation)
}

func webEndpointsYAML(generation int) string {
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: default, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
endpoints: [{addresses: [10.1.0.1], conditions: {ready: true}}]
ports: [{name: http, port: %d, protocol: TCP}]
`, generation)
}

func TestReplicas(t *testing.T) {
	c := newCluster(t)
	c.apply(clusterService("web", "10.96.7.1") + "---" + webRoutesYAML(1) + "---" + webEndpointsYAML(1))
	b := newReplica(t, c)
	// b stays; the others die, and their clients go on at b.
	t.Run("clients of a dead replica go on at another", func(t *testing.T) { clientsGoOn(t, c, b) })
	t.Run("an idle kind does not hold up endpoints", func(t *testing.T) { idleKindsAreProven(t, c, b) })
	t.Run("a replica behind does not roll back", func(t *testing.T) { behindDoesNotRollBack(t, c, b) })
	t.Run("a watch that has died without a word is made anew", func(t *testing.T) { deadWatchIsMadeAnew(t, c, b) })
	t.Run("a position of another cluster is not waited for", func(t *testing.T) { foreignPositionIsNotWaitedFor(t, c, b) })
}

func clientsGoOn(t *testing.T, c *cluster, b *replica) {
	a := newReplica(t, c)
	f := newTravellers(t, 8, a, b)
	for generation := range 20 {
		if generation == 10 {
			go a.cancel() // in the middle of changes
		}
		c.apply(webRoutesYAML(100+generation) + "---" + webEndpointsYAML(100+generation))
	}
	a.die()
	f.reach(webRoutes, 119)
	f.reach(webEndpoints, 119)
	clients := f.Clients()
	if err := f.WaitEqual(t.Context(), clients[1], nil); err != nil {
		t.Error(err)
	}
	if n := clients[0].Connects(); n < 2 {
		t.Errorf("a client of the dead replica has had %d streams", n)
	}
}

func idleKindsAreProven(t *testing.T, c *cluster, b *replica) {
	a := newReplica(t, c)
	f := newTravellers(t, 1, a, b)
	c.apply(webRoutesYAML(200))
	f.reach(webRoutes, 200)
	shown, before := f.shown(), b.latest().Complete()
	compared := b.valve.compared("nodes")
	if before >= shown {
		t.Errorf("b is complete up to %d without a proof, and the client shows %d", before, shown)
	}
	a.die()
	mesh.Eventually(t, func() error { return servesOne(b) })
	f.look()
	moved := time.Now()
	c.apply(webEndpointsYAML(201))
	f.reach(webEndpoints, 201)
	if took := time.Since(moved); took > 10*time.Second {
		t.Errorf("the endpoints came after %v: idle kinds were waited for", took)
	}
	if came := f.look(); !slices.Equal(came, []string{"+" + webEndpoints}) {
		t.Errorf("after the move came %q, want the endpoints alone", came)
	}
	if n := b.valve.compared("nodes") - compared; n < 1 || n > 5 || b.latest().Complete() < shown {
		t.Errorf("%d lists of nodes, complete up to %d, want 1 to 5 lists, and %d", n, b.latest().Complete(), shown)
	}
}

func behindDoesNotRollBack(t *testing.T, c *cluster, b *replica) {
	c.apply(clusterService("old", "10.96.7.2"))
	a := newReplica(t, c)
	f := newTravellers(t, 1, a, b)
	mesh.Eventually(t, func() error { return knows(b, "old", true) })

	b.valve.hold("virtualservices", "services")
	defer b.valve.release()
	f.gone(clusterOf("old"), "10.96.7.2:80")
	c.delete(clusterService("old", "10.96.7.2"))
	c.apply(clusterService("young", "10.96.7.3") + "---" + webRoutesYAML(300))
	f.reach(webRoutes, 300)
	f.reach("Cluster "+clusterOf("young"), 0)
	shown := f.shown()
	c.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: noise}\n")
	mesh.Eventually(t, func() error {
		if p := b.latest().Position(); p <= shown {
			return fmt.Errorf("b has seen %d, the client shows %d", p, shown)
		}
		return nil
	})

	f.look()
	compared := b.valve.compared("virtualservices")
	a.die()
	mesh.Eventually(t, func() error { return servesOne(b) })
	mesh.Eventually(t, func() error { // b has looked, and looked again, and there is more than its watch has told
		if n := b.valve.compared("virtualservices") - compared; n < 3 {
			return fmt.Errorf("%d lists of VirtualServices", n)
		}
		return nil
	})
	if p := b.latest().Complete(); p >= shown {
		t.Errorf("b claims to be complete up to %d, and its watches are held before %d", p, shown)
	}
	if came := f.look(); len(came) > 0 {
		t.Errorf("b is behind, and the client was sent %q", came)
	}

	b.valve.release()
	mesh.Eventually(t, func() error {
		if p := b.latest().Complete(); p < shown {
			return fmt.Errorf("b is complete up to %d of %d", p, shown)
		}
		return knows(b, "young", true)
	})
	c.apply(webEndpointsYAML(301))
	f.reach(webEndpoints, 301)
	if came := f.look(); !slices.Equal(came, []string{"+" + webEndpoints}) {
		t.Errorf("b has caught up, and the client was sent %q, want the endpoints that changed, alone", came)
	}
	if err := knows(b, "old", false); err != nil {
		t.Error(err)
	}
}

func deadWatchIsMadeAnew(t *testing.T, c *cluster, b *replica) {
	a := newReplica(t, c)
	f := newTravellers(t, 1, a, b)
	b.valve.kill("virtualservices")
	c.apply(webRoutesYAML(400))
	f.reach(webRoutes, 400)
	shown := f.shown()
	a.die()
	mesh.Eventually(t, func() error {
		if p := b.latest().Complete(); p < shown {
			return fmt.Errorf("b is complete up to %d of %d", p, shown)
		}
		return nil
	})
	c.apply(webRoutesYAML(401))
	f.reach(webRoutes, 401)
}

func foreignPositionIsNotWaitedFor(t *testing.T, c *cluster, b *replica) {
	conn, err := grpc.NewClient(b.XDS(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		Node: &corev3.Node{Id: "immigrant"}, TypeUrl: xds.ClusterType,
		InitialResourceVersions: map[string]string{clusterOf("web"): fmt.Sprintf("abc@%d", uint64(1)<<62)},
	})
	if err != nil {
		t.Fatal(err)
	}
	mesh.Eventually(t, func() error {
		if b.Flow().Source.Want(1 << 62) {
			return errors.New("b takes it for a position")
		}
		return nil
	})
	c.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: later}\n") // the next snapshot
	for {
		res, err := stream.Recv()
		if err != nil {
			t.Fatalf("the cluster does not come: %v", err)
		}
		for _, r := range res.GetResources() {
			if r.GetName() == clusterOf("web") {
				return
			}
		}
		if err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: res.GetTypeUrl(), ResponseNonce: res.GetNonce()}); err != nil {
			t.Fatal(err)
		}
	}
}

func clusterOf(service string) string {
	return "svc/default/" + service + ".default.svc.cluster.local/80"
}

// knows tells whether a replica has a service's cluster, or has not.
func knows(r *replica, service string, want bool) error {
	has := r.latest().Get(snapshot.Key{Type: xds.ClusterType, Name: clusterOf(service)}) != nil
	if has != want {
		return fmt.Errorf("the replica has service %s: %v", service, has)
	}
	return nil
}

// servesOne tells whether a replica has one client, which has asked for all its types.
func servesOne(r *replica) error {
	clients := r.Push().Clients()
	if len(clients) != 1 || len(clients[0].Types) < 5 {
		return fmt.Errorf("b's clients: %+v", clients)
	}
	return nil
}
