package resolve

import (
	"slices"
	"strconv"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// backends resolves the rule's destinations, one for each backendRef. One that leads nowhere keeps its weight and has no
// cluster: its share is answered by 500.
func (b *ruleBuild) backends() []model.Backend {
	out := make([]model.Backend, len(b.spec.BackendRefs))
	for i := range b.spec.BackendRefs {
		ref := &b.spec.BackendRefs[i]
		out[i].Weight = 1
		if ref.Weight != nil {
			out[i].Weight = uint32(max(*ref.Weight, 0))
		}
		out[i].Cluster, _ = b.cluster(&ref.BackendObjectReference, b.path+".backendRefs["+strconv.Itoa(i)+"]")
	}
	return out
}

// cluster resolves a reference to a port of a Service.
func (b *routeBuild) cluster(ref *gatewayv1.BackendObjectReference, path string) (name string, ok bool) {
	to := model.Ref{Kind: "Service", Namespace: b.rt.Namespace, Name: string(ref.Name)}
	if ref.Group != nil {
		to.Group = string(*ref.Group)
	}
	if ref.Kind != nil {
		to.Kind = string(*ref.Kind)
	}
	if ref.Namespace != nil && *ref.Namespace != "" {
		to.Namespace = string(*ref.Namespace)
	}
	no := func(reason gatewayv1.RouteConditionReason, message string) (string, bool) {
		b.unresolved = append(b.unresolved, refuse(gatewayv1.RouteConditionResolvedRefs, reason, path, message))
		return "", false
	}
	if to.Group != "" || to.Kind != "Service" {
		return no(gatewayv1.RouteReasonInvalidKind, "backends of kind "+to.Kind+" (group "+strconv.Quote(to.Group)+") are not supported; refer to a Service")
	}
	if !b.g.permitted(b.r, b.rt.Ref, to) {
		return no(gatewayv1.RouteReasonRefNotPermitted, notPermitted(b.rt.Ref, to))
	}
	id := model.ClusterID{Namespace: to.Namespace, Host: serviceHost(b.g.cfg, to.Namespace, to.Name)}
	h, found := table.Get(b.r, b.g.hosts.Table, id.HostKey())
	switch {
	case !found || h.Origin.Kind != "Service":
		return no(gatewayv1.RouteReasonBackendNotFound, to.String()+" does not exist")
	case h.ExternalName != "":
		return no(gatewayv1.RouteReasonUnsupportedProtocol, to.String()+" is of type ExternalName, which could lead anywhere (CVE-2021-25740); use a ServiceEntry and a VirtualService")
	case ref.Port == nil:
		return no(gatewayv1.RouteReasonBackendNotFound, "no port is given; name one of "+to.String())
	case *ref.Port < 1 || *ref.Port > 65535 || h.Port(uint16(*ref.Port)) == nil:
		if b.otherTransport(to, *ref.Port) {
			return no(gatewayv1.RouteReasonUnsupportedProtocol, "port "+strconv.Itoa(int(*ref.Port))+" of "+to.String()+" is not TCP; an HTTPRoute needs a TCP port")
		}
		return no(gatewayv1.RouteReasonBackendNotFound, to.String()+" has no port "+strconv.Itoa(int(*ref.Port)))
	}
	id.Port = uint16(*ref.Port)
	return id.String(), true
}

// otherTransport tells whether a Service has that port for UDP or SCTP, which its Host does not list.
func (b *routeBuild) otherTransport(service model.Ref, port int32) bool {
	s, ok := table.Get(b.r, b.g.in.Services, service.Key())
	return ok && slices.ContainsFunc(s.Ports, func(p model.ServicePort) bool { return int32(p.Number) == port && p.Protocol != "TCP" })
}
