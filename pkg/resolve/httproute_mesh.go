package resolve

import (
	"strconv"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// service attaches the route to a Service of the mesh (GEP-1226). A producer route stands in the Service's namespace and is
// for all clients; a consumer route stands in another one and is for the clients of its own namespace.
func (b *routeBuild) service(ref model.Ref, s *model.ParentStatus, path string) *model.Condition {
	no := func(reason gatewayv1.RouteConditionReason, message string) *model.Condition {
		c := refuse(gatewayv1.RouteConditionAccepted, reason, path, message)
		return &c
	}
	host := serviceHost(b.g.cfg, ref.Namespace, ref.Name)
	h, ok := table.Get(b.r, b.g.hosts.Table, model.Key(ref.Namespace, host))
	if !ok || h.Origin.Kind != "Service" {
		return no(gatewayv1.RouteReasonNoMatchingParent, ref.String()+" does not exist")
	}
	if h.ExternalName != "" {
		return no(gatewayv1.RouteReasonNoMatchingParent, ref.String()+" is of type ExternalName; only Services with an address of their own can be parents")
	}
	if s.Section != "" {
		return no(gatewayv1.RouteReasonNoMatchingParent, ref.String()+" has no sections; use port")
	}
	if s.Port != 0 && h.Port(s.Port) == nil {
		return no(gatewayv1.RouteReasonNoMatchingParent, ref.String()+" has no port "+strconv.Itoa(int(s.Port)))
	}
	if len(b.rt.Spec.Hostnames) > 0 {
		b.warn("spec.hostnames", "hostnames have no effect towards "+ref.String()+": the clients of a Service are found by its address")
	}
	n := Binding{Config: MeshConfig, Host: host, Meta: b.meta}
	n.Routes, n.Ranks = b.routes(func(rt *model.Route) {
		rt.Match.Port = s.Port
		if ref.Namespace != b.rt.Namespace {
			rt.Match.Source = &model.SourceMatch{Namespaces: []string{b.rt.Namespace}}
		}
		redirectFrom(rt, nil)
	})
	b.state.Bindings = append(b.state.Bindings, n)
	return nil
}
