package resolve

import (
	"slices"

	"fairlead.io/fairlead/pkg/model"
)

// mergeVirtualServices concatenates the routes that several VirtualServices give one host: the oldest object first, what
// takes everything last, as Istio does for a gateway. Of routes with exactly equal matches the first wins; the loser's
// own status says so.
func mergeVirtualServices(bound []*Binding) []model.Route {
	slices.SortStableFunc(bound, func(a, b *Binding) int {
		switch {
		case a.Meta.Ref == b.Meta.Ref:
			return 0
		case a.Meta.Older(b.Meta):
			return -1
		}
		return 1
	})
	var routes, last []model.Route
	for _, b := range bound {
		for _, r := range b.Routes {
			if len(bound) > 1 && takesAll(&r.Match) {
				last = append(last, r)
				continue
			}
			routes = append(routes, r)
		}
	}
	return append(routes, last...)
}

// takesAll tells whether a match has no condition, of the source neither.
func takesAll(m *model.RouteMatch) bool {
	path := m.Path.Kind == model.PathAny || ((m.Path.Kind == model.PathPrefix || m.Path.Kind == model.PathStringPrefix) && m.Path.Value == "/")
	return path && m.Method == nil && m.Scheme == nil && m.Authority == nil && len(m.Headers) == 0 && len(m.Query) == 0 &&
		m.Source == nil && !m.GRPC && m.Fraction == nil
}
