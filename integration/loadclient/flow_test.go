package loadclient

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/snapshot"
)

// names lists what a client has, as "Cluster c1".
func names(c *Client) []string {
	var out []string
	for _, url := range order {
		for _, n := range slices.Sorted(maps.Keys(c.Resources(url))) {
			out = append(out, short(url)+" "+n)
		}
	}
	return out
}

// has waits until a client has exactly these.
func has(t *testing.T, c *Client, want ...string) {
	t.Helper()
	eventually(t, func() error {
		if got := names(c); !slices.Equal(got, want) {
			return fmt.Errorf("%s has\n%s\nwant\n%s", c.ID(), strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
}

var all = []string{
	"Cluster c1", "Cluster c2", "ClusterLoadAssignment c1", "ClusterLoadAssignment c2", "Listener l1", "Secret s1",
	"ScopedRouteConfiguration 1.2.3.4:80", "RouteConfiguration gateway", "RouteConfiguration r1", "VirtualHost gateway/h1",
}

func TestClientsFollowEveryReference(t *testing.T) {
	s := serve(t, world(t)...)
	f := start(t, Config{Addresses: []string{s.address}, N: 3})
	for _, c := range f.Clients() {
		has(t, c, all...)
	}
	if n := len(f.Cold()); n != 3 {
		t.Errorf("%d clients tell how long they took, want 3", n)
	}
	// Another cluster, another secret and route table for the listener, another route table for the scope.
	s.update([]proto.Message{
		clusterOf("c3", "1"), listenerOf(t, "l1", "r1", "s2"), scopeOf("1.2.3.4:80", "unused"),
	}, snapshot.Key{Type: xds.ClusterType, Name: "c1"})
	for _, c := range f.Clients() {
		has(t, c, "Cluster c2", "Cluster c3", "ClusterLoadAssignment c2", "ClusterLoadAssignment c3", "Listener l1", "Secret s2",
			"ScopedRouteConfiguration 1.2.3.4:80", "RouteConfiguration r1", "RouteConfiguration unused")
	}
	same(t, f)
	eventually(t, func() error { // the server has heard of all that was given up
		for _, c := range s.push.Clients() {
			for _, ty := range c.Types {
				if ty.Type == xds.EndpointType && ty.Subscribed != 2 || ty.Type == xds.SecretType && ty.Subscribed != 1 || ty.InFlight {
					return fmt.Errorf("%s: %+v", c.Node.ID, ty)
				}
			}
		}
		return nil
	})
}

func TestNewStreamGetsOnlyDifferences(t *testing.T) {
	s := serve(t, world(t)...)
	f := start(t, Config{Addresses: []string{s.address}, N: 2})
	keeps, forgets := f.Clients()[0], f.Clients()[1]
	reconnect := func(c *Client, forget bool) {
		t.Helper()
		was := c.Connects()
		c.Behave(Behaviour{Flap: 1, Forget: forget})
		eventually(t, func() error {
			if n := c.Connects(); n == was {
				return fmt.Errorf("%s began %d streams", c.ID(), n)
			}
			return nil
		})
		c.Behave(Behaviour{})
	}
	before := keeps.Counts()
	reconnect(keeps, false)
	reconnect(forgets, true)
	w := f.Watch(Marker(xds.EndpointType, []byte("marker")))
	defer w.Stop()
	s.update([]proto.Message{endpointsOf("c2", "marker")})
	if _, err := w.Wait(patience(t)); err != nil {
		t.Fatal(err)
	}
	same(t, f)
	for url, n := range keeps.Counts() {
		want := before[url].Resources
		if url == xds.EndpointType {
			want++
		}
		if n.Resources != want {
			t.Errorf("%s: %d resources after a new stream, want %d", short(url), n.Resources, want)
		}
	}
	if n := forgets.Counts()[xds.ClusterType].Resources; n < 4 {
		t.Errorf("a client that forgot everything got %d clusters in two streams, want 4 or more", n)
	}
}

func TestClientsGoToTheNextAddress(t *testing.T) {
	a, b := serve(t, world(t)...), serve(t, world(t)...)
	f := start(t, Config{Addresses: []string{a.address, b.address}, N: 4})
	if n := len(a.push.Clients()); n != 2 {
		t.Errorf("%d clients at the first address, want 2", n)
	}
	a.grpc.Stop()
	eventually(t, func() error {
		if n := len(b.push.Clients()); n != 4 {
			return fmt.Errorf("%d clients at the second address, want 4", n)
		}
		return nil
	})
	if err := f.Clients()[0].Err(); err == nil || !strings.Contains(err.Error(), "load-0") || !strings.Contains(err.Error(), a.address) {
		t.Errorf("error %v names neither client nor address", err)
	}
	b.update([]proto.Message{clusterOf("c3", "1")})
	same(t, f)
}

func TestRefusedResource(t *testing.T) {
	s := serve(t, world(t)...)
	f := start(t, Config{Addresses: []string{s.address}, N: 2, Behave: func(i int) Behaviour {
		if i == 0 {
			return Behaviour{}
		}
		return Behaviour{Reject: func(r *Response) error {
			for _, u := range r.Updates {
				if u.Name == "bad" {
					return fmt.Errorf("I do not like %s", u.Name)
				}
			}
			return nil
		}}
	}})
	s.update([]proto.Message{clusterOf("bad", "1"), clusterOf("good", "1"), endpointsOf("good", "1"), endpointsOf("bad", "1")})
	refuses := f.Clients()[1]
	with := slices.Concat([]string{"Cluster c1", "Cluster c2", "Cluster good", "ClusterLoadAssignment c1", "ClusterLoadAssignment c2", "ClusterLoadAssignment good"}, all[4:])
	has(t, refuses, with...)
	eventually(t, func() error {
		for _, c := range s.push.Clients() {
			for _, ty := range c.Types {
				if c.Node.ID == refuses.ID() && ty.Type == xds.ClusterType && ty.LastNack == "I do not like bad" && ty.Quarantined == 1 {
					return nil
				}
			}
		}
		return fmt.Errorf("no such rejection: %+v", s.push.Clients())
	})
	if n := refuses.Counts()[xds.ClusterType].Rejected; n == 0 {
		t.Error("the client counted no rejection")
	}
}

func TestOnUpdateSeesAllInOrder(t *testing.T) {
	s := serve(t, world(t)...)
	seen := map[string][]string{} // by name; one client, so one goroutine
	f := start(t, Config{Addresses: []string{s.address}, OnUpdate: func(_ *Client, u *Update) {
		if u.Type == xds.EndpointType {
			seen[u.Name] = append(seen[u.Name], u.Version)
			if len(u.Body) == 0 {
				t.Errorf("%s has no body", u.Name)
			}
		}
	}})
	for i := range 5 {
		w := f.Watch(Marker(xds.EndpointType, fmt.Appendf(nil, "marker-%d", i)))
		s.update([]proto.Message{endpointsOf("c1", fmt.Sprintf("marker-%d", i))})
		if _, err := w.Wait(patience(t)); err != nil {
			t.Fatal(err)
		}
		w.Stop()
	}
	f.Close()
	last := uint64(0)
	for _, v := range seen["c1"] {
		_, position, ok := snapshot.ParseVersion(v)
		if !ok || position <= last {
			t.Errorf("versions %v", seen["c1"])
		}
		last = position
	}
	if len(seen["c1"]) != 6 {
		t.Errorf("versions %v, want 6", seen["c1"])
	}
}

func TestWatchesAndDiff(t *testing.T) {
	s := serve(t, world(t)...)
	f := start(t, Config{Addresses: []string{s.address}, N: 2})
	gone, came := f.Watch(Removal(xds.ClusterType, "c1")), f.Watch(Version(xds.ClusterType, "c3", ""))
	big := f.Watch(Marker(xds.EndpointType, []byte("needle")))
	s.update([]proto.Message{clusterOf("c3", "1"), endpointsOf("c2", strings.Repeat("x", 10_000)+"needle")}, snapshot.Key{Type: xds.ClusterType, Name: "c1"})
	for _, w := range []*Watch{gone, came, big} {
		if times, err := w.Wait(patience(t)); err != nil || len(times) != 2 {
			t.Errorf("%v, %v", times, err)
		}
		w.Stop()
	}
	if n := len(f.watching()); n != 0 {
		t.Errorf("%d watches after Stop", n)
	}
	same(t, f)
	other := start(t, Config{Addresses: []string{serve(t, clusterOf("c2", "2"), clusterOf("c9", "1"), endpointsOf("c9", "1")).address}})
	a, b := f.Clients()[0], other.Clients()[0]
	got := strings.Join(Diff(a, b, xds.ClusterType), "\n")
	for _, want := range []string{`Cluster c2: load-0 has version "`, "Cluster c3: only load-0 has it", "Cluster c9: only load-0 has it"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if Equal(a, b) || Equal(a, b, xds.ClusterType) || !Equal(a, f.Clients()[1]) {
		t.Error("Equal")
	}
}
