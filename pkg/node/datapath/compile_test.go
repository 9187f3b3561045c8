package datapath

import (
	"net/netip"
	"slices"
	"testing"

	"fairlead.io/fairlead/pkg/verdict"
)

// names are the numbers of a test: identities and namespaces from 1, in order.
type names struct {
	identities, namespaces []string
	entities               []verdict.Entity // of remotes, as a whole
	in                     verdict.Members
}

func (n names) identity(name string) uint32 { return uint32(slices.Index(n.identities, name) + 1) }
func (n names) namespace(name string) uint32 {
	return uint32(slices.Index(n.namespaces, name) + 1)
}

// compiled is what a Set is in the maps.
type compiled struct {
	number uint32
	parts  Parts
	rules  []Rule
	ranges []Range
}

func compile(number uint32, s *verdict.Set, n names) compiled {
	out := compiled{number: number}
	for _, d := range []verdict.Direction{verdict.Egress, verdict.Ingress} {
		world := hasWorldCIDR(s, d)
		out.ranges = append(out.ranges, rangesOf(number, d, false, s.Ranges(d))...)
		if world {
			out.ranges = append(out.ranges, rangesOf(number, d, true, s.WorldRanges(d))...)
		}
		for f := range verdict.Families {
			part := &out.parts[d][f]
			part.Isolated = len(s.Isolated[d][f]) > 0
			add := func(class Class, of uint32, rules []int) {
				slices.Sort(rules)
				for _, e := range s.Fold(slices.Compact(rules)) {
					part.Classes |= 1 << class
					if e.Protocol == 0 {
						part.Any = true
					} else {
						part.Lengths |= 1 << e.Bits
					}
					out.rules = append(out.rules, Rule{RuleKey{number, of, class, d, f, e.PortKey}, e.Value})
				}
			}
			for _, name := range n.identities {
				add(ClassIdentity, n.identity(name), s.OfIdentity(d, f, name, n.in))
			}
			for _, name := range n.namespaces {
				add(ClassNamespace, n.namespace(name), s.OfNamespace(d, f, name))
			}
			for _, bits := range n.entities {
				var rules []int
				for e := verdict.All; e <= verdict.KubeAPIServer; e <<= 1 {
					if bits&e != 0 {
						rules = append(rules, s.OfEntity(d, f, e)...)
					}
				}
				add(ClassEntities, uint32(bits), rules)
			}
			for i, p := range s.Ranges(d) {
				add(ClassRange, uint32(i+1), s.OfRange(d, f, p))
			}
			if world {
				part.Classes |= 1 << ClassWorldRange
				for i, p := range s.WorldRanges(d) {
					add(ClassWorldRange, uint32(i+1), s.OfWorldRange(d, f, p))
				}
			}
		}
	}
	return out
}

func hasWorldCIDR(s *verdict.Set, d verdict.Direction) bool {
	return slices.ContainsFunc(s.Rules, func(r verdict.Rule) bool {
		return r.Direction == d && slices.ContainsFunc(r.Peers, func(p verdict.Peer) bool { return p.Kind == verdict.PeerWorldCIDR })
	})
}

func rangesOf(set uint32, d verdict.Direction, world bool, list []netip.Prefix) (out []Range) {
	for i, p := range list {
		out = append(out, Range{RangeKey{set, d, world, p}, uint32(i + 1)})
	}
	return out
}

// put writes a Set whole.
func (c compiled) put(t testing.TB, d *Datapath) {
	t.Helper()
	must(t, d.PutRules(c.rules))
	must(t, d.PutRanges(c.ranges))
	must(t, d.PutParts(c.number, c.parts))
}

// remove takes it away.
func (c compiled) remove(t testing.TB, d *Datapath) {
	t.Helper()
	must(t, d.DeleteParts(c.number))
	for _, r := range c.rules {
		must(t, d.DeleteRules([]RuleKey{r.RuleKey}))
	}
	for _, r := range c.ranges {
		must(t, d.DeleteRanges([]RangeKey{r.RangeKey}))
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
