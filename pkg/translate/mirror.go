package translate

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"fairlead.io/fairlead/pkg/model"
)

// mirrors copies requests. Envoy adds "-shadow" to their Host, as Istio documents. A mirror without a cluster is invalid and
// copies nothing.
func mirrors(in []model.Mirror) []*routev3.RouteAction_RequestMirrorPolicy {
	var out []*routev3.RouteAction_RequestMirrorPolicy
	for _, m := range in {
		if m.Cluster == "" || m.Millionths == 0 {
			continue
		}
		out = append(out, &routev3.RouteAction_RequestMirrorPolicy{
			Cluster: m.Cluster, RuntimeFraction: runtimeFraction(m.Millionths),
		})
	}
	return out
}
