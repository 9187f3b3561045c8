package loadclient

import (
	"fmt"
	"testing"

	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
)

// A server dies, and all its clients come to another one at once, which has seen two changes more: each is told of those,
// and of nothing else, however many come.
func TestReconnectStorm(t *testing.T) {
	const services, n = 200, 120
	big := world(t)
	for i := range services {
		name := fmt.Sprintf("svc/%d", i)
		big = append(big, clusterOf(name, "1"), endpointsOf(name, "1"), routesOf(name, "1", false), scopeOf(fmt.Sprintf("10.0.0.%d:80", i), name))
	}
	a, b := serve(t, big...), serve(t, big...)
	f := start(t, Config{Addresses: []string{a.address, b.address}, N: n})
	moving := []*Client{}
	for i, c := range f.Clients() {
		if i%2 == 0 {
			moving = append(moving, c)
		}
	}
	if got := len(a.push.Clients()); got != len(moving) {
		t.Fatalf("%d clients at the first server, want %d", got, len(moving))
	}
	before := map[*Client]map[string]Counts{}
	for _, c := range moving {
		before[c] = c.Counts()
	}
	b.update([]proto.Message{endpointsOf("svc/7", "2"), routesOf("svc/8", "2", false)})
	a.grpc.Stop()
	eventually(t, func() error {
		if got := len(b.push.Clients()); got != n {
			return fmt.Errorf("%d clients at the second server, want %d", got, n)
		}
		return nil
	})
	same(t, f)
	for _, c := range moving {
		for url, now := range c.Counts() {
			want := uint64(0)
			if url == xds.EndpointType || url == xds.RouteType {
				want = 1
			}
			if got := uint64(now.Resources - before[c][url].Resources); got != want {
				t.Fatalf("%s: %d resources of %s after it moved, want %d", c.ID(), got, short(url), want)
			}
		}
	}
}
