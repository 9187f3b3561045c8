package translate_test

import (
	"fmt"
	"testing"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/translate"
)

var allTypes = []string{
	resource.ClusterType, resource.EndpointType, resource.ListenerType, resource.RouteType, translate.VirtualHostType, translate.ScopeType, resource.SecretType,
	translate.WorkloadType, translate.PeerType, translate.PeerSetType, translate.VerdictSetType,
}

// TestOracle applies random changes of all kinds in random batches. After each batch, what the incremental engine serves
// must be, byte for byte, what a new engine makes of the same objects.
func TestOracle(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := newMesh(t)
		held := map[model.Ref]any{}
		version := 1
		for range rapid.IntRange(1, 8).Draw(rt, "batches") {
			var batch []any
			for range rapid.IntRange(1, 6).Draw(rt, "changes") {
				version++
				o := randomObject(rt, version)
				ref := o.(interface{ GetMeta() *model.Meta }).GetMeta().Ref
				if _, ok := held[ref]; ok && rapid.IntRange(0, 3).Draw(rt, "delete") == 0 {
					delete(held, ref)
					batch = append(batch, ref)
					continue
				}
				held[ref] = o
				batch = append(batch, o)
			}
			m.apply(batch...)
			fresh := newMesh(t)
			var all []any
			for _, o := range held {
				all = append(all, o)
			}
			fresh.apply(all...)
			same(rt, fresh.out.Source().Latest(), m.out.Source().Latest())
			for _, node := range []string{"n0", "n1", "n2", "n9"} {
				sentWithRoutes(rt, m.out.Source().Latest(), node)
			}
		}
	})
}

// same compares two published states without their positions.
func same(rt *rapid.T, want, got snapshot.Snapshot) {
	for _, node := range []string{"n0", "n1", "n2", "n9"} {
		if w, g := want.Scope(node), got.Scope(node); !w.Equal(g) {
			rt.Fatalf("scope of %s: incremental %+v, from scratch %+v", node, g, w)
		}
	}
	text := func(r *snapshot.Resource) string { return string(r.Body.Value) + fmt.Sprint(r.Origins, r.Audience) }
	for _, typeURL := range allTypes {
		left := map[string]string{}
		want.Range(typeURL, func(r *snapshot.Resource) bool {
			left[r.Name+" "+r.Variant] = text(r)
			return true
		})
		got.Range(typeURL, func(r *snapshot.Resource) bool {
			key := r.Name + " " + r.Variant
			if w, ok := left[key]; !ok || w != text(r) {
				rt.Fatalf("%s %s: incremental differs from scratch (known from scratch: %v)", typeURL, key, ok)
			}
			delete(left, key)
			return true
		})
		for key := range left {
			rt.Fatalf("%s %s: missing incrementally", typeURL, key)
		}
	}
}

// randomObject draws one object out of a small world, in which references often meet and sometimes dangle.
func randomObject(rt *rapid.T, version int) any {
	i := rapid.IntRange(0, 4).Draw(rt, "i") * 50 // two of a namespace
	switch rapid.IntRange(0, 13).Draw(rt, "kind") {
	case 0:
		return exported(rt, meshService(i, version))
	case 1:
		return meshSlice(i, rapid.IntRange(0, 3).Draw(rt, "endpoints"), version)
	case 2:
		vs := meshVS(i, version)
		leadAway(rt, &vs.Spec)
		return vs
	case 3:
		return meshRoute(i, version)
	case 4:
		return meshGateway()[rapid.IntRange(0, 1).Draw(rt, "which")]
	case 5:
		return randomRule(rt, i, version)
	case 6:
		return randomEntry(rt, i, version)
	case 7:
		return &model.Namespace{Meta: meta("", "Namespace", "", meshNamespace(i), version)}
	case 8:
		return randomServerGateway(rt, i, version)
	case 9, 10, 11:
		return randomResident(rt, i, version)
	case 12:
		return randomNetworkPolicy(rt, i, version)
	}
	vs := meshVS(i, version)
	vs.Name += "-edge"
	vs.Spec.Gateways = []string{fmt.Sprintf("gw-%d", i), "mesh"}[:rapid.IntRange(1, 2).Draw(rt, "gateways")]
	vs.Spec.Hosts = rapid.SampledFrom([][]string{{"*.example.com"}, {"a.example.com"}, {"*"}, {fmt.Sprintf("svc-%d", i)}}).Draw(rt, "hosts")
	leadAway(rt, &vs.Spec)
	return vs
}

