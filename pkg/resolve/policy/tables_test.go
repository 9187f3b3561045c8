package policy

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

// randomObjects are policies of all kinds, and what each compiles to, in the order in which ties go.
func randomObjects(r *rand.Rand) (objects []any, policies []*Policy) {
	type compiled struct {
		meta     *model.Meta
		policies []*Policy
	}
	var all []compiled
	add := func(o any, m *model.Meta, n int, group, kind string, policies func() []*Policy) {
		m.Group, m.Kind, m.Name = group, kind, "p"+strconv.Itoa(n)
		if r.IntN(6) == 0 {
			m.Annotations = map[string]string{AuditAnnotation: "true"}
		}
		objects = append(objects, o)
		out := policies()
		for _, p := range out {
			p.Audit = p.Audit || m.Annotations[AuditAnnotation] == "true"
		}
		all = append(all, compiled{m, out})
	}
	for n := range 2 + r.IntN(6) {
		switch r.IntN(4) {
		case 0:
			o := randomNetworkPolicy(r, n)
			add(o, &o.Meta, n, model.NetworkingGroup, "NetworkPolicy", func() []*Policy { return []*Policy{NetworkPolicy(o)} })
		case 1:
			o := randomClusterPolicy(r, n)
			add(o, &o.Meta, n, model.NetworkPolicyGroup, "ClusterNetworkPolicy", func() []*Policy { return []*Policy{ClusterNetworkPolicy(o)} })
		case 2:
			o := randomCilium(r, pick(r, "shop", "bank"))
			add(o, &o.Meta, n, model.CiliumGroup, "CiliumNetworkPolicy", func() []*Policy { return CiliumPolicy(o, DefaultCluster) })
		default:
			o := randomAuthorization(r)
			mesh := &MeshConfig{TrustDomain: "mesh.example", Root: DefaultRoot()}
			add(o, &o.Meta, n, model.Group, "AuthorizationPolicy", func() []*Policy { return []*Policy{AuthorizationPolicy(o, mesh)} })
		}
	}
	slices.SortFunc(all, func(a, b compiled) int {
		return strings.Compare(a.meta.Group+"\x00"+a.meta.Key(), b.meta.Group+"\x00"+b.meta.Key())
	})
	for _, c := range all {
		policies = append(policies, c.policies...)
	}
	return objects, policies
}

// TestSetsJudgeAsPolicies compares what reaches a node with a slow evaluation of the compiled policies, of all kinds and families.
func TestSetsJudgeAsPolicies(t *testing.T) {
	allowed, all, audited := 0, 0, 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 11))
		parties := specParties()
		g := newRig(t)
		g.inhabit(parties)
		objects, policies := randomObjects(r)
		g.apply(objects...)
		for _, f := range []verdict.Family{verdict.Network, verdict.Mesh} {
			for _, audit := range []bool{false, true} {
				family, count := f, policies
				if audit {
					family = f + verdict.NetworkAudit
				} else {
					count = slices.DeleteFunc(slices.Clone(policies), func(p *Policy) bool { return p.Audit })
				}
				a, n := g.judged(t, parties, family, func(d verdict.Direction, s, o *party, protocol uint8, port uint16) bool {
					if audit && !auditsOf(policies, f, s) {
						return true // nothing is said
					}
					return judge(count, f, d, s, o, protocol, port)
				}, func(d verdict.Direction, s, o *party, protocol uint8, port uint16, got verdict.Decision) {
					var text strings.Builder
					for _, p := range policies {
						text.WriteString(describe(p))
					}
					t.Fatalf("seed %d, audit %t: %s of %s, %s, %d/%d: %+v\n%s\n%+v", seed, audit, directionText[d], s.name, o.name, protocol, port, got, &text, g.set(t, g.identity(s.name)))
				})
				allowed, all = allowed+a, all+n
				if audit {
					audited += n - a
				}
			}
		}
	}
	if allowed < all/4 || allowed > all*19/20 || audited < all/100 {
		t.Errorf("%d of %d are allowed, %d audited: the rules say too little or too much", allowed, all, audited)
	}
}

// auditsOf tells whether a policy in audit mode says something of a subject in a family.
func auditsOf(policies []*Policy, f verdict.Family, subject *party) bool {
	return slices.ContainsFunc(policies, func(p *Policy) bool {
		return p.Audit && (p.Isolates[0][f] || p.Isolates[1][f] || slices.ContainsFunc(p.Rules, func(r Rule) bool { return r.Family == f })) &&
			slices.ContainsFunc(p.Subjects, func(s Selector) bool { return specSelects(&s, subject) })
	})
}
