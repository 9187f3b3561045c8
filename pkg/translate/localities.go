package translate

import (
	"strings"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// These begin the variant of a resource for the nodes of one locality, and for one node (snapshot.Node.Variants).
const (
	variantPrefix = "locality/"
	nodePrefix    = "node/"
)

// declareEndpoints publishes the endpoints of each cluster: once for all nodes, and, where a rule prefers what is near,
// once more for each locality or node that makes a difference. A node takes the variant that is nearest to where it is.
func (o *Outputs) declareEndpoints() {
	t := o.res.Endpoints.Table
	variants := table.NewIndex(t, "endpoints by variant", func(name string, e *model.ClusterEndpoints) []string {
		var keys []string
		for _, l := range Localities(e) {
			keys = append(keys, rowKey(name, variantPrefix+l.String()))
		}
		for _, n := range Nodes(e) {
			keys = append(keys, rowKey(name, nodePrefix+n))
		}
		return keys
	})
	o.declare(resource.EndpointType, "xds endpoints", func(r *table.Reader, key string) (*snapshot.Resource, bool) {
		name, variant, _ := strings.Cut(key, " ")
		e, ok := table.Get(r, t, name)
		if !ok {
			return nil, false
		}
		var m *endpointv3.ClusterLoadAssignment
		if node, one := strings.CutPrefix(variant, nodePrefix); one {
			m = EndpointsOn(e, node)
		} else {
			m = Endpoints(e, parseLocality(strings.TrimPrefix(variant, variantPrefix)))
		}
		return encodeVariant(r, name, variant, m, e.Origins)
	}, []table.Trigger{t, variants}, table.UrgentStage())
}

// parseLocality is the inverse of Locality.String.
func parseLocality(s string) model.Locality {
	var l model.Locality
	l.Region, s, _ = strings.Cut(s, "/")
	l.Zone, l.SubZone, _ = strings.Cut(s, "/")
	return l
}
