package integration_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"fairlead.io/fairlead/integration/loadclient"
	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	sourcekube "fairlead.io/fairlead/pkg/source/kube"
	"fairlead.io/fairlead/pkg/translate"
)

var soakTime = flag.Duration("soak", 20*time.Second, "how long TestSoak changes objects; it takes half a minute more")

// The clients of the soak that are not healthy, by number.
const (
	soakClients = 200
	slowClient  = 1 + iota
	flappingClient
	forgettingClient
	refusingClient
)

// soakWarm is after how many changes every buffer, cache and list has been used.
const soakWarm = 400

// soakMark is in everything that VirtualServices of the soak are edited to, and only there.
const soakMark = "soak-mark-"

// soakBehaviour is what client i does; refused is the route table that one of them does not accept with a mark in it.
func soakBehaviour(refused string) func(i int) loadclient.Behaviour {
	return func(i int) loadclient.Behaviour {
		switch i {
		case slowClient:
			return loadclient.Behaviour{Delay: 50 * time.Millisecond}
		case flappingClient:
			return loadclient.Behaviour{Flap: 700 * time.Millisecond}
		case forgettingClient:
			return loadclient.Behaviour{Flap: 3 * time.Second, Forget: true}
		case refusingClient:
			return loadclient.Behaviour{Reject: func(r *loadclient.Response) error {
				for _, u := range r.Updates {
					if u.Name == refused && strings.Contains(string(u.Body), soakMark) {
						return fmt.Errorf("%s is refused", u.Name)
					}
				}
				return nil
			}}
		}
		return loadclient.Behaviour{}
	}
}

// soakNode gives the client that refuses an Envoy version of its own: what one Envoy refuses is held back from all of its
// version.
func soakNode(i int) *core.Node {
	n := loadclient.EnvoyNode(i)
	if i == refusingClient {
		n.GetUserAgentBuildVersion().Version.MinorNumber--
	}
	return n
}

// TestSoak changes a cluster 50 times a second under 200 clients and a real Envoy, and demands that in the end everybody has
// what a new client gets, that nothing grows, and that no request through the Envoy has failed while its backends were
// replaced, one after the other, all the time.
func TestSoak(t *testing.T) {
	c := newCluster(t)
	source, err := sourcekube.New(sourcekube.Config{REST: c.Config(), Compat: []string{"istio"}})
	if err != nil {
		t.Fatal(err)
	}
	w := newSoakWorld(t, c)
	r := newRollout(t, c, podAddress(t))
	m := mesh.Start(t, mesh.Options{
		Source: source, Conditions: &server.Conditions{REST: c.Config(), Compat: true},
		Config: func(cfg *resolve.Config) { cfg.RootNamespace = "istio-system" },
	})
	r.begin(m)
	refused := "svc/" + w.namespace + "/" + w.host(0) + "/80"
	fleet, err := loadclient.Start(context.Background(), loadclient.Config{
		Addresses: []string{m.Server.XDS()}, N: soakClients, Node: soakNode, Window: 65536, Behave: soakBehaviour(refused),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	s := &soak{t: t, w: w, r: r, m: m, fleet: fleet, refused: refused}
	if err := fleet.Complete(s.patience()); err != nil {
		t.Fatal(err)
	}
	s.run(*soakTime/5, soakWarm)
	first := s.settle()
	s.run(*soakTime-*soakTime/5, 0)
	last := s.settle()
	requests, rollouts := r.end()
	t.Logf("%d changes, %d requests, %d backends replaced; after a fifth %v, in the end %v", w.changes.Load(), requests, rollouts, first, last)

	// The engine remembers its last 200,000 changes, keys included: it grows until it has so many, and no further.
	memory := min(400*uint64(w.changes.Load()), 16<<20)
	if limit := first.heap + 2<<20 + memory; last.heap > limit {
		t.Errorf("live heap grew from %d to %d bytes, more than to %d", first.heap, last.heap, limit)
	}
	if last.goroutines > first.goroutines+20 {
		t.Errorf("goroutines grew from %d to %d:\n%s", first.goroutines, last.goroutines, goroutines())
	}
	for _, c := range fleet.Clients() {
		s.healthy(c)
	}
}

// soak is a running soak.
type soak struct {
	t       *testing.T
	w       *soakWorld
	r       *rollout
	m       *mesh.Mesh
	fleet   *loadclient.Fleet
	refused string
	fresh   int
}

// footprint is what must not grow.
type footprint struct {
	heap       uint64 // bytes
	goroutines int
}

func (f footprint) String() string {
	return fmt.Sprintf("%.1f MB live, %d goroutines", float64(f.heap)/1e6, f.goroutines)
}

// patience ends when something has taken too long on the busiest machine.
func (s *soak) patience() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	s.t.Cleanup(cancel)
	return ctx
}

// run changes objects and replaces backends for a time, and until so many changes are made.
func (s *soak) run(d time.Duration, changes int64) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		defer cancel()
		done <- s.w.change(ctx, time.After(d), changes)
	}()
	rolled := s.r.roll(ctx)
	cancel()
	if err := errors.Join(rolled, <-done); err != nil {
		s.t.Fatal(err)
	}
}

