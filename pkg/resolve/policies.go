package resolve

import (
	"slices"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// Policies say how clients talk to a host, from DestinationRules: those of the host's namespace for the most specific name
// that covers it, or else those of the root namespace. Clusters are shared by all clients, so a rule in the namespace of a
// client has no effect on hosts of another one; its status says so.
type Policies struct {
	// Table is keyed as Hosts.Table; a host without a rule has no row.
	Table *table.Derived[*Policy]
	// Status is that of DestinationRules, by ObjectKey.
	Status *table.Derived[*model.ObjectStatus]

	cfg      Config
	in       *Inputs
	hosts    *Hosts
	rules    *table.Index[*DestinationRule] // by "namespace|host pattern"
	present  *table.Index[*DestinationRule] // by namespace
	clusters *table.Index[*Policy]          // names of the subsets' clusters
	applied  *table.Index[*Policy]          // by the key of each rule that had a part in it
}

// Policy is what the DestinationRules of one host amount to.
type Policy struct {
	Origins []model.Ref
	Subsets []PolicySubset
	// all is the policy of the host as a whole.
	all  *v1alpha1.TrafficPolicy
	host policyHost
	// credentials are what the credentialNames in it lead to.
	credentials map[string]credential
	problems    []problem
}

// PolicySubset is a part of a host's endpoints.
type PolicySubset struct {
	Name   string
	Labels map[string]string
	policy *v1alpha1.TrafficPolicy
}

// policyHost is what a policy needs to know of its host.
type policyHost struct {
	namespace, name string
	ports           []model.HostPort
	names           []string // subjectAltNames
	fallback        model.TrafficPolicy
}

// problem is what is to be said about a rule because of a host that it is for.
type problem struct {
	rule         string // ObjectKey
	reason, path string
	message      string
	warning      bool
}

func newPolicies(e *table.Engine, cfg Config, in *Inputs, hosts *Hosts) *Policies {
	p := &Policies{cfg: cfg, in: in, hosts: hosts}
	p.rules = table.NewIndex(in.DestinationRules, "rules by host", func(_ string, d *DestinationRule) []string {
		var keys []string
		for _, name := range fullNames(cfg, d.Spec.Host, d.Namespace) {
			keys = append(keys, d.Namespace+"|"+name)
		}
		return keys
	})
	p.present = table.NewIndex(in.DestinationRules, "rules by namespace", func(_ string, d *DestinationRule) []string {
		return []string{d.Namespace}
	})
	p.Table = table.NewDerived(e, "policies", p.policy, []table.Trigger{hosts.Table}, table.UrgentStage())
	p.clusters = table.NewIndex(p.Table, "clusters of subsets", func(_ string, v *Policy) []string {
		var names []string
		for _, s := range v.Subsets {
			for _, port := range v.host.ports {
				names = append(names, model.ClusterID{Namespace: v.host.namespace, Host: v.host.name, Port: port.Number, Subset: s.Name}.String())
			}
		}
		return names
	})
	p.applied = table.NewIndex(p.Table, "policies by rule", func(_ string, v *Policy) []string {
		var keys []string
		for _, o := range v.Origins {
			keys = append(keys, ObjectKey(o))
		}
		for _, q := range v.problems {
			keys = append(keys, q.rule)
		}
		return keys
	})
	p.Status = newDestinationRuleStatus(e, in, p)
	return p
}

func (p *Policies) policy(r *table.Reader, key string) (*Policy, bool) {
	h, ok := table.Get(r, p.hosts.Table, key)
	if !ok {
		return nil, false
	}
	rules := p.find(r, h, h.Namespace)
	if len(rules) == 0 && h.Namespace != p.cfg.RootNamespace {
		rules = p.find(r, h, p.cfg.RootNamespace)
	}
	if len(rules) == 0 {
		return nil, false
	}
	out := mergeRules(rules)
	out.host = policyHost{namespace: h.Namespace, name: h.Name, ports: h.Ports, names: h.SubjectAltNames, fallback: defaultPolicy(h)}
	out.credentials = p.credentials(r, rules)
	out.check()
	if h.Resolution != model.ResolveEDS {
		out.noLocality(rules, h)
	}
	return out, true
}

// find lists the rules of a namespace for a host, oldest first: those for the most specific name that has any.
func (p *Policies) find(r *table.Reader, h *model.Host, namespace string) []*DestinationRule {
	if !table.Any(r, p.present, namespace) {
		return nil
	}
	for name := h.Name; ; {
		var out []*DestinationRule
		for _, e := range table.List(r, p.rules, namespace+"|"+name) {
			if d := e.Value; ruleServed(d, nil) && p.reaches(d, h) {
				out = append(out, d)
			}
		}
		if len(out) > 0 {
			slices.SortFunc(out, func(a, b *DestinationRule) int {
				if a.Older(&b.Meta) {
					return -1
				}
				return 1
			})
			return out
		}
		if name == "*" {
			return nil
		}
		parent, ok := wildcardAbove(name)
		if !ok {
			parent = "*"
		}
		name = parent
	}
}

// reaches tells whether a rule is for a host's clients. One of the host's own namespace is, even if exportTo narrows it:
// half a policy would be none for the others.
func (p *Policies) reaches(d *DestinationRule, h *model.Host) bool {
	if slices.Contains(d.Spec.ExportTo, "~") {
		return false
	}
	return d.Namespace == h.Namespace || visible(exports(d.Spec.ExportTo, d.Namespace), h.Namespace)
}

// mergeRules joins rules for one host as Istio does: subsets add up, and of two traffic policies or two subsets of one
// name the older rule's counts.
func mergeRules(rules []*DestinationRule) *Policy {
	out := &Policy{}
	var policyOf *DestinationRule
	subsetOf := map[string]*DestinationRule{}
	for _, d := range rules {
		out.Origins = append(out.Origins, d.Ref)
		clash := func(path, what string, older *DestinationRule) {
			out.problems = append(out.problems, problem{
				rule: ObjectKey(d.Ref), reason: reasonConflict, path: path,
				message: what + " by the older " + older.Ref.String() + "; merge the two rules",
			})
		}
		spec := servedSpec(d)
		if spec.TrafficPolicy != nil {
			if policyOf == nil {
				policyOf, out.all = d, spec.TrafficPolicy
			} else {
				clash("spec.trafficPolicy", "the host already has a traffic policy", policyOf)
			}
		}
		for i, s := range spec.Subsets {
			path := indexed("spec.subsets", i)
			if older := subsetOf[s.Name]; older == d || !subsetName(s.Name) {
				continue // said in the rule's own check
			} else if older != nil {
				clash(path, "the subset "+s.Name+" is already defined", older)
				continue
			}
			subsetOf[s.Name] = d
			out.Subsets = append(out.Subsets, PolicySubset{Name: s.Name, Labels: s.Labels, policy: s.TrafficPolicy})
		}
	}
	return out
}

// HasSubset tells whether a route may name a subset.
func (p *Policy) HasSubset(name string) bool { return p != nil && p.subset(name) != nil }

func (p *Policy) subset(name string) *PolicySubset {
	for i := range p.Subsets {
		if p.Subsets[i].Name == name {
			return &p.Subsets[i]
		}
	}
	return nil
}

// For is the policy of one port of the host, or of a subset of it ("" for none). A nil Policy is the default one.
func (p *Policy) For(port uint16, subset string) model.TrafficPolicy {
	if p == nil {
		return model.TrafficPolicy{}
	}
	tp := forPort(p.all, port)
	if s := p.subset(subset); s != nil && subset != "" {
		tp = inherit(tp, s.policy, port)
	}
	out := trafficPolicy(tp, p.credentials)
	if tp == nil || tp.LoadBalancer == nil || tp.LoadBalancer.Simple == "" && tp.LoadBalancer.ConsistentHash == nil {
		out.LB.Kind, out.LB.Hash = p.host.fallback.LB.Kind, p.host.fallback.LB.Hash
	}
	for i := range p.host.ports {
		if p.host.ports[i].Number == port {
			p.host.complete(&out, &p.host.ports[i])
		}
	}
	return out
}

// forPort replaces what portLevelSettings replace: load balancer, pool, outlier detection and TLS as a whole, not field by
// field (DestinationRule, portLevelSettings).
func forPort(tp *v1alpha1.TrafficPolicy, port uint16) *v1alpha1.TrafficPolicy {
	s := portSettings(tp, port)
	if s == nil {
		return tp
	}
	out := *tp
	out.LoadBalancer, out.ConnectionPool, out.OutlierDetection, out.TLS = s.LoadBalancer, s.ConnectionPool, s.OutlierDetection, s.TLS
	return &out
}

func portSettings(tp *v1alpha1.TrafficPolicy, port uint16) *v1alpha1.PortTrafficPolicy {
	if tp == nil {
		return nil
	}
	for i := range tp.PortLevelSettings {
		if s := &tp.PortLevelSettings[i]; s.Port != nil && s.Port.Number == int32(port) {
			return s
		}
	}
	return nil
}

// inherit gives a subset what it does not set itself. Settings of the subset for the port replace all four parts.
func inherit(base, own *v1alpha1.TrafficPolicy, port uint16) *v1alpha1.TrafficPolicy {
	if own == nil || base == nil {
		if own != nil {
			return forPort(own, port)
		}
		return base
	}
	out := *base
	whole := portSettings(own, port) != nil
	own = forPort(own, port)
	if own.LoadBalancer != nil || whole {
		out.LoadBalancer = own.LoadBalancer
	}
	if own.ConnectionPool != nil || whole {
		out.ConnectionPool = own.ConnectionPool
	}
	if own.OutlierDetection != nil || whole {
		out.OutlierDetection = own.OutlierDetection
	}
	if own.TLS != nil || whole {
		out.TLS = own.TLS
	}
	if own.Tunnel != nil {
		out.Tunnel = own.Tunnel
	}
	if own.ProxyProtocol != nil {
		out.ProxyProtocol = own.ProxyProtocol
	}
	if own.RetryBudget != nil {
		out.RetryBudget = own.RetryBudget
	}
	return &out
}
