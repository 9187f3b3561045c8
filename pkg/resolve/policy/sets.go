package policy

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/verdict"
)

// newSets gives what all policies say of each identity.
func newSets(e *table.Engine, policies *table.Derived[*Compiled], ids *identities) *table.Derived[*verdict.Set] {
	bySubject := table.NewIndex(policies, "policies by subject", func(_ string, c *Compiled) []string {
		var out []string
		for i := range c.Subjects {
			// By the labels of namespaces no key is found here: they are asked for when the rest fits.
			out = append(out, c.Subjects[i].within(c.Subjects[i].Namespaces)...)
		}
		return out
	})
	return table.NewDerived(e, "verdict sets", func(r *table.Reader, name string) (*verdict.Set, bool) {
		id, ok := table.Get(r, ids.all, name)
		if !ok {
			return nil, false
		}
		var about []table.Entry[*Compiled]
		for _, key := range id.coarseKeys() {
			about = append(about, table.Select(r, bySubject, key, func(_ string, c *Compiled) bool {
				return slices.ContainsFunc(c.Subjects, func(s Selector) bool { return ids.selects(r, &s, id) })
			})...)
		}
		slices.SortFunc(about, func(a, b table.Entry[*Compiled]) int { return strings.Compare(a.Key, b.Key) })
		about = slices.CompactFunc(about, func(a, b table.Entry[*Compiled]) bool { return a.Key == b.Key })
		return setOf(id, about), len(about) > 0 || !id.Node
	}, []table.Trigger{ids.all}, table.UrgentStage(), table.Equal(func(a, b *verdict.Set) bool { return reflect.DeepEqual(a, b) }))
}

// setOf joins policies, which come in the order of their keys.
func setOf(id *Identity, about []table.Entry[*Compiled]) *verdict.Set {
	var audited [verdict.Families]bool
	for _, p := range about {
		for f := range audited {
			audited[f] = audited[f] || p.Value.Audit && p.Value.speaksOf(verdict.Family(f))
		}
	}
	s := &verdict.Set{}
	var order []int32 // the priority of each rule
	add := func(p *Compiled, from, to verdict.Family) {
		for d := range s.Isolated {
			if p.Isolates[d][from] {
				s.Isolated[d][to] = append(s.Isolated[d][to], originOf(p.Ref, ""))
			}
		}
		for i := range p.lowered {
			if p.lowered[i].Family != from {
				continue
			}
			if rule := p.lowered[i].of(id); len(rule.Ports) > 0 {
				rule.Family = to
				s.Rules, order = append(s.Rules, rule), append(order, p.lowered[i].priority)
			}
		}
	}
	for _, p := range about {
		for _, f := range []verdict.Family{verdict.Network, verdict.Mesh} {
			if !p.Value.Audit {
				add(p.Value, f, f)
			}
			if audited[f] {
				add(p.Value, f, f+verdict.NetworkAudit)
			}
		}
	}
	rank(s.Rules, order)
	return s
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

// rank numbers the rules of the admin and baseline tiers by priority; rules of one come as they stand.
func rank(rules []verdict.Rule, priority []int32) {
	var ranked []int
	for i := range rules {
		if rules[i].Tier != verdict.Main {
			ranked = append(ranked, i)
		}
	}
	slices.SortStableFunc(ranked, func(a, b int) int { return cmp.Compare(priority[a], priority[b]) })
	for n, i := range ranked {
		rules[i].Rank = uint32(n) + 1
	}
}

func (c *Compiled) speaksOf(f verdict.Family) bool {
	return c.Isolates[verdict.Egress][f] || c.Isolates[verdict.Ingress][f] ||
		slices.ContainsFunc(c.Rules, func(r Rule) bool { return r.Family == f })
}
