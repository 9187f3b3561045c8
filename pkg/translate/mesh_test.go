package translate_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"testing"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/translate"
)

// mesh is the whole compute of a server: manifests in, encoded resources out.
type mesh struct {
	engine *table.Engine
	res    *resolve.Resolved
	out    *translate.Outputs
	pos    uint64
}

func newMesh(tb testing.TB) *mesh {
	tb.Helper()
	e := table.New(table.Options{Strict: true, Logger: slog.New(slog.DiscardHandler)})
	res := resolve.New(e, resolve.DefaultConfig())
	return &mesh{engine: e, res: res, out: translate.New(e, res)}
}

// apply runs one pass over some objects.
func (m *mesh) apply(objects ...any) {
	m.pos++
	m.engine.Apply(m.res.Inputs.Batch(updates(objects...), m.pos))
}

// updates makes changes of objects; a model.Ref stands for a deletion.
func updates(objects ...any) []source.Update {
	out := make([]source.Update, len(objects))
	for i, o := range objects {
		if ref, ok := o.(model.Ref); ok {
			out[i] = source.Update{Ref: ref}
			continue
		}
		out[i] = source.Update{Ref: o.(interface{ GetMeta() *model.Meta }).GetMeta().Ref, Object: o}
	}
	return out
}

func meta(group, kind, ns, name string, version int) model.Meta {
	return model.Meta{
		Ref: model.Ref{Group: group, Kind: kind, Namespace: ns, Name: name}, UID: kind + ns + name, Generation: int64(version),
		ResourceVersion: strconv.Itoa(version), Created: time.Unix(1700000000, 0),
	}
}

func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(96 + i>>16), byte(i >> 8), byte(i)})
}

// meshService is service i with one HTTP port, and a namespace for each hundred.
func meshService(i, version int) *model.Service {
	return &model.Service{
		Meta: meta("", "Service", meshNamespace(i), fmt.Sprintf("svc-%d", i), version), Type: "ClusterIP",
		Addresses: []netip.Addr{address(i)}, Selector: map[string]string{"app": fmt.Sprintf("svc-%d", i)},
		Ports: []model.ServicePort{{Name: "http", Number: 80, Protocol: "TCP", Target: "8080"}},
	}
}

func meshNamespace(i int) string { return fmt.Sprintf("ns-%d", i/100) }

// meshSlice are n endpoints of service i.
func meshSlice(i, n, version int) *model.EndpointSlice {
	s := &model.EndpointSlice{
		Meta: meta(model.DiscoveryGroup, "EndpointSlice", meshNamespace(i), fmt.Sprintf("svc-%d-a", i), version), Service: fmt.Sprintf("svc-%d", i),
		Ports: []model.EndpointPort{{Name: "http", Number: 8080, Protocol: "TCP"}},
	}
	for k := range n {
		s.Endpoints = append(s.Endpoints, model.Endpoint{
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{172, byte(16 + version%8), byte(i >> 4), byte(i<<4 + k)})},
			Ready:     true, Serving: true, Node: fmt.Sprintf("node-%d", k), Zone: "a",
		})
	}
	return s
}

// meshVS splits the requests to service i between it and the next, with a header canary before.
func meshVS(i, version int) *resolve.VirtualService {
	dest := func(k int) v1alpha1.Destination {
		return v1alpha1.Destination{Host: fmt.Sprintf("svc-%d", k)}
	}
	yes := "yes"
	weight := func(n int32) *int32 { return &n }
	return &resolve.VirtualService{
		Meta: meta(model.Group, "VirtualService", meshNamespace(i), fmt.Sprintf("vs-%d", i), version),
		Spec: v1alpha1.VirtualServiceSpec{
			Hosts: []string{fmt.Sprintf("svc-%d", i)},
			HTTP: []v1alpha1.HTTPRoute{
				{
					Match: []v1alpha1.HTTPMatchRequest{{Headers: map[string]v1alpha1.StringMatch{"x-canary": {Exact: &yes}}}},
					Route: []v1alpha1.HTTPRouteDestination{{Destination: dest(i)}},
				},
				{Route: []v1alpha1.HTTPRouteDestination{
					{Destination: dest(i), Weight: weight(int32(90 - version%2))},
					{Destination: dest(i/100*100 + (i+1)%100), Weight: weight(int32(10 + version%2))},
				}},
			},
		},
	}
}

// meshGateway is a Gateway of our class with one HTTP listener; its class comes with it.
func meshGateway() []any {
	class := &resolve.GatewayClass{Meta: meta(model.GatewayAPIGroup, "GatewayClass", "", "fairlead", 1)}
	class.Spec.ControllerName = gatewayv1.GatewayController(resolve.DefaultConfig().Controller)
	gw := &resolve.Gateway{Meta: meta(model.GatewayAPIGroup, "Gateway", "ns-0", "edge", 1)}
	all := gatewayv1.NamespacesFromAll
	gw.Spec = gatewayv1.GatewaySpec{GatewayClassName: "fairlead", Listeners: []gatewayv1.Listener{{
		Name: "http", Port: 80, Protocol: gatewayv1.HTTPProtocolType,
		AllowedRoutes: &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: &all}},
	}}}
	return []any{class, gw}
}

// meshRoute sends host i of the gateway to service i.
func meshRoute(i, version int) *resolve.HTTPRoute {
	ns, port, w := gatewayv1.Namespace("ns-0"), gatewayv1.PortNumber(80), int32(1)
	r := &resolve.HTTPRoute{Meta: meta(model.GatewayAPIGroup, "HTTPRoute", meshNamespace(i), fmt.Sprintf("hr-%d", i), version)}
	r.Spec.ParentRefs = []gatewayv1.ParentReference{{Name: "edge", Namespace: &ns}}
	r.Spec.Hostnames = []gatewayv1.Hostname{gatewayv1.Hostname(fmt.Sprintf("h%d.example.com", i))}
	path, value := gatewayv1.PathMatchPathPrefix, "/v"+strconv.Itoa(version%3)
	r.Spec.Rules = []gatewayv1.HTTPRouteRule{{
		Matches: []gatewayv1.HTTPRouteMatch{{Path: &gatewayv1.HTTPPathMatch{Type: &path, Value: &value}}},
		BackendRefs: []gatewayv1.HTTPBackendRef{{BackendRef: gatewayv1.BackendRef{
			BackendObjectReference: gatewayv1.BackendObjectReference{Name: gatewayv1.ObjectName(fmt.Sprintf("svc-%d", i)), Port: &port}, Weight: &w,
		}}},
	}}
	return r
}

// fullMesh is services × endpoints with a tenth as many VirtualServices and a fifth as many HTTPRoutes.
func fullMesh(services, endpoints int) []any {
	objects := meshGateway()
	for i := range 1 + (services-1)/100 {
		objects = append(objects, &model.Namespace{Meta: meta("", "Namespace", "", fmt.Sprintf("ns-%d", i), 1)})
	}
	for i := range services {
		objects = append(objects, meshService(i, 1), meshSlice(i, endpoints, 1))
		if i%10 == 0 {
			objects = append(objects, meshVS(i, 1))
		}
		if i%5 == 0 {
			objects = append(objects, meshRoute(i, 1))
		}
	}
	return objects
}
