package resolve

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// boundVirtualService is a VirtualService resolved by itself.
type boundVirtualService struct {
	*RouteState
	meta *model.Meta
	// matches has a key for each match of each host, equal for equal matches: rivals meet in an index of it.
	matches []string
}

func newBound(s *RouteState, m *model.Meta) *boundVirtualService {
	b := &boundVirtualService{RouteState: s, meta: m}
	for i := range s.Bindings {
		for j := range s.Bindings[i].Routes {
			b.matches = append(b.matches, matchKey(bindingKey(s.Bindings[i].Config, s.Bindings[i].Host), &s.Bindings[i].Routes[j].Match))
		}
	}
	for i := range s.TCP {
		b.matches = append(b.matches, connectionKey(&s.TCP[i]))
	}
	return b
}

// connectionKey is matchKey for a connection-level route.
func connectionKey(c *TCPBinding) string {
	m := c.Route
	m.Name, m.Backends, m.Connections, m.Origins = "", nil, model.Connections{}, nil
	return matchKey("connections of "+c.Config+"|"+c.Host, m)
}

// matchKey is a short key of a match of one host.
func matchKey(host string, m any) string {
	data, err := json.Marshal(m) // plain values, maps in order
	if err != nil {
		panic(err)
	}
	sum := sha256.Sum256(append(data, host...))
	return string(sum[:16])
}

// judge tells a VirtualService which of its matches an older one has already. All other matches of several objects for a
// host stand side by side: gateways and the mesh treat them alike (Istio merges for gateways only).
func (t *Traffic) judge(r *table.Reader, key string) (*RouteState, bool) {
	b, ok := table.Get(r, t.bound, key)
	if !ok {
		return nil, false
	}
	n, k := &notes{}, 0
	for i := range b.Bindings {
		bd := &b.Bindings[i]
		for j := range bd.Routes {
			if w := winner(table.List(r, t.byMatch, b.matches[k]), key, bd.Meta); w != nil {
				n.refuse(reasonConflict, fieldOf(bd.Routes[j].Name, bd.Meta), "for host %s, %s has exactly this match, comes first (by age, then name) and gets the requests; change one of the two",
					bd.Host, w.String())
			}
			k++
		}
	}
	for i := range b.TCP {
		c := &b.TCP[i]
		if w := winner(table.List(r, t.byMatch, b.matches[k+i]), key, c.Meta); w != nil {
			n.refuse(reasonConflict, fieldOf(c.Route.Name, c.Meta), "for the connections of %s, %s has exactly this match, comes first (by age, then name) and gets them; change one of the two",
				strings.TrimSpace(c.Config+" "+c.Host), w.String())
		}
	}
	if len(n.list) == 0 {
		return b.RouteState, true
	}
	s := *b.RouteState
	s.Status.Conditions = append(slices.DeleteFunc(slices.Clone(s.Status.Conditions), accepted), once(n.list)...)
	return &s, true
}

// fieldOf is the field that a route comes from, which is in its name.
func fieldOf(name string, m *model.Meta) string {
	field, _, _ := strings.Cut(strings.TrimPrefix(name, m.Ref.String()+" "), " ")
	return "spec." + field
}

// accepted finds the condition that says that all is well.
func accepted(c model.Condition) bool { return c.Status && !c.Warning && c.Type == conditionAccepted }

// winner is the oldest other object with the same match, if it is older.
func winner(rivals []table.Entry[*boundVirtualService], key string, m *model.Meta) *model.Ref {
	var best *model.Meta
	for _, e := range rivals {
		if e.Key == key {
			continue
		}
		if o := e.Value.meta; o.Older(m) && (best == nil || o.Older(best)) {
			best = o
		}
	}
	if best == nil {
		return nil
	}
	return &best.Ref
}
