package policy

import (
	"reflect"
	"slices"

	"fairlead.io/fairlead/pkg/table"
)

// newPeerSets gives the members of every selector that a policy names.
func newPeerSets(e *table.Engine, policies *table.Derived[*Object], ids *identities) *table.Derived[[]string] {
	naming := table.NewIndex(policies, "policies by peer set", func(_ string, o *Object) []string {
		out := make([]string, 0, len(o.selectors))
		for name := range o.selectors {
			out = append(out, name)
		}
		return out
	})
	// A table of its own: another policy that names the same selector counts nothing again.
	selectors := table.NewDerived(e, "selectors of policies", func(r *table.Reader, name string) (*Selector, bool) {
		for _, p := range table.List(r, naming, name) {
			return p.Value.selectors[name], true
		}
		return nil, false
	}, []table.Trigger{naming}, table.UrgentStage(), table.Equal(func(a, b *Selector) bool { return reflect.DeepEqual(a, b) }))
	return table.NewDerived(e, "peer sets", func(r *table.Reader, name string) ([]string, bool) {
		s, ok := table.Get(r, selectors, name)
		if !ok {
			return nil, false
		}
		return ids.members(r, s), true
	}, []table.Trigger{selectors}, table.UrgentStage(), table.Equal(slices.Equal[[]string]))
}
