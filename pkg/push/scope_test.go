package push

import (
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
)

func forNamespace(r *snapshot.Resource, namespaces ...string) *snapshot.Resource {
	r.Audience = &model.Audience{}
	for _, ns := range namespaces {
		r.Audience.AnyOf = append(r.Audience.AnyOf, model.Reach{Namespace: ns, Host: "h", ExportTo: []string{ns}})
	}
	return r
}

// nodeScope is what node n sees.
func nodeScope(namespaces ...string) map[string]*model.NodeScope {
	s := &model.NodeScope{}
	for _, ns := range namespaces {
		s.Groups = append(s.Groups, model.ScopeGroup{Namespace: ns})
	}
	return map[string]*model.NodeScope{"n": s}
}

// A node is sent what it sees. A wider scope brings clusters and endpoints before the listener that is for all; a narrower
// one takes away; a resource may come to be for others.
func TestScope(t *testing.T) {
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.UpdateScoped(1, nodeScope("shop"), []*snapshot.Resource{
			res(t, clusterType, "all", "1", 1), forNamespace(res(t, clusterType, "shop", "1", 1), "shop"),
			forNamespace(res(t, clusterType, "bank", "1", 1), "bank"), res(t, endpointType, "bank", "1", 1),
			forNamespace(res(t, listenerType, "l", "1", 1), "bank"),
		})
		c := r.clientOf(&core.Node{Id: "n", UserAgentName: "envoy"})
		c.subscribe(clusterType)
		c.expect("Cluster +all +shop")
		c.subscribe(listenerType)
		c.expect("Listener +l") // listeners are not cut
		other := r.client("unknown")
		other.subscribe(clusterType)
		other.expect("Cluster +all +bank +shop")

		r.src.Update(2, []*snapshot.Resource{forNamespace(res(t, clusterType, "bank", "2", 2), "bank")})
		other.expect("Cluster +bank")
		c.quiet()

		r.src.UpdateScoped(3, nodeScope("bank", "shop"), []*snapshot.Resource{res(t, listenerType, "l", "3", 3)})
		m := c.want("Cluster +bank")
		c.ack(m)
		c.quiet() // the listener waits for the endpoints of the new cluster
		c.subscribe(endpointType, "bank")
		c.expect("ClusterLoadAssignment +bank", "Listener +l")

		r.src.UpdateScoped(4, nodeScope("bank"), nil)
		c.expect("Cluster -shop")
		r.src.Update(5, []*snapshot.Resource{forNamespace(res(t, clusterType, "bank", "3", 5), "elsewhere")})
		c.expect("Cluster -bank")
		c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType, ResourceNamesSubscribe: []string{"bank"}})
		c.expect("Cluster +bank", "ClusterLoadAssignment +bank") // what is asked for by name is not cut
		c.quiet()
	})
}
