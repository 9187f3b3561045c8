package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/verdict"
)

// Compiled is a Policy in the words of the wire, as far as it does not depend on whom it selects.
type Compiled struct {
	*Policy
	// lowered are the rules; selectors those that they name, by PeerSet.
	lowered   []lowered
	selectors map[string]*Selector
}

// lowered is a rule whose rank and whose ports by name the subject decides.
type lowered struct {
	verdict.Rule
	priority int32
	named    []NamedPort
}

// AuditAnnotation says "true" on an object that shall deny nothing, and tell what it would.
const AuditAnnotation = "fairlead.io/audit"

// compilers are the kinds: where their objects come from, and what each is made of.
type compilers struct {
	triggers []table.Trigger
	byKind   map[string]func(r *table.Reader, key string) (*Policy, bool) // by "<group>/<Kind>/"
}

func newPolicies(e *table.Engine, cfg Config, in Inputs, ids *identities) *table.Derived[*Compiled] {
	c := &compilers{byKind: map[string]func(*table.Reader, string) (*Policy, bool){}}
	compiles(c, in.NetworkPolicies, model.NetworkingGroup, "NetworkPolicy", NetworkPolicy)
	return table.NewDerived(e, "policies of L3 and L4", func(r *table.Reader, key string) (*Compiled, bool) {
		cut := strings.Index(key, "/")
		cut += 1 + strings.Index(key[cut+1:], "/")
		p, ok := c.byKind[key[:cut+1]](r, key[cut+1:])
		if !ok {
			return nil, false
		}
		return lower(r, ids, closed(p, cfg.Labels)), true
	}, c.triggers, table.UrgentStage(), table.Equal(func(a, b *Compiled) bool { return reflect.DeepEqual(a, b) }))
}

// compiles adds a kind.
func compiles[S any](c *compilers, objects *table.Source[*model.Object[S]], group, kind string, compile func(*model.Object[S]) *Policy) {
	prefix := group + "/" + kind + "/"
	c.triggers = append(c.triggers, table.NewIndex(objects, "policies of "+kind+"."+group, func(key string, _ *model.Object[S]) []string {
		return []string{prefix + key}
	}))
	c.byKind[prefix] = func(r *table.Reader, key string) (*Policy, bool) {
		o, ok := table.Get(r, objects, key)
		if !ok {
			return nil, false
		}
		p := compile(o)
		p.Audit = p.Audit || o.Annotations[AuditAnnotation] == "true"
		return p, true
	}
}

// closed refuses selectors by labels that do not count: what would be denied stays so, and what would be allowed is not.
func closed(p *Policy, f verdict.Filter) *Policy {
	out := *p
	out.Notes = slices.Clone(p.Notes)
	refuse := func(where string, labels []string) {
		out.Notes = append(out.Notes, Note{
			Refused: true, Reason: "UnsupportedValue", Path: where,
			Message: fmt.Sprintf("pods cannot be selected by the label %s, which is not a part of their identity (--identity-labels-without); nothing is allowed by it", strings.Join(labels, ", ")),
		})
	}
	blind := false
	out.Subjects = nil
	for i := range p.Subjects {
		s := p.Subjects[i].plain()
		if labels := s.hidden(f); len(labels) > 0 {
			refuse("spec", labels)
			s, blind = s.without(labels), true
		}
		out.Subjects = append(out.Subjects, *s)
	}
	out.Rules = nil
	for _, rule := range p.Rules {
		if blind && rule.Action != verdict.Deny && rule.Name != "" {
			continue // more would be allowed than the author meant; what its kind always allows is no rule of the author's
		}
		peers := rule.Peers
		rule.Peers = nil
		for _, peer := range peers {
			if peer.Pods != nil {
				s := peer.Pods.plain()
				if labels := s.hidden(f); len(labels) > 0 {
					refuse(rule.Name, labels)
					if rule.Action != verdict.Deny {
						continue
					}
					s = s.without(labels)
				}
				peer.Pods = s
			}
			rule.Peers = append(rule.Peers, peer)
		}
		out.Rules = append(out.Rules, rule)
	}
	return &out
}

// lower puts the rules into the words of the wire.
func lower(r *table.Reader, ids *identities, p *Policy) *Compiled {
	out := &Compiled{Policy: p, selectors: map[string]*Selector{}}
	for i := range p.Rules {
		rule := &p.Rules[i]
		base := lowered{priority: rule.Priority, Rule: verdict.Rule{
			Direction: rule.Direction, Family: rule.Family, Tier: rule.Tier, Action: rule.Action, Ports: rule.Ports,
			Origin: originOf(p.Ref, rule.Name),
		}}
		if rule.Direction == verdict.Ingress {
			base.named = rule.Named
		}
		for _, peer := range rule.Peers {
			base.Peers = append(base.Peers, out.peers(peer)...)
		}
		if len(base.Peers) > 0 && len(base.Ports)+len(base.named) > 0 {
			out.lowered = append(out.lowered, base)
		}
		if rule.Direction == verdict.Egress {
			for _, named := range rule.Named {
				out.egress(r, ids, base, rule.Peers, named)
			}
		}
	}
	return out
}

// egress adds rules for a port that each peer has under its name: one for each number.
func (c *Compiled) egress(r *table.Reader, ids *identities, base lowered, peers []Peer, named NamedPort) {
	numbers, _ := table.Get(r, ids.numbers, portKey(named.Name, named.Protocol))
	for _, n := range numbers {
		rule := base
		rule.Ports, rule.Peers = []verdict.Ports{{Protocol: n.Protocol, First: n.Port, Last: n.Port}}, nil
		for _, peer := range peers {
			s := peer.Pods
			if peer.Entity&(verdict.All|verdict.Pods) != 0 {
				s = &Selector{}
			}
			if s != nil && !s.Nodes { // only pods have ports with names
				with := *s
				with.Port = &n
				rule.Peers = append(rule.Peers, c.peers(Peer{Pods: &with})...)
			}
		}
		if len(rule.Peers) > 0 {
			c.lowered = append(c.lowered, rule)
		}
	}
}

// peers are a peer in the words of the wire.
func (c *Compiled) peers(p Peer) []verdict.Peer {
	switch s := p.Pods; {
	case p.Range != nil:
		kind := verdict.PeerCIDR
		if p.Range.World {
			kind = verdict.PeerWorldCIDR
		}
		return []verdict.Peer{{Kind: kind, CIDR: p.Range.CIDR, Except: p.Range.Except}}
	case p.Service != nil:
		return nil // services puts others in its place
	case s == nil:
		return []verdict.Peer{{Kind: verdict.PeerEntity, Entity: p.Entity}}
	case s.Nodes || len(s.Labels)+len(s.NamespaceLabels)+len(s.Names) > 0 || s.ServiceAccounts != nil || s.Port != nil:
		name := s.name()
		c.selectors[name] = s
		return []verdict.Peer{{Kind: verdict.PeerSet, Name: name}}
	case s.Namespaces == nil:
		return []verdict.Peer{{Kind: verdict.PeerEntity, Entity: verdict.Pods}}
	default:
		var out []verdict.Peer
		for _, ns := range s.Namespaces {
			out = append(out, verdict.Peer{Kind: verdict.PeerNamespace, Name: ns})
		}
		return out
	}
}

func originOf(ref model.Ref, rule string) verdict.Origin {
	return verdict.Origin{Group: ref.Group, Kind: ref.Kind, Namespace: ref.Namespace, Name: ref.Name, Rule: rule}
}
