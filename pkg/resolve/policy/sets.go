package policy

import (
	"cmp"
	"reflect"
	"slices"

	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/verdict"
)

// newSets gives what all policies say of each identity.
func newSets(e *table.Engine, policies *table.Derived[*Object], ids *identities) *table.Derived[*verdict.Set] {
	bySubject := table.NewIndex(policies, "policies by subject", func(_ string, o *Object) []string {
		var out []string
		for i := range o.clauses {
			for j := range o.clauses[i].subjects {
				// By the labels of namespaces no key is found here: they are asked for when the rest fits.
				s := &o.clauses[i].subjects[j]
				out = append(out, s.within(s.Namespaces)...)
			}
		}
		return out
	})
	return table.NewDerived(e, "verdict sets", func(r *table.Reader, name string) (*verdict.Set, bool) {
		id, ok := table.Get(r, ids.all, name)
		if !ok {
			return nil, false
		}
		var about []table.Entry[*Object]
		for _, key := range id.coarseKeys() {
			about = append(about, table.List(r, bySubject, key)...)
		}
		slices.SortFunc(about, byName)
		about = slices.CompactFunc(about, func(a, b table.Entry[*Object]) bool { return a.Key == b.Key })
		var parts []*clause
		for _, o := range about {
			for i := range o.Value.clauses {
				p := &o.Value.clauses[i]
				if slices.ContainsFunc(p.subjects, func(s Selector) bool { return ids.selects(r, &s, id) }) {
					parts = append(parts, p)
				}
			}
		}
		return setOf(id, parts), len(parts) > 0 || !id.Node
	}, []table.Trigger{ids.all}, table.UrgentStage(), table.Equal(func(a, b *verdict.Set) bool { return reflect.DeepEqual(a, b) }))
}

// setOf joins policies, which come in the order of their names.
func setOf(id *Identity, parts []*clause) *verdict.Set {
	var audited [verdict.Families]bool
	for _, p := range parts {
		for f := range audited {
			audited[f] = audited[f] || p.audit && p.speaksOf(verdict.Family(f))
		}
	}
	b := &builder{id: id, set: &verdict.Set{}}
	for _, p := range parts {
		for _, f := range []verdict.Family{verdict.Network, verdict.Mesh} {
			if !p.audit {
				b.add(p, f, f)
			}
			if audited[f] {
				b.add(p, f, f+verdict.NetworkAudit)
			}
		}
	}
	b.rank()
	return b.set
}

// builder makes a Set.
type builder struct {
	id       *Identity
	set      *verdict.Set
	priority []int32 // of each rule
}

// add lets what a policy says of one family count in another.
func (b *builder) add(p *clause, from, to verdict.Family) {
	for d := range b.set.Isolated {
		isolated := &b.set.Isolated[d][to]
		if origin := originOf(p.ref, ""); p.isolates[d][from] && !slices.Contains(*isolated, origin) {
			*isolated = append(*isolated, origin)
		}
	}
	for i := range p.rules {
		if p.rules[i].Family != from {
			continue
		}
		if rule := p.rules[i].of(b.id); len(rule.Ports) > 0 {
			rule.Family = to
			b.set.Rules, b.priority = append(b.set.Rules, rule), append(b.priority, p.rules[i].priority)
		}
	}
}

// rank numbers the rules of the admin and baseline tiers by priority; rules of one come as they stand.
func (b *builder) rank() {
	var ranked []int
	for i := range b.set.Rules {
		if b.set.Rules[i].Tier != verdict.Main {
			ranked = append(ranked, i)
		}
	}
	slices.SortStableFunc(ranked, func(i, j int) int { return cmp.Compare(b.priority[i], b.priority[j]) })
	for n, i := range ranked {
		b.set.Rules[i].Rank = uint32(n) + 1
	}
}

// of is the rule for a subject.
func (l *lowered) of(id *Identity) verdict.Rule {
	rule := l.Rule
	if len(l.named) == 0 {
		return rule
	}
	rule.Ports = slices.Clone(rule.Ports)
	for _, n := range l.named {
		for _, p := range id.Ports {
			if p.Name == n.Name && (n.Protocol == 0 || n.Protocol == p.Protocol) {
				rule.Ports = append(rule.Ports, verdict.Ports{Protocol: p.Protocol, First: p.Port, Last: p.Port})
			}
		}
	}
	return rule
}

func (p *clause) speaksOf(f verdict.Family) bool {
	return p.isolates[verdict.Egress][f] || p.isolates[verdict.Ingress][f] ||
		slices.ContainsFunc(p.rules, func(r lowered) bool { return r.Family == f })
}