// settle waits until every client has what a new one gets, and measures.
func (s *soak) settle() footprint {
	s.t.Helper()
	for _, i := range []int{flappingClient, forgettingClient} {
		s.fleet.Clients()[i].Behave(loadclient.Behaviour{})
	}
	s.fence()
	s.compare()
	f := footprint{heap: liveHeap(), goroutines: runtime.NumGoroutine()}
	for _, i := range []int{flappingClient, forgettingClient} {
		s.fleet.Clients()[i].Behave(soakBehaviour(s.refused)(i))
	}
	return f
}

// fence makes one last change of each kind and waits until all clients have it: then they have all before it too.
func (s *soak) fence() {
	s.t.Helper()
	f := s.w.fence()
	for what, w := range map[string]*loadclient.Watch{
		"a Service":        s.fleet.Watch(loadclient.Version(xds.ClusterType, f.cluster, "")),
		"an EndpointSlice": s.fleet.Watch(loadclient.Marker(xds.EndpointType, []byte(f.address))),
		"a VirtualService": s.fleet.Watch(loadclient.Marker(xds.RouteType, []byte(f.mark))),
	} {
		defer func() {
			s.t.Helper()
			if _, err := w.Wait(s.patience()); err != nil {
				s.t.Fatalf("%s does not arrive: %v", what, err)
			}
			w.Stop()
		}()
	}
	if err := f.write(); err != nil {
		s.t.Fatal(err)
	}
}

// compare holds all clients against a new one. The one that refuses may differ in what it refuses.
func (s *soak) compare() {
	s.t.Helper()
	s.fresh++
	fresh, err := loadclient.Start(context.Background(), loadclient.Config{
		Addresses: []string{s.m.Server.XDS()}, Node: func(int) *core.Node { return loadclient.EnvoyNode(soakClients + s.fresh) },
	})
	if err != nil {
		s.t.Fatal(err)
	}
	defer fresh.Close()
	if err := fresh.Complete(s.patience()); err != nil {
		s.t.Fatal(err)
	}
	want := fresh.Clients()[0]
	for _, url := range []string{xds.ClusterType, xds.EndpointType, xds.ListenerType, xds.RouteType, translate.ScopeType, translate.VirtualHostType} {
		if len(want.Resources(url)) == 0 {
			s.t.Fatalf("a new client has no %s: the comparison says nothing", url)
		}
	}
	var all []*loadclient.Client
	for i, c := range s.fleet.Clients() {
		if i != refusingClient {
			all = append(all, c)
		}
	}
	if err := s.fleet.WaitEqual(s.patience(), want, nil, all...); err != nil {
		s.t.Fatal(err)
	}
	refuses := s.fleet.Clients()[refusingClient]
	mesh.Eventually(s.t, func() error {
		d := loadclient.Diff(refuses, want)
		if len(d) != 1 || !strings.HasPrefix(d[0], "RouteConfiguration "+s.refused+": load-") || !strings.Contains(d[0], "has version") {
			return fmt.Errorf("the client that refuses %s differs in %q", s.refused, d)
		}
		return nil
	})
}

// healthy checks what a client met during the whole soak.
func (s *soak) healthy(c *loadclient.Client) {
	s.t.Helper()
	for url, n := range c.Counts() {
		if n.Rejected > 0 != (c.Number() == refusingClient && url == xds.RouteType) {
			s.t.Errorf("%s refused %d responses of %s", c.ID(), n.Rejected, url)
		}
		if n.Timeouts > 0 && c.Number() != flappingClient {
			s.t.Errorf("%s waited in vain for %d of %s", c.ID(), n.Timeouts, url)
		}
	}
	flaps := c.Number() == flappingClient || c.Number() == forgettingClient
	if n := c.Connects(); n > 1 != flaps {
		s.t.Errorf("%s began %d streams: %v", c.ID(), n, c.Err())
	}
}

// liveHeap is what is reachable. Cleanups run between collections and free more.
func liveHeap() uint64 {
	for range 3 {
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func goroutines() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

// jsonOf writes a merge patch.
func jsonOf(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // maps and strings only
	}
	return b
}
