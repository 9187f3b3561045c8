package translate_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/translate"
)

// scopedTypes are those of which a node is sent what its scope sees; the other types follow by name.
var scopedTypes = []string{resource.ClusterType, translate.ScopeType, translate.VirtualHostType}

// TestGoldenScopes reads testdata/scoping/in.yaml and compares what each of its nodes would be sent (nodes.yaml).
func TestGoldenScopes(t *testing.T) {
	_, snap := load(t, "testdata/scoping/in.yaml")
	out := map[string]map[string][]string{}
	for _, node := range []string{"apart", "batch", "bound", "busy", "idle", "never-heard-of"} {
		seen := map[string][]string{}
		for _, typeURL := range scopedTypes {
			kind := typeURL[strings.LastIndexByte(typeURL, '.')+1:]
			snap.Range(typeURL, func(r *snapshot.Resource) bool {
				if snap.Scope(node).Sees(r.Audience) && r.Variant == "" && !strings.HasPrefix(r.Name, "fairlead/") {
					seen[kind] = append(seen[kind], r.Name)
				}
				return true
			})
		}
		out[node] = seen
	}
	y, err := yaml.Marshal(out)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "testdata/scoping/nodes.yaml", y)
}

// clusterName finds the names of clusters in the JSON of a message.
var clusterName = regexp.MustCompile(`"(svc/[^"]+)"`)

// sentWithRoutes demands that whoever is sent routes is sent each cluster that they lead to, if it exists at all.
func sentWithRoutes(rt *rapid.T, s snapshot.Snapshot, node string) {
	scope := s.Scope(node)
	need := func(r *snapshot.Resource, from string) {
		m, err := r.Body.UnmarshalNew()
		if err != nil {
			rt.Fatal(err)
		}
		for _, name := range clusterName.FindAllStringSubmatch(protojson.Format(m), -1) {
			c := s.Get(snapshot.Key{Type: resource.ClusterType, Name: name[1]})
			if c != nil && !scope.Sees(c.Audience) {
				rt.Fatalf("%s is sent %s, and not %s, which it leads to; scope %+v, audience %+v", node, from, c.Name, scope, c.Audience)
			}
		}
	}
	s.Range(translate.ScopeType, func(r *snapshot.Resource) bool {
		if scope.Sees(r.Audience) {
			m, err := r.Body.UnmarshalNew()
			if err != nil {
				rt.Fatal(err)
			}
			table := m.(interface{ GetRouteConfigurationName() string }).GetRouteConfigurationName()
			if rc := s.Get(snapshot.Key{Type: resource.RouteType, Name: table}); rc != nil {
				need(rc, "the scope "+r.Name)
			}
		}
		return true
	})
	s.Range(translate.VirtualHostType, func(r *snapshot.Resource) bool {
		if scope.Sees(r.Audience) {
			need(r, r.Name)
		}
		return true
	})
	s.Range(resource.ListenerType, func(r *snapshot.Resource) bool {
		if r.Name != model.OutboundListener && r.Variant == "" {
			need(r, r.Name)
		}
		return true
	})
}

// randomResident draws what scopes are made of.
func randomResident(rt *rapid.T, i, version int) any {
	switch rapid.IntRange(0, 3).Draw(rt, "resident") {
	case 0:
		return &model.Node{Meta: meta("", "Node", "", fmt.Sprintf("n%d", i/100), version)}
	case 1:
		return randomSidecar(rt, i, version)
	}
	p := &model.Pod{Meta: meta("", "Pod", meshNamespace(i), fmt.Sprintf("pod-%d", i), version)}
	p.Node = rapid.SampledFrom([]string{"", "n0", "n1", "n2"}).Draw(rt, "node")
	p.HostNetwork = rapid.IntRange(0, 4).Draw(rt, "host network") == 0
	p.Labels = map[string]string{"app": rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "label")}
	return p
}

func randomSidecar(rt *rapid.T, i, version int) any {
	ns := rapid.SampledFrom([]string{meshNamespace(i), resolve.DefaultConfig().RootNamespace}).Draw(rt, "sidecar namespace")
	s := &resolve.Sidecar{Meta: meta(model.Group, "Sidecar", ns, fmt.Sprintf("sc-%d", i), version)}
	if rapid.Bool().Draw(rt, "select") {
		s.Spec.WorkloadSelector = &v1alpha1.WorkloadSelector{Labels: map[string]string{"app": rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "selected")}}
	}
	hosts := []string{"./*", "*/*", "~/*", "ns-1/*", "*/*.example.com", "ns-0/svc-50.ns-0.svc.cluster.local", "*/api.example.com", "broken"}
	for range rapid.IntRange(0, 2).Draw(rt, "hosts") {
		s.Spec.Egress = append(s.Spec.Egress, v1alpha1.SidecarEgress{Hosts: []string{rapid.SampledFrom(hosts).Draw(rt, "egress host")}})
	}
	return s
}

// leadAway sends, or copies, some traffic to any service of the world.
func leadAway(rt *rapid.T, s *v1alpha1.VirtualServiceSpec) {
	k := rapid.IntRange(0, 4).Draw(rt, "elsewhere") * 50
	to := v1alpha1.Destination{Host: fmt.Sprintf("svc-%d.%s.svc.cluster.local", k, meshNamespace(k))}
	switch rapid.IntRange(0, 3).Draw(rt, "away") {
	case 0:
		s.HTTP[0].Route[0].Destination = to
	case 1:
		s.HTTP[0].Mirror = &to
	case 2:
		s.TCP = []v1alpha1.TCPRoute{{Route: []v1alpha1.RouteDestination{{Destination: to}}}}
	}
}

// exported limits who sees a Service, sometimes.
func exported(rt *rapid.T, s *model.Service) *model.Service {
	if to := rapid.SampledFrom([]string{"", "", ".", "ns-1", "~", "ns-0,ns-2"}).Draw(rt, "export to"); to != "" {
		s.Annotations = map[string]string{"networking.istio.io/exportTo": to}
	}
	return s
}
