package resolve

import (
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// ruleServed tells whether a DestinationRule shapes any cluster.
func ruleServed(d *DestinationRule, n *notes) bool {
	ok := !broken(&d.Meta)
	switch name := plainHost(d.Spec.Host); {
	case name == "":
		n.refuse(reasonInvalid, "spec.host", "a host is needed")
		ok = false
	case strings.HasPrefix(name, "*") && name != "*" && !strings.HasPrefix(name, "*."):
		n.refuse(reasonInvalid, "spec.host", "the wildcard of %q must be a whole label, as in *.example.com", d.Spec.Host)
		ok = false
	}
	if d.Spec.WorkloadSelector != nil && len(d.Spec.WorkloadSelector.MatchLabels) > 0 {
		if !carriesTLS(&d.Spec) {
			n.refuse(reasonUnsupported, "spec.workloadSelector", "rules for some clients only are not supported; the rule has no effect: remove the selector to have it for all clients")
			return false
		}
		n.refuse(reasonUnsupported, "spec.workloadSelector", "rules for some clients only are not supported; so that nothing goes out in plaintext, the TLS of the rule is used for all clients, and nothing else of it")
	}
	return ok
}

// servedSpec is the part of a served rule that is obeyed.
func servedSpec(d *DestinationRule) *v1alpha1.DestinationRuleSpec {
	if d.Spec.WorkloadSelector == nil || len(d.Spec.WorkloadSelector.MatchLabels) == 0 {
		return &d.Spec
	}
	out := &v1alpha1.DestinationRuleSpec{Host: d.Spec.Host, TrafficPolicy: onlyTLS(d.Spec.TrafficPolicy)}
	for _, s := range d.Spec.Subsets {
		out.Subsets = append(out.Subsets, v1alpha1.Subset{Name: s.Name, Labels: s.Labels, TrafficPolicy: onlyTLS(s.TrafficPolicy)})
	}
	return out
}

func onlyTLS(tp *v1alpha1.TrafficPolicy) *v1alpha1.TrafficPolicy {
	if tp == nil {
		return nil
	}
	out := &v1alpha1.TrafficPolicy{TLS: tp.TLS}
	for _, s := range tp.PortLevelSettings {
		out.PortLevelSettings = append(out.PortLevelSettings, v1alpha1.PortTrafficPolicy{Port: s.Port, TLS: s.TLS})
	}
	return out
}

// carriesTLS tells whether a rule asks for TLS anywhere.
func carriesTLS(s *v1alpha1.DestinationRuleSpec) bool {
	for _, t := range tlsSettings(s) {
		if t.Mode != "" && t.Mode != v1alpha1.ClientTLSDisable {
			return true
		}
	}
	return false
}

// tlsSettings are all the TLS settings of a rule.
func tlsSettings(s *v1alpha1.DestinationRuleSpec) []*v1alpha1.ClientTLSSettings {
	var out []*v1alpha1.ClientTLSSettings
	add := func(tp *v1alpha1.TrafficPolicy) {
		if tp == nil {
			return
		}
		if tp.TLS != nil {
			out = append(out, tp.TLS)
		}
		for i := range tp.PortLevelSettings {
			if t := tp.PortLevelSettings[i].TLS; t != nil {
				out = append(out, t)
			}
		}
	}
	add(s.TrafficPolicy)
	for i := range s.Subsets {
		add(s.Subsets[i].TrafficPolicy)
	}
	return out
}

// subsetName tells whether a subset can be part of a cluster's name, whose parts are separated by slashes.
func subsetName(s string) bool { return s != "" && !strings.ContainsAny(s, "/ \t\n") }

// newDestinationRuleStatus declares what is said about DestinationRules.
func newDestinationRuleStatus(e *table.Engine, in *Inputs, p *Policies) *table.Derived[*model.ObjectStatus] {
	return table.NewDerived(e, "destination rule status", func(r *table.Reader, key string) (*model.ObjectStatus, bool) {
		d, ok := table.Get(r, in.DestinationRules, key)
		if !ok {
			return nil, false
		}
		n := &notes{}
		served := ruleServed(d, n)
		checkRule(d, p.credentials(r, []*DestinationRule{d}), n)
		if served {
			p.scope(r, d, key, n)
		}
		return n.status(&d.Meta), true
	}, []table.Trigger{in.DestinationRules})
}

// checkRule looks at every field of a rule.
func checkRule(d *DestinationRule, creds map[string]credential, n *notes) {
	s := &d.Spec
	checkPolicy(s.TrafficPolicy, "spec.trafficPolicy", creds, n)
	seen := map[string]bool{}
	for i := range s.Subsets {
		sub, path := &s.Subsets[i], indexed("spec.subsets", i)
		switch {
		case !subsetName(sub.Name):
			n.refuse(reasonInvalid, path+".name", "%q is no name of a subset: it must not be empty nor contain a slash or a space", sub.Name)
		case seen[sub.Name]:
			n.refuse(reasonConflict, path+".name", "the subset %s is already defined above; rename or remove one", sub.Name)
		}
		seen[sub.Name] = true
		checkPolicy(sub.TrafficPolicy, path+".trafficPolicy", creds, n)
	}
	if to := exports(s.ExportTo, d.Namespace); len(to) > 0 {
		switch {
		case len(to) == 1 && to[0] == "~":
			n.warn(reasonUnsupported, "spec.exportTo", "the rule is for nobody and has no effect")
		default:
			n.warn(reasonUnsupported, "spec.exportTo", "a rule in the namespace of its host is for all clients of the host, whatever exportTo says")
		}
	}
}

// scope says where a rule has no effect, or a part of it.
func (p *Policies) scope(r *table.Reader, d *DestinationRule, key string, n *notes) {
	said := map[string]bool{}
	applied := false
	for _, e := range table.List(r, p.applied, key) {
		applied = true
		for _, q := range e.Value.problems {
			if q.rule == key && !said[q.path+q.message] {
				said[q.path+q.message] = true
				n.add(q.warning, q.reason, q.path, "%s", q.message)
			}
		}
	}
	if applied {
		return
	}
	names := fullNames(p.cfg, d.Spec.Host, d.Namespace)
	for _, name := range names {
		if table.Any(r, p.hosts.ByName, name) || strings.HasPrefix(name, "*") && table.Any(r, p.hosts.ByName, strings.TrimPrefix(name, "*")) || name == "*" {
			n.refuse(reasonUnresolved, "spec.host", "the rule shapes no host: those that %s names are in other namespaces, whose rules are read there and in %s only, or a more specific rule has them", d.Spec.Host, p.cfg.RootNamespace)
			return
		}
	}
	n.refuse(reasonUnresolved, "spec.host", "there is no Service and no host of a ServiceEntry that %s names; create it, or correct the host", names[len(names)-1])
}
