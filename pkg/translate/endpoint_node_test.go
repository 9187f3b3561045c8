package translate_test

import (
	"fmt"
	"strings"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
)

// TestNearEndpoints: what a node is served of a Service that prefers, or demands, what is near. Each Service has an endpoint
// on n1 and one on n2 of zone a, one on n3 of zone b, and one on n4 of another region; n5 (zone b) and n9 have none.
func TestNearEndpoints(t *testing.T) {
	m := newMesh(t)
	var objects []any
	nodes := map[string]model.Locality{"n1": {Region: "r", Zone: "a"}, "n2": {Region: "r", Zone: "a"}, "n3": {Region: "r", Zone: "b"}, "n4": {Region: "q", Zone: "x"}, "n5": {Region: "r", Zone: "b"}}
	for name, l := range nodes {
		objects = append(objects, &model.Node{Meta: meta("", "Node", "", name, 1), Locality: l})
	}
	services := map[string]func(*model.Service){
		"plain": func(*model.Service) {}, "close": func(s *model.Service) { s.Distribution = "PreferClose" }, "zone": func(s *model.Service) { s.Distribution = "PreferSameZone" },
		"node": func(s *model.Service) { s.Distribution = "PreferSameNode" }, "local": func(s *model.Service) { s.InternalLocal, s.Distribution = true, "PreferClose" },
	}
	slice := func(name string, version int, draining string) *model.EndpointSlice {
		s := meshSlice(0, 4, version)
		s.Ref.Name, s.Service = name, name
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			e.Node, e.Zone = fmt.Sprintf("n%d", i+1), nodes[fmt.Sprintf("n%d", i+1)].Zone
			if e.Node == draining {
				e.Ready, e.Terminating = false, true
			}
		}
		return s
	}
	i := 0
	for name, edit := range services {
		s := meshService(i, 1)
		i++
		s.Ref.Name = name
		edit(s)
		objects = append(objects, s, slice(name, 1, ""))
	}
	m.apply(objects...)
	served := func(service, node string) string {
		n := snapshot.Node{ID: node, Locality: nodes[node]}
		r := m.out.Source().Latest().Lookup(n.Variants(), resource.EndpointType, "svc/ns-0/"+service+".ns-0.svc.cluster.local/80")
		if r == nil {
			return "none"
		}
		a := &endpointv3.ClusterLoadAssignment{}
		if err := r.Body.UnmarshalTo(a); err != nil || a.ValidateAll() != nil {
			t.Fatal(err, a)
		}
		list := make([]string, 4)
		for _, g := range a.Endpoints {
			for _, e := range g.LbEndpoints {
				ip := e.GetEndpoint().Address.GetSocketAddress().Address
				list[ip[len(ip)-1]-'0'] = fmt.Sprint(g.Priority)
			}
		}
		for i := range list {
			if list[i] == "" {
				list[i] = "-"
			}
		}
		return strings.Join(list, "")
	}
	for name, want := range map[string]string{
		"plain": "n1 0000, n5 0000, n9 0000",
		"close": "n1 0012, n3 1102, n4 1110, n5 1102, n9 0000",
		"zone":  "n1 0012, n3 1102, n4 1110, n5 1102, n9 0000",
		"node":  "n1 0123, n2 1023, n3 1102, n4 1110, n5 1102, n9 0000",
		"local": "n1 0---, n2 -0--, n3 --0-, n4 ---0, n5 ----, n9 ----",
	} {
		var got []string
		for _, w := range strings.Split(want, ", ") {
			node, _, _ := strings.Cut(w, " ")
			got = append(got, node+" "+served(name, node))
		}
		if g := strings.Join(got, ", "); g != want {
			t.Errorf("%s: got %s, want %s", name, g, want)
		}
	}
	m.apply(slice("local", 2, "n2"))
	if got := served("local", "n2"); got != "-0--" {
		t.Errorf("the only endpoint of a node, terminating: %s", got)
	}
	gone := slice("local", 3, "")
	gone.Endpoints = gone.Endpoints[:1]
	m.apply(gone)
	if got := served("local", "n2"); got != "----" {
		t.Errorf("a node that lost its endpoint: %s", got)
	}
}
