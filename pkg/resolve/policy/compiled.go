package policy

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/verdict"
)

// Object is what one object says in the words of the wire, as far as it does not depend on whom it selects.
type Object struct {
	Ref        model.Ref
	UID        string
	Generation int64
	// Issues are what its reader found, Notes what its compiler did.
	Issues []model.FieldIssue
	Notes  []Note

	clauses []clause
	// selectors are those that the rules name, by PeerSet.
	selectors map[string]*Selector
}

// clause is one Policy of an object.
type clause struct {
	ref      model.Ref
	subjects []Selector
	isolates [2][verdict.Families]bool
	audit    bool
	rules    []lowered
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
	byKind   map[string]func(r *table.Reader, key string) (*model.Meta, []*Policy) // by "<group>/<Kind>/"
}

func newPolicies(e *table.Engine, cfg Config, in Inputs, ids *identities, services *services) *table.Derived[*Object] {
	c := &compilers{byKind: map[string]func(*table.Reader, string) (*model.Meta, []*Policy){}}
	declareKinds(c, cfg, in)
	return table.NewDerived(e, "policies of L3 and L4", func(r *table.Reader, key string) (*Object, bool) {
		cut := strings.Index(key, "/")
		cut += 1 + strings.Index(key[cut+1:], "/")
		m, policies := c.byKind[key[:cut+1]](r, key[cut+1:])
		if m == nil {
			return nil, false
		}
		l := &lowering{r: r, ids: ids, services: services, out: &Object{
			Ref: m.Ref, UID: m.UID, Generation: m.Generation, Issues: m.Issues, selectors: map[string]*Selector{},
		}}
		for _, p := range policies {
			p = closed(l.behindServices(p), cfg.Labels)
			p.Audit = p.Audit || m.Annotations[AuditAnnotation] == "true"
			l.policy(p)
		}
		return l.out, true
	}, c.triggers, table.UrgentStage(), table.Equal(func(a, b *Object) bool { return reflect.DeepEqual(a, b) }))
}

// compiles adds a kind by the tables of its groups, in which a key may belong to any of them.
func compiles[S any](c *compilers, e *table.Source[*model.Object[S]], compile func(*model.Object[S]) []*Policy, kinds ...model.Ref) {
	for _, kind := range kinds {
		prefix := kind.Group + "/" + kind.Kind + "/"
		c.triggers = append(c.triggers, table.NewIndex(e, "policies of "+kind.Kind+"."+kind.Group, func(key string, o *model.Object[S]) []string {
			if o.Ref.Group != kind.Group || o.Ref.Kind != kind.Kind {
				return nil
			}
			return []string{prefix + key}
		}))
		c.byKind[prefix] = func(r *table.Reader, key string) (*model.Meta, []*Policy) {
			o, ok := table.Get(r, e, key)
			if !ok {
				return nil, nil
			}
			return &o.Meta, compile(o)
		}
	}
}

// lowering puts the policies of one object into the words of the wire.
type lowering struct {
	r        *table.Reader
	ids      *identities
	services *services
	out      *Object
}

func (l *lowering) policy(p *Policy) {
	l.out.Notes = append(l.out.Notes, p.Notes...)
	to := clause{ref: p.Ref, subjects: p.Subjects, isolates: p.Isolates, audit: p.Audit}
	for i := range p.Rules {
		to.rules = append(to.rules, l.rule(p.Ref, &p.Rules[i])...)
	}
	l.out.clauses = append(l.out.clauses, to)
}

func (l *lowering) rule(ref model.Ref, rule *Rule) (out []lowered) {
	base := lowered{priority: rule.Priority, Rule: verdict.Rule{
		Direction: rule.Direction, Family: rule.Family, Tier: rule.Tier, Action: rule.Action, Ports: rule.Ports,
		Origin: originOf(ref, rule.Name),
	}}
	for i := range rule.Peers {
		base.Peers = append(base.Peers, l.peer(&rule.Peers[i])...)
	}
	if rule.Direction == verdict.Ingress {
		base.named = rule.Named
	}
	if len(base.Peers) > 0 && len(base.Ports)+len(base.named) > 0 {
		out = append(out, base)
	}
	if rule.Direction == verdict.Egress {
		for _, named := range rule.Named {
			out = append(out, l.egress(base, rule.Peers, named)...)
		}
	}
	return out
}

// behindServices puts what stands behind Services in their place. It comes before the policy is closed: a Service may select by
// labels that do not count.
func (l *lowering) behindServices(p *Policy) *Policy {
	out := *p
	out.Rules = slices.Clone(p.Rules)
	for i := range out.Rules {
		peers := out.Rules[i].Peers
		out.Rules[i].Peers = nil
		for _, peer := range peers {
			if peer.Service == nil {
				out.Rules[i].Peers = append(out.Rules[i].Peers, peer)
				continue
			}
			out.Rules[i].Peers = append(out.Rules[i].Peers, l.services.behind(l.r, peer.Service)...)
		}
	}
	return &out
}

// egress are rules for a port that each peer has under its name: one for each number.
func (l *lowering) egress(base lowered, peers []Peer, named NamedPort) (out []lowered) {
	numbers, _ := table.Get(l.r, l.ids.numbers, portKey(named.Name, named.Protocol))
	for _, n := range numbers {
		rule := base
		rule.Ports, rule.Peers = []verdict.Ports{{Protocol: n.Protocol, First: n.Port, Last: n.Port}}, nil
		for i := range peers {
			s := peers[i].Pods
			if peers[i].Entity&(verdict.All|verdict.Pods) != 0 {
				s = &Selector{}
			}
			if s != nil && !s.Nodes { // only pods have ports with names
				with := *s
				with.Port = &n
				rule.Peers = append(rule.Peers, l.peer(&Peer{Pods: &with})...)
			}
		}
		if len(rule.Peers) > 0 {
			out = append(out, rule)
		}
	}
	return out
}

// peer is a peer in the words of the wire.
func (l *lowering) peer(p *Peer) []verdict.Peer {
	switch s := p.Pods; {
	case p.Range != nil:
		out := verdict.Peer{Kind: verdict.PeerCIDR, CIDR: p.Range.CIDR, Except: p.Range.Except}
		if p.Range.World {
			out.Kind = verdict.PeerWorldCIDR
		}
		return []verdict.Peer{out}
	case s == nil:
		return []verdict.Peer{{Kind: verdict.PeerEntity, Entity: p.Entity}}
	case s.Nodes || len(s.Labels)+len(s.NamespaceLabels)+len(s.Names) > 0 || s.ServiceAccounts != nil || s.Port != nil:
		name := s.name()
		l.out.selectors[name] = s
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

// byName orders the objects of a set: ties of priority go by name.
func byName(a, b table.Entry[*Object]) int {
	x, y := &a.Value.Ref, &b.Value.Ref
	return cmp.Or(strings.Compare(x.Group, y.Group), strings.Compare(x.Kind, y.Kind), strings.Compare(x.Namespace, y.Namespace),
		strings.Compare(x.Name, y.Name))
}
