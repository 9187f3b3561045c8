package push

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/snapshot"
)

// worldClient speaks the state-of-the-world protocol, and acknowledges only when told.
type worldClient struct {
	t        *testing.T
	stream   discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	got      chan *discovery.DiscoveryResponse
	err      chan error
	names    map[string][]string
	versions map[string]string
	node     *core.Node
}

func (r *rig) world(id string) *worldClient {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := discovery.NewAggregatedDiscoveryServiceClient(r.conn).StreamAggregatedResources(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	c := &worldClient{
		t: r.t, stream: s, got: make(chan *discovery.DiscoveryResponse, 100), err: make(chan error, 1),
		names: map[string][]string{}, versions: map[string]string{},
		node: &core.Node{Id: id, UserAgentName: "test", UserAgentVersionType: &core.Node_UserAgentVersion{UserAgentVersion: "1"}},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := s.Recv()
			if err != nil {
				c.err <- err
				return
			}
			c.got <- m
		}
	}()
	r.t.Cleanup(func() { cancel(); <-done })
	return c
}

func (c *worldClient) send(req *discovery.DiscoveryRequest) {
	c.t.Helper()
	req.Node, c.node = c.node, nil // only the first names it
	req.VersionInfo = c.versions[req.TypeUrl]
	if err := c.stream.Send(req); err != nil {
		c.t.Fatal(err)
	}
}

// subscribe sends the full list of names, with the nonce of the latest response m, which is nil before the first.
func (c *worldClient) subscribe(typeURL string, m *discovery.DiscoveryResponse, names ...string) {
	c.t.Helper()
	c.names[typeURL] = names
	c.send(&discovery.DiscoveryRequest{TypeUrl: typeURL, ResourceNames: names, ResponseNonce: m.GetNonce()})
}

func (c *worldClient) ack(m *discovery.DiscoveryResponse) *discovery.DiscoveryResponse {
	c.t.Helper()
	c.versions[m.TypeUrl] = m.VersionInfo
	c.send(&discovery.DiscoveryRequest{TypeUrl: m.TypeUrl, ResourceNames: c.names[m.TypeUrl], ResponseNonce: m.Nonce})
	return m
}

func (c *worldClient) nack(m *discovery.DiscoveryResponse, message string) {
	c.t.Helper()
	c.send(&discovery.DiscoveryRequest{
		TypeUrl: m.TypeUrl, ResourceNames: c.names[m.TypeUrl], ResponseNonce: m.Nonce, ErrorDetail: &rpc.Status{Code: 3, Message: message},
	})
}

func (c *worldClient) next() *discovery.DiscoveryResponse {
	c.t.Helper()
	select {
	case m := <-c.got:
		return m
	case err := <-c.err:
		c.t.Fatalf("stream ended: %v", err)
	case <-time.After(20 * time.Second):
		c.t.Fatal("no response")
	}
	return nil
}

// want takes the next response: "Cluster a=1 b=2", every resource with its text (see res).
func (c *worldClient) want(line string) *discovery.DiscoveryResponse {
	c.t.Helper()
	m := c.next()
	if got := c.show(m); got != line {
		c.t.Fatalf("got response %q, want %q", got, line)
	}
	return m
}

func (c *worldClient) expect(lines ...string) (last *discovery.DiscoveryResponse) {
	c.t.Helper()
	for _, l := range lines {
		last = c.ack(c.want(l))
	}
	return last
}

func (c *worldClient) quiet() {
	c.t.Helper()
	synctest.Wait()
	select {
	case m := <-c.got:
		c.t.Fatalf("unexpected response %q", c.show(m))
	default:
	}
}

func (c *worldClient) show(m *discovery.DiscoveryResponse) string {
	c.t.Helper()
	parts := []string{short(m.TypeUrl)}
	for _, r := range m.Resources {
		body, err := r.UnmarshalNew()
		if err != nil {
			c.t.Fatal(err)
		}
		parts = append(parts, nameAndText(body))
	}
	return strings.Join(parts, " ")
}

