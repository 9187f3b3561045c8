package translate

import (
	"slices"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"fairlead.io/fairlead/pkg/model"
)

// Nodes are those whose clients are to get a set of their own, as they have endpoints: sorted.
func Nodes(e *model.ClusterEndpoints) []string {
	if e.Near == "" {
		return nil
	}
	var out []string
	for i := range e.Endpoints {
		if n := e.Endpoints[i].Node; n != "" {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// EndpointsOn are what EDS serves to the clients on a node that has endpoints: those alone, or those first and then the
// others in the order that the node's locality gives them.
func EndpointsOn(e *model.ClusterEndpoints, node string) *endpointv3.ClusterLoadAssignment {
	var here []model.ClusterEndpoint
	rest := *e
	rest.Endpoints = nil
	draining := true
	for i := range e.Endpoints {
		if ep := e.Endpoints[i]; ep.Node == node {
			here, draining = append(here, ep), draining && ep.Draining
		} else {
			rest.Endpoints = append(rest.Endpoints, ep)
		}
	}
	if len(here) == 0 {
		return Endpoints(e, model.Locality{})
	}
	if e.Near == model.OnlyNode {
		for i := range here {
			here[i].Draining = here[i].Draining && !draining // as kube-proxy does, KEP-1669
		}
		return assignment(e.Cluster, here)
	}
	out := assignment(e.Cluster, here)
	for _, g := range Endpoints(&rest, here[0].Locality).Endpoints {
		g.Priority++
		out.Endpoints = append(out.Endpoints, g)
	}
	return out
}
