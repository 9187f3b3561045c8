package translate

import (
	"strings"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// variantPrefix begins the variant of a resource for the nodes of one locality (snapshot.Node.Variants).
const variantPrefix = "locality/"

// declareEndpoints publishes the endpoints of each cluster: once for all nodes, and, where a rule prefers what is near,
// once more for each locality that makes a difference. A node takes the variant that is nearest to where it is.
func (o *Outputs) declareEndpoints() {
	t := o.res.Endpoints.Table
	variants := table.NewIndex(t, "endpoints by variant", func(name string, e *model.ClusterEndpoints) []string {
		var keys []string
		for _, l := range Localities(e) {
			keys = append(keys, rowKey(name, variantPrefix+l.String()))
		}
		return keys
	})
	o.declare(resource.EndpointType, "xds endpoints", func(r *table.Reader, key string) (*snapshot.Resource, bool) {
		name, variant, _ := strings.Cut(key, " ")
		e, ok := table.Get(r, t, name)
		if !ok {
			return nil, false
		}
		res, ok := encode(r, name, Endpoints(e, parseLocality(strings.TrimPrefix(variant, variantPrefix))), e.Origins)
		if ok {
			res.Variant = variant
		}
		return res, ok
	}, []table.Trigger{t, variants}, table.UrgentStage())
}

// parseLocality is the inverse of Locality.String.
func parseLocality(s string) model.Locality {
	var l model.Locality
	l.Region, s, _ = strings.Cut(s, "/")
	l.Zone, l.SubZone, _ = strings.Cut(s, "/")
	return l
}