func nameAndText(m proto.Message) string {
	switch m := m.(type) {
	case interface {
		GetName() string
		GetAltStatName() string
	}:
		return m.GetName() + "=" + m.GetAltStatName()
	case interface {
		GetName() string
		GetStatPrefix() string
	}:
		return m.GetName() + "=" + m.GetStatPrefix()
	case interface {
		GetName() string
		GetInternalOnlyHeaders() []string
	}:
		return m.GetName() + "=" + strings.Join(m.GetInternalOnlyHeaders(), "")
	}
	s := fmt.Sprint(m)
	if i := strings.Index(s, `key:"`); i >= 0 {
		return strings.Split(s[strings.Index(s, `cluster_name:"`)+14:], `"`)[0] + "=" + strings.Split(s[i+5:], `"`)[0]
	}
	return strings.Split(s[strings.Index(s, `cluster_name:"`)+14:], `"`)[0] + "="
}

func TestSotWWorldOfClusters(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "1", 1), res(t, clusterType, "b", "1", 1)})
		c := r.world("n")
		c.subscribe(clusterType, nil)
		c.expect("Cluster a=1 b=1")
		r.src.Update(2, []*snapshot.Resource{res(t, clusterType, "b", "2", 2)})
		c.expect("Cluster a=1 b=2") // all of them, as what is absent is removed
		r.src.Update(3, nil, snapshot.Key{Type: clusterType, Name: "a"})
		m := c.expect("Cluster b=2")
		c.quiet()
		if _, position, ok := snapshot.ParseVersion(m.VersionInfo); !ok || position != 2 {
			t.Errorf("version %q", m.VersionInfo)
		}
		st := r.srv.Status().For(ref("b"))
		if !st.Programmed() {
			t.Errorf("not programmed: %+v", st)
		}
		r.src.Update(4, nil, snapshot.Key{Type: clusterType, Name: "b"})
		c.expect("Cluster")
		c.quiet()
	})
}

// TestSotWNeverHalfAWorld sends more clusters than fit into a response: a part of them would remove the rest from a client
// that has them.
func TestSotWNeverHalfAWorld(t *testing.T) {
	bubble(t, Config{MaxResponse: 400}, func(t *testing.T, r *rig) {
		r.src.Update(1, append(many(t, clusterType, "1", 1, 50), many(t, endpointType, "1", 1, 50)...))
		c := r.world("n")
		c.subscribe(clusterType, nil)
		if m := c.next(); len(m.Resources) != 50 {
			t.Errorf("%d clusters", len(m.Resources))
		}
		c.subscribe(endpointType, nil, "r000", "r001", "r002", "r003", "r004", "r005", "r006")
		if m := c.next(); len(m.Resources) == 7 {
			t.Error("other types are not split")
		}
	})
}

func TestSotWOnlyWhatChangedOfOthers(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, endpointType, "a", "1", 1), res(t, endpointType, "b", "1", 1), res(t, endpointType, "c", "1", 1)})
		c := r.world("n")
		c.subscribe(endpointType, nil, "a", "b", "none")
		m := c.expect("ClusterLoadAssignment a=1 b=1 none=") // there is no other way to say that there are none
		r.src.Update(2, []*snapshot.Resource{res(t, endpointType, "b", "2", 2)})
		m2 := c.want("ClusterLoadAssignment b=2")
		c.subscribe(endpointType, m, "a", "b", "c") // sent before it had the response
		c.nack(m, "stale")
		c.quiet()
		if ty := r.srv.Clients()[0].Types[0]; ty.Nacks != 0 || !ty.InFlight {
			t.Errorf("a stale request counts: %+v", ty)
		}
		c.ack(m2)
		m = c.expect("ClusterLoadAssignment c=1")
		c.subscribe(endpointType, m, "c")
		c.quiet()
		r.src.Update(3, []*snapshot.Resource{res(t, endpointType, "a", "3", 3)})
		c.quiet()
		c.subscribe(endpointType, m, "c", "a")
		c.expect("ClusterLoadAssignment a=3") // again, as it was given up before
		r.src.Update(4, nil, snapshot.Key{Type: endpointType, Name: "a"})
		m = c.expect("ClusterLoadAssignment a=")
		c.subscribe(endpointType, m)
		c.quiet()
		r.src.Update(5, []*snapshot.Resource{res(t, endpointType, "c", "5", 5)})
		c.quiet()
	})
}

