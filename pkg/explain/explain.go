// Package explain says what L3/L4 policy makes of a connection that somebody asks about, and why: rule by rule, by what nodes are
// sent, and without a kernel.
//
//	snapshot (Peer, PeerSet, VerdictSet) ─► explain ─► admin, cmd
//
// It stands at the end of the line source → table → resolve → {translate, verdict} → snapshot, and only reads.
package explain

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/translate"
	"fairlead.io/fairlead/pkg/verdict"
	"fairlead.io/fairlead/pkg/verdict/wire"
)

// Answer is what is made of a connection.
type Answer struct {
	// Verdict is ALLOWED, DENIED, or AUDIT for what passes only because a policy is in audit mode.
	Verdict  string `json:"verdict"`
	From     End    `json:"from"`
	To       End    `json:"to"`
	Protocol string `json:"protocol"`
	// Port is that of the destination; of ICMP, type*256 and code.
	Port uint16 `json:"port"`
	// Sides are those of which policy is asked: what the source may send, what the destination may receive.
	Sides []Side `json:"sides"`
	// Note says what besides policy decides; empty for nothing.
	Note string `json:"note,omitempty"`
}

// End is one end of a connection.
type End struct {
	// Name is "pod/<namespace>/<name>", "node/<name>" or an address.
	Name    string     `json:"name"`
	Address netip.Addr `json:"address"`
	// Identity is empty for what is neither a pod nor a node.
	Identity string            `json:"identity,omitempty"`
	Labels   map[string]string `json:"labels,omitempty"`
	Node     string            `json:"node,omitempty"`
	Entities []string          `json:"entities,omitempty"`

	namespace string
	entities  verdict.Entity
}

// Side is what the policies of one end say.
type Side struct {
	Direction string   `json:"direction"` // egress or ingress
	Of        string   `json:"of"`        // the end's name
	Families  []Family `json:"families"`
}

// Family is the answer of one family of policies.
type Family struct {
	Family  string `json:"family"` // network, mesh, and those of audit mode
	Allowed bool   `json:"allowed"`
	// Because is rule, no policy, isolation, or unknown where the identity has no verdicts yet.
	Because string `json:"because"`
	// By is the rule that has decided, or the policies that isolate.
	By []Origin `json:"by,omitempty"`
	// NoMatch are the rules of this direction that do not match, of policies that select the end.
	NoMatch []Origin `json:"noMatch,omitempty"`
}

// Origin is an object, and a rule of it.
type Origin struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Rule      string `json:"rule,omitempty"`
	// Action and Tier are those of a rule: allow, deny or pass; admin, main or baseline.
	Action string `json:"action,omitempty"`
	Tier   string `json:"tier,omitempty"`
}

// String is "NetworkPolicy shop/db ingress[0]".
func (o Origin) String() string {
	name := o.Name
	if o.Namespace != "" {
		name = o.Namespace + "/" + name
	}
	return strings.TrimSpace(o.Kind + " " + name + " " + o.Rule)
}

// Explain answers a Query by a snapshot. An end that is not there is an error.
func Explain(s snapshot.Snapshot, q Query) (*Answer, error) {
	w := &world{s: s}
	from, to, err := w.ends(q)
	if err != nil {
		return nil, err
	}
	a := &Answer{Verdict: "ALLOWED", Protocol: q.Protocol, Port: q.Port}
	from.Entities, to.Entities = (remote(to, from).Entities &^ verdict.All).Names(), (remote(from, to).Entities &^ verdict.All).Names()
	a.From, a.To = *from, *to
	if from.Identity != "" && from.Address == to.Address {
		a.Note = "an end that speaks to itself is not judged"
		return a, nil
	}
	for _, side := range []struct {
		d      verdict.Direction
		end    *End
		remote verdict.Remote
	}{{verdict.Egress, from, remote(from, to)}, {verdict.Ingress, to, remote(to, from)}} {
		if side.end.Identity == "" {
			continue
		}
		out, err := w.side(side.d, side.end, side.remote, q)
		if err != nil {
			return nil, err
		}
		if out == nil {
			continue
		}
		a.Sides = append(a.Sides, *out)
	}
	a.Verdict = overall(a.Sides)
	return a, nil
}

// overall is ALLOWED where all families allow, AUDIT where only those of audit mode do not.
func overall(sides []Side) string {
	out := "ALLOWED"
	for _, s := range sides {
		for _, f := range s.Families {
			switch {
			case f.Allowed:
			case strings.HasSuffix(f.Family, auditSuffix):
				if out == "ALLOWED" {
					out = "AUDIT"
				}
			default:
				out = "DENIED"
			}
		}
	}
	return out
}

const auditSuffix = " (audit)"

func familyName(f verdict.Family) string {
	return []string{"network", "mesh", "network" + auditSuffix, "mesh" + auditSuffix}[f]
}

// side asks the policies of one end; nil for a node that no policy selects.
func (w *world) side(d verdict.Direction, end *End, to verdict.Remote, q Query) (*Side, error) {
	out := &Side{Direction: []string{"egress", "ingress"}[d], Of: end.Name}
	r := w.s.Get(snapshot.Key{Type: translate.VerdictSetType, Name: end.Identity})
	if r == nil {
		if end.namespace == "" {
			return nil, nil
		}
		out.Families = []Family{{Family: familyName(verdict.Network), Because: "unknown"}}
		return out, nil
	}
	m := &nodev1.VerdictSet{}
	if err := proto.Unmarshal(r.GetBody(), m); err != nil {
		return nil, fmt.Errorf("explain: read the verdicts of %s: %w", end.Identity, err)
	}
	set, err := wire.Decode(m)
	if err != nil {
		return nil, fmt.Errorf("explain: %w", err)
	}
	for f := range verdict.Families {
		if f >= verdict.NetworkAudit && !speaks(set, d, f) {
			continue
		}
		out.Families = append(out.Families, w.family(set, d, f, to, q))
	}
	return out, nil
}

// speaks tells whether a Set says anything in a direction and family.
func speaks(s *verdict.Set, d verdict.Direction, f verdict.Family) bool {
	return len(s.Isolated[d][f]) > 0 || slices.ContainsFunc(s.Rules, func(r verdict.Rule) bool { return r.Direction == d && r.Family == f })
}

func (w *world) family(s *verdict.Set, d verdict.Direction, f verdict.Family, to verdict.Remote, q Query) Family {
	judged := s.Judge(d, f, to, q.number, q.Port, w.members)
	out := Family{Family: familyName(f), Allowed: judged.Allowed, Because: "no policy"}
	switch judged.Because {
	case verdict.ByRule:
		out.Because, out.By = "rule", []Origin{origin(&s.Rules[judged.Rule])}
	case verdict.Isolation:
		out.Because = "isolation"
		for _, o := range s.Isolated[d][f] {
			out.By = append(out.By, Origin{Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, Rule: o.Rule})
		}
	}
	if judged.Because == verdict.ByRule {
		return out
	}
	for i := range s.Rules { // none of them matches, or what matches passes on
		if r := &s.Rules[i]; r.Direction == d && r.Family == f {
			out.NoMatch = append(out.NoMatch, origin(r))
		}
	}
	return out
}

func origin(r *verdict.Rule) Origin {
	return Origin{
		Kind: r.Origin.Kind, Namespace: r.Origin.Namespace, Name: r.Origin.Name, Rule: r.Origin.Rule,
		Action: []string{"allow", "deny", "pass"}[r.Action], Tier: []string{"admin", "main", "baseline"}[r.Tier],
	}
}