func randomRule(rt *rapid.T, i, version int) any {
	d := &resolve.DestinationRule{Meta: meta(model.Group, "DestinationRule", meshNamespace(i), fmt.Sprintf("dr-%d", i), version)}
	d.Spec.Host = rapid.SampledFrom([]string{fmt.Sprintf("svc-%d", i), "*.example.com", "*.svc.cluster.local", "nobody"}).Draw(rt, "host")
	for k := range rapid.IntRange(0, 2).Draw(rt, "subsets") {
		d.Spec.Subsets = append(d.Spec.Subsets, v1alpha1.Subset{Name: fmt.Sprintf("v%d", k), Labels: map[string]string{"version": fmt.Sprint(k)}})
	}
	return d
}

func randomEntry(rt *rapid.T, i, version int) any {
	s := &resolve.ServiceEntry{Meta: meta(model.IstioGroup, "ServiceEntry", meshNamespace(i), fmt.Sprintf("se-%d", i), version)}
	s.Spec.Hosts = []string{rapid.SampledFrom([]string{"api.example.com", "db.example.com", fmt.Sprintf("svc-%d.%s.svc.cluster.local", i, meshNamespace(i))}).Draw(rt, "host")}
	s.Spec.Ports = []v1alpha1.ServicePort{{Number: 80, Name: "http", Protocol: rapid.SampledFrom([]string{"HTTP", "TCP", "TLS"}).Draw(rt, "protocol")}}
	s.Spec.Resolution = v1alpha1.ServiceEntryResolution(rapid.SampledFrom([]string{"STATIC", "DNS", "NONE"}).Draw(rt, "resolution"))
	s.Spec.ExportTo = rapid.SampledFrom([][]string{nil, nil, {"."}, {"ns-0"}}).Draw(rt, "entry export to")
	if rapid.Bool().Draw(rt, "address") {
		s.Spec.Addresses = []string{"240.0.0." + fmt.Sprint(1+i/50)}
	}
	if s.Spec.Resolution == "STATIC" {
		s.Spec.Endpoints = []v1alpha1.WorkloadEntrySpec{{Address: "192.0.2." + fmt.Sprint(1+version%9)}}
	}
	return s
}

func randomServerGateway(rt *rapid.T, i, version int) any {
	g := &resolve.ServerGateway{Meta: meta(model.IstioGroup, "Gateway", meshNamespace(i), fmt.Sprintf("gw-%d", i), version)}
	g.Spec.Selector = map[string]string{"istio": "ingressgateway"}
	g.Spec.Servers = []v1alpha1.Server{{
		Port:  v1alpha1.Port{Number: rapid.SampledFrom([]int32{80, 8080}).Draw(rt, "port"), Name: "http", Protocol: rapid.SampledFrom([]string{"HTTP", "TCP"}).Draw(rt, "protocol")},
		Hosts: []string{rapid.SampledFrom([]string{"*.example.com", "*", "a.example.com"}).Draw(rt, "server host")},
	}}
	return g
}

func randomNetworkPolicy(rt *rapid.T, i, version int) any {
	selector := func(name string) *metav1.LabelSelector {
		return rapid.SampledFrom([]*metav1.LabelSelector{{}, {MatchLabels: map[string]string{"app": "a"}}}).Draw(rt, name)
	}
	p := &resolve.NetworkPolicy{Meta: meta(model.NetworkingGroup, "NetworkPolicy", meshNamespace(i), fmt.Sprintf("np-%d", i), version)}
	p.Spec.PodSelector = *selector("subject")
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: selector("pods"), NamespaceSelector: selector("namespaces")}}}}
	return p
}
