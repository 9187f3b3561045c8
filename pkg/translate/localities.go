package translate

import (
	"slices"
	"strings"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// variantPrefix begins the variant of a resource for the nodes of one locality (snapshot.Node.Variants).
const variantPrefix = "locality/"

// localities are the places that nodes are in.
type localities []model.Locality

// declareEndpoints publishes the endpoints of each cluster: once for all nodes, and, where a rule prefers what is near,
// once more for each place that a node is in.
func (o *Outputs) declareEndpoints() {
	t := o.res.Endpoints.Table
	known := table.NewDerived(o.engine, "localities", func(r *table.Reader, _ string) (localities, bool) {
		var all localities
		for _, n := range table.All(r, o.res.Inputs.Nodes) {
			if n.Value.Locality.Region != "" && !slices.Contains(all, n.Value.Locality) {
				all = append(all, n.Value.Locality)
			}
		}
		slices.SortFunc(all, func(a, b model.Locality) int { return strings.Compare(a.String(), b.String()) })
		return all, len(all) > 0
	}, []table.Trigger{table.NewIndex(o.res.Inputs.Nodes, "nodes, all", func(string, *model.Node) []string { return []string{"all"} })}, table.UrgentStage())
	variants := table.NewDerived(o.engine, "endpoint variants", func(r *table.Reader, name string) (localities, bool) {
		if e, ok := table.Get(r, t, name); !ok || e.Locality == nil {
			return nil, false
		}
		return table.Get(r, known, "all")
	}, []table.Trigger{t}, table.UrgentStage())
	byVariant := table.NewIndex(variants, "endpoints by variant", func(name string, all localities) []string {
		keys := make([]string, len(all))
		for i, l := range all {
			keys[i] = rowKey(name, variantPrefix+l.String())
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
	}, []table.Trigger{t, byVariant}, table.UrgentStage())
}

// parseLocality is the inverse of Locality.String.
func parseLocality(s string) model.Locality {
	var l model.Locality
	l.Region, s, _ = strings.Cut(s, "/")
	l.Zone, l.SubZone, _ = strings.Cut(s, "/")
	return l
}