func TestSotWNamesAndWildcard(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, many(t, listenerType, "1", 1, 3))
		c := r.world("n")
		c.subscribe(listenerType, nil)
		m := c.expect("Listener r000=1 r001=1 r002=1")
		c.subscribe(listenerType, m, "*", "r001") // still all, and one by its name
		m = c.expect("Listener r000=1 r001=1 r002=1")
		c.subscribe(listenerType, m, "r001")
		c.quiet()
		r.src.Update(2, []*snapshot.Resource{res(t, listenerType, "r000", "2", 2), res(t, listenerType, "r001", "2", 2)})
		m = c.expect("Listener r001=2")
		c.subscribe(listenerType, m) // nothing: no wildcard any more
		c.quiet()
		r.src.Update(3, many(t, listenerType, "3", 3, 3))
		c.quiet()
		c.subscribe(listenerType, m, "*", "*", "none")
		c.expect("Listener r000=3 r001=3 r002=3")
		c.quiet()
	})
}

func TestSotWOneBadCluster(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, many(t, clusterType, "1", 1, 3))
		c := r.world("n")
		c.subscribe(clusterType, nil)
		c.expect("Cluster r000=1 r001=1 r002=1")
		r.src.Update(2, append(many(t, clusterType, "2", 2, 2), res(t, clusterType, "new", "2", 2)))
		c.nack(c.want("Cluster new=2 r000=2 r001=2 r002=1"), "cluster r001 is no good")
		c.expect("Cluster new=2 r000=2 r001=1 r002=1") // the others, with the last good one in its place
		c.nack(c.want("Cluster new=2 r000=2 r001=2 r002=1"), "no good")
		synctest.Wait()
		st := r.srv.Status().For(ref("r001"))
		if len(st.Rejected) != 1 || st.Rejected[0].Message != "no good" || st.Programmed() {
			t.Errorf("r001: %+v", st)
		}
		r.src.Update(3, []*snapshot.Resource{res(t, clusterType, "r002", "3", 3)})
		c.expect("Cluster new=2 r000=2 r001=1 r002=3")
		r.src.Update(4, []*snapshot.Resource{res(t, clusterType, "r001", "4", 4)})
		c.expect("Cluster new=2 r000=2 r001=4 r002=3")
		c.quiet()
		if st := r.srv.Status().For(ref("r001")); !st.Programmed() {
			t.Errorf("r001 after its repair: %+v", st)
		}
	})
}

func TestSotWRoutes(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, routeType, "a", "1", 1)})
		c := r.world("n")
		c.subscribe(routeType, nil, "a", "late")
		c.expect("RouteConfiguration a=1 late=")
		r.src.Update(2, []*snapshot.Resource{res(t, routeType, "late", "2", 2)}, snapshot.Key{Type: routeType, Name: "a"})
		c.expect("RouteConfiguration late=2", "RouteConfiguration a=")
		c.quiet()
	})
}

// TestSotWNewStream shows a replica whose watch is behind what the client had elsewhere: it must not roll it back.
func TestSotWNewStream(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(5, []*snapshot.Resource{res(t, endpointType, "a", "old", 5)})
		c := r.world("n")
		c.versions[endpointType] = "abc@9"
		c.subscribe(endpointType, nil, "a")
		c.quiet()
		r.src.Update(9, []*snapshot.Resource{res(t, endpointType, "a", "new", 9)})
		c.expect("ClusterLoadAssignment a=new")
		c.quiet()
	})
}

func TestSotWRefusals(t *testing.T) {
	for name, req := range map[string]*discovery.DiscoveryRequest{
		"no type":    {Node: &core.Node{Id: "n"}},
		"no node":    {TypeUrl: clusterType},
		"long name":  {Node: &core.Node{Id: "n"}, TypeUrl: clusterType, ResourceNames: []string{strings.Repeat("x", maxName+1)}},
		"many names": {Node: &core.Node{Id: "n"}, TypeUrl: clusterType, ResourceNames: []string{"a", "b", "c", "d"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{MaxNames: 3}, func(t *testing.T, r *rig) {
				r.src.Update(1, many(t, clusterType, "1", 1, 3))
				c := r.world("n")
				c.node = req.GetNode()
				c.send(req)
				select {
				case err := <-c.err:
					if slices.Contains([]string{"", "EOF"}, err.Error()) {
						t.Errorf("ended with %v", err)
					}
				case m := <-c.got:
					t.Errorf("served %s", c.show(m))
				case <-time.After(20 * time.Second):
					t.Error("nothing happens")
				}
			})
		})
	}
}
