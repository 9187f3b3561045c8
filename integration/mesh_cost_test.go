package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/translate"
)

// deltaClient subscribes as an Envoy does and acknowledges everything: clusters, listeners, scopes and virtual hosts as a
// whole, endpoints and route tables by name.
type deltaClient struct {
	stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	mu     sync.Mutex
	got    []deltaResponse
}

// deltaResponse is one response: how large it was, and what was in it.
type deltaResponse struct {
	typeURL        string
	names, removed []string
	bytes          int
}

func newDeltaClient(t *testing.T, address string) *deltaClient {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &deltaClient{}
	if c.stream, err = discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx); err != nil {
		t.Fatal(err)
	}
	for i, u := range []string{xds.ClusterType, xds.ListenerType, translate.ScopeType, translate.VirtualHostType} {
		q := &discovery.DeltaDiscoveryRequest{TypeUrl: u}
		if i == 0 {
			q.Node = &corev3.Node{Id: "delta"}
		}
		if err := c.stream.Send(q); err != nil {
			t.Fatal(err)
		}
	}
	// A listener asks for this one by name.
	if err := c.stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: xds.RouteType, ResourceNamesSubscribe: []string{model.HostTable}}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); c.receive() }()
	t.Cleanup(func() { cancel(); <-done; _ = conn.Close() })
	return c
}

// receive ends with the stream.
func (c *deltaClient) receive() {
	for {
		res, err := c.stream.Recv()
		if err != nil {
			return
		}
		r := deltaResponse{typeURL: res.TypeUrl, removed: res.RemovedResources, bytes: proto.Size(res)}
		var follow []string
		for _, x := range res.Resources {
			r.names = append(r.names, x.Name)
			switch res.TypeUrl {
			case xds.ClusterType:
				follow = append(follow, x.Name)
			case translate.ScopeType:
				var s routev3.ScopedRouteConfiguration
				if x.Resource.UnmarshalTo(&s) == nil {
					follow = append(follow, s.RouteConfigurationName)
				}
			}
		}
		c.mu.Lock()
		c.got = append(c.got, r)
		c.mu.Unlock()
		_ = c.stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: res.TypeUrl, ResponseNonce: res.Nonce})
		if next := map[string]string{xds.ClusterType: xds.EndpointType, translate.ScopeType: xds.RouteType}[res.TypeUrl]; len(follow) > 0 {
			_ = c.stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: next, ResourceNamesSubscribe: follow})
		}
	}
}

// take gives the responses since the last take.
func (c *deltaClient) take() []deltaResponse {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.got
	c.got = nil
	return out
}

// manyServices are n Services with a VirtualService each but one, all for the pods of app a.
func manyServices(n, without int) string {
	var b strings.Builder
	b.WriteString(podYAML("shop", "a", 1, "app: a", ""))
	for i := range n {
		b.WriteString(selecting("a", fmt.Sprintf("s%d", i), manyAddress(i), anyHTTP))
		if i != without {
			b.WriteString(manyRule(i, "old"))
		}
	}
	return b.String()
}

func manyAddress(i int) string { return fmt.Sprintf("10.%d.%d.%d", 97+i/60000, i/250%240, 1+i%250) }

func manyRule(i int, word string) string {
	name := fmt.Sprintf("s%d", i)
	return virtualServiceYAML("shop", name, name, "  http:\n"+saying(word, "{uri: {exact: /word}}")+
		"  - match: [{headers: {x-canary: {exact: \"yes\"}}}]\n    route: [{destination: {host: "+name+"}}]\n  - route: [{destination: {host: "+name+"}}]")
}

