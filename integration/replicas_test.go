package integration_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/integration/loadclient"
	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	"fairlead.io/fairlead/pkg/snapshot"
	sourcekube "fairlead.io/fairlead/pkg/source/kube"
)

// replica is one of several servers that read the same cluster.
type replica struct {
	*server.Server
	t      *testing.T
	valve  *valve
	cancel context.CancelFunc
	ended  chan error
}

func newReplica(t *testing.T, c *cluster) *replica {
	t.Helper()
	v := &valve{held: map[string]chan struct{}{}, lists: map[string]int{}, dead: map[string]int{}}
	to := c.Config()
	to.Wrap(v.wrap)
	source, err := sourcekube.New(sourcekube.Config{REST: to})
	if err != nil {
		t.Fatal(err)
	}
	cfg := resolve.DefaultConfig()
	stub := webStub
	stub.Address = netip.MustParseAddrPort("127.0.0.1:0")
	cfg.Stubs = []resolve.Stub{stub}
	srv, err := server.New(server.Config{
		Mesh: cfg, Source: source, XDS: "127.0.0.1:0", Admin: "127.0.0.1:0", Version: "test", Drain: time.Second,
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &replica{Server: srv, t: t, valve: v, cancel: cancel, ended: make(chan error, 1)}
	go func() { r.ended <- srv.Run(ctx) }()
	t.Cleanup(r.die)
	select {
	case <-srv.Flow().Source.Ready():
	case <-time.After(20 * time.Second):
		t.Fatal("the replica does not sync")
	}
	return r
}

// die ends the replica; its clients go elsewhere.
func (r *replica) die() {
	if r.cancel == nil {
		return
	}
	r.cancel()
	r.cancel = nil
	if err := <-r.ended; err != nil {
		r.t.Error(err)
	}
}

func (r *replica) latest() snapshot.Snapshot { return r.Flow().Source.Latest() }

// valve stands between a replica and its API server: it can hold up the watches of some kinds, and counts the lists that
// compare a kind's metadata.
type valve struct {
	mu    sync.Mutex
	held  map[string]chan struct{} // by plural; closed to let go
	lists map[string]int
	// opened counts the watches; those of a kind up to dead have died without a word.
	opened int
	dead   map[string]int
}

func (v *valve) hold(plurals ...string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, p := range plurals {
		v.held[p] = make(chan struct{})
	}
}

func (v *valve) release() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for p, c := range v.held {
		close(c)
		delete(v.held, p)
	}
}

func (v *valve) compared(plural string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.lists[plural]
}

// kill makes the present watches of a kind silent for ever.
func (v *valve) kill(plural string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dead[plural] = v.opened
}

// pass waits until a watch may be read; false when it is closed before.
func (v *valve) pass(b *heldBody) bool {
	v.mu.Lock()
	held := v.held[b.plural]
	if v.dead[b.plural] >= b.number {
		held = make(chan struct{})
	}
	v.mu.Unlock()
	if held == nil {
		return true
	}
	select {
	case <-held:
		return true
	case <-b.closed:
		return false
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (v *valve) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTrip(func(r *http.Request) (*http.Response, error) {
		plural, watches := path.Base(r.URL.Path), r.URL.Query().Get("watch") != ""
		if !watches && strings.Contains(r.Header.Get("Accept"), "PartialObjectMetadataList") {
			v.mu.Lock()
			v.lists[plural]++
			v.mu.Unlock()
		}
		res, err := next.RoundTrip(r)
		if err == nil && watches {
			v.mu.Lock()
			v.opened++
			res.Body = &heldBody{ReadCloser: res.Body, valve: v, plural: plural, number: v.opened, closed: make(chan struct{})}
			v.mu.Unlock()
		}
		return res, err
	})
}

// heldBody is the stream of a watch: what has come while it is held is read when it is let go.
type heldBody struct {
	io.ReadCloser
	valve  *valve
	plural string
	number int
	once   sync.Once
	closed chan struct{}
}

func (b *heldBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.valve.pass(b) {
		return 0, io.ErrClosedPipe
	}
	return n, err
}

func (b *heldBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.ReadCloser.Close()
}

// travellers are clients that move from replica to replica, and never may see an older generation of anything, nor the
// removal of what was not deleted.
type travellers struct {
	*loadclient.Fleet
	t *testing.T

	mu      sync.Mutex
	has     map[string]int // generation by client and resource
	deleted map[string]bool
	came    []string // since the last look, of any client
	faults  []string
}

func newTravellers(t *testing.T, n int, over ...*replica) *travellers {
	t.Helper()
	f := &travellers{t: t, has: map[string]int{}, deleted: map[string]bool{}}
	cfg := loadclient.Config{N: n, OnUpdate: f.update, Backoff: 20 * time.Millisecond, MaxBackoff: 100 * time.Millisecond}
	for _, r := range over {
		cfg.Addresses = append(cfg.Addresses, r.XDS())
	}
	var err error
	if f.Fleet, err = loadclient.Start(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		f.Close()
		for _, fault := range f.faults {
			t.Error(fault)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := f.Complete(ctx); err != nil {
		t.Fatal(err)
	}
	return f
}

var generationText = regexp.MustCompile(`gen-(\d+)`)

// generationOf is what the test wrote into a resource: a header's value, or the port of an endpoint; 0 for others.
func generationOf(u *loadclient.Update) int {
	switch u.Type {
	case xds.EndpointType:
		var a endpointv3.ClusterLoadAssignment
		if proto.Unmarshal(u.Body, &a) == nil && len(a.GetEndpoints()) > 0 {
			return int(a.GetEndpoints()[0].GetLbEndpoints()[0].GetEndpoint().GetAddress().GetSocketAddress().GetPortValue())
		}
	case xds.RouteType:
		if m := generationText.FindSubmatch(u.Body); m != nil {
			n, _ := strconv.Atoi(string(m[1]))
			return n
		}
	}
	return 0
}

func (f *travellers) update(c *loadclient.Client, u *loadclient.Update) {
	if u.Removed && strings.HasSuffix(u.Name, "/") {
		return // the answer that a route table has no virtual hosts
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	what := path.Base(strings.ReplaceAll(u.Type, ".", "/")) + " " + u.Name
	key, sign := c.ID()+" "+what, "+"
	switch n := generationOf(u); {
	case u.Removed && !f.deleted[u.Name]:
		f.faults = append(f.faults, key+" was removed, and nobody deleted it")
	case !u.Removed && f.deleted[u.Name]:
		f.faults = append(f.faults, key+" came again after it was deleted")
	case !u.Removed && n < f.has[key]:
		f.faults = append(f.faults, fmt.Sprintf("%s went back from generation %d to %d", key, f.has[key], n))
	default:
		f.has[key] = n
	}
	if u.Removed {
		sign = "-"
	}
	f.came = append(f.came, sign+what)
}

// look gives what has come since the last look.
func (f *travellers) look() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	came := f.came
	f.came = nil
	return came
}

// gone says that names will be deleted.
func (f *travellers) gone(names ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		f.deleted[name] = true
	}
}

// reach waits until all clients have at least a generation of the resource of a type.
func (f *travellers) reach(what string, generation int) {
	f.t.Helper()
	mesh.Eventually(f.t, func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, c := range f.Clients() {
			if n := f.has[c.ID()+" "+what]; n < generation {
				return fmt.Errorf("%s has generation %d of %s, not %d (its last stream: %v)", c.ID(), n, what, generation, c.Err())
			}
		}
		return nil
	})
}

// shown is the highest position of the versions that a client shows.
func (f *travellers) shown() (highest uint64) {
	for _, url := range []string{xds.ClusterType, xds.EndpointType, xds.ListenerType, xds.RouteType, xds.ScopedRouteType, xds.VirtualHostType} {
		for r := range maps.Values(f.Clients()[0].Resources(url)) {
			_, position, _ := snapshot.ParseVersion(r.Version)
			highest = max(highest, position)
		}
	}
	return highest
}

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