// TestMeshEditCost is the promise of the architecture: at 5,000 services the edit of one VirtualService sends a client one
// route table of at most 10 KB; where hosts are also found by name, one virtual host more.
func TestMeshEditCost(t *testing.T) {
	const limit = 10 << 10
	for _, c := range []struct {
		services int
		named    bool
		want     map[string]int
	}{
		{5000, false, map[string]int{xds.RouteType: 1}},
		{500, true, map[string]int{xds.RouteType: 1, translate.VirtualHostType: 1}},
	} {
		t.Run(fmt.Sprintf("%d services, by name: %v", c.services, c.named), func(t *testing.T) {
			edited := c.services - 1
			m := newMeshServer(t, meshOptions{stubs: []resolve.Stub{webStub}, named: c.named, first: manyServices(c.services, edited)})
			m.write("edited.yaml", manyRule(edited, "old"))
			client := newDeltaClient(t, m.srv.XDS())
			name := fmt.Sprintf("svc/shop/s%d.shop.svc.cluster.local/80", edited)
			table := m.waitForTables(t, c.services, name)
			boot := 0
			for _, r := range client.take() {
				boot += r.bytes
			}
			m.write("edited.yaml", manyRule(edited, "new"))
			until(t, "the edit is computed", func() error {
				if m.table(name).Hash == table.Hash {
					return fmt.Errorf("%s is as before", name)
				}
				return nil
			})
			m.settled()
			sum, got := 0, map[string]int{}
			for _, r := range client.take() {
				sum += r.bytes
				got[r.typeURL] += len(r.names) + len(r.removed)
				if r.typeURL == xds.RouteType && !slices.Equal(r.names, []string{name}) {
					t.Errorf("tables sent: %v", r.names)
				}
			}
			t.Logf("one edit: %d bytes in %v; everything: %d bytes", sum, got, boot)
			if sum > limit || sum == 0 || !maps.Equal(got, c.want) {
				t.Errorf("one edit cost %d bytes in %v; want at most %d in %v", sum, got, limit, c.want)
			}
		})
	}
}

// table is the newest form of a route table, or nil.
func (m *meshRig) table(name string) *snapshot.Resource {
	if s := m.srv.Flow().Source.Latest(); s != nil {
		return s.Get(snapshot.Key{Type: xds.RouteType, Name: name})
	}
	return nil
}

// waitForTables waits until the delta client has n tables, and the one of that name with the routes of a VirtualService.
func (m *meshRig) waitForTables(t *testing.T, n int, name string) *snapshot.Resource {
	t.Helper()
	within(t, 4*time.Minute, "the client has every table", func() error {
		if r := m.table(name); r == nil || len(r.Origins) < 2 {
			return fmt.Errorf("%s is not yet made from Service and VirtualService", name)
		}
		got := 0
		for _, r := range m.srv.Push().Resources("delta") {
			if r.Type == xds.RouteType && r.Acked && r.Name != model.HostTable {
				got++
			}
		}
		if got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
	m.settled()
	return m.table(name)
}

// TestMeshEditTouchesOneTable edits one VirtualService of 1,000 on a real Envoy: the next request sees it, no other table of
// Envoy gets another version, and the same edit in one table for all hosts would be two hundred times as many bytes.
func TestMeshEditTouchesOneTable(t *testing.T) {
	const n, edited = 1000, 777
	m := newMeshRig(t, meshOptions{stubs: []resolve.Stub{webStub}, first: manyServices(n, edited)})
	m.write("edited.yaml", manyRule(edited, "old"))
	q := meshCall{to: manyAddress(edited) + ":80", path: "/word"}
	m.said(t, q, "old")
	m.said(t, meshCall{to: manyAddress(edited+1) + ":80", path: "/word"}, "old")
	before := m.tableVersions(t)
	m.write("edited.yaml", manyRule(edited, "new"))
	m.said(t, q, "new")
	m.said(t, meshCall{to: manyAddress(edited+1) + ":80", path: "/word"}, "old")
	m.settled()
	after := m.tableVersions(t)
	if len(before) < n {
		t.Fatalf("Envoy has %d tables of %d", len(before), n)
	}
	name := fmt.Sprintf("svc/shop/s%d.shop.svc.cluster.local/80", edited)
	for table, version := range after {
		if changed := version != before[table]; changed != (table == name) {
			t.Errorf("table %s: version %s was %s", table, version, before[table])
		}
	}
	one, all := 0, 0
	m.srv.Flow().Source.Latest().Range(xds.RouteType, func(r *snapshot.Resource) bool {
		if all += len(r.Body.Value); r.Name == name {
			one = len(r.Body.Value)
		}
		return true
	})
	t.Logf("one table: %d bytes, all in one: %d", one, all)
	if one == 0 || all < 200*one {
		t.Errorf("one table has %d bytes, all together %d", one, all)
	}
}

// tableVersions are the route tables that Envoy has by ADS, with their versions.
func (m *meshRig) tableVersions(t *testing.T) map[string]string {
	t.Helper()
	body, err := m.envoy.AdminGet("/config_dump?resource=dynamic_route_configs")
	if err != nil {
		t.Fatal(err)
	}
	var page struct {
		Configs []struct {
			Version string `json:"version_info"`
			Config  struct {
				Name string `json:"name"`
			} `json:"route_config"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(body, &page); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, c := range page.Configs {
		out[c.Config.Name] = c.Version
	}
	return out
}
