package resolve

import (
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// delegateKeys are the delegates of a VirtualService, as "namespace/name".
func delegateKeys(_ string, vs *VirtualService) []string {
	var keys []string
	for i := range vs.Spec.HTTP {
		if d := vs.Spec.HTTP[i].Delegate; d != nil {
			keys = append(keys, delegateName(vs, d))
		}
	}
	return keys
}

func delegateName(vs *VirtualService, d *v1alpha1.Delegate) string {
	if d.Namespace == "" {
		return model.Key(vs.Namespace, d.Name)
	}
	return model.Key(d.Namespace, d.Name)
}

// delegated are the rules of a delegate under one rule of a root: the conditions of both must hold, and what the delegate
// does not set it has from the root.
func (v *vsRun) delegated(rt *v1alpha1.HTTPRoute, path string) []httpRule {
	if len(rt.Route) > 0 || rt.Redirect != nil || rt.DirectResponse != nil {
		v.refuse(reasonInvalid, path+".delegate", "delegate stands beside route, redirect or directResponse; keep one of them; the rule is left out")
		return nil
	}
	d, ok := v.delegate(rt.Delegate, path+".delegate")
	if !ok {
		return nil
	}
	terms := v.terms(rt.Match, path)
	v.settings(rt, path, &httpRule{}) // for what it has to say; the delegate's rules carry the result
	// The delegate's own faults are on its own status.
	sub := &vsRun{Traffic: v.Traffic, r: v.r, vs: d}
	root := v.qualified(rt)
	var out []httpRule
	for i := range d.Spec.HTTP {
		if d.Spec.HTTP[i].Delegate != nil {
			continue // refused by delegate
		}
		child := inheritRule(root, &d.Spec.HTTP[i])
		at := "spec.http[" + strconv.Itoa(i) + "]"
		u := sub.rule(&child, at)
		u.name = strings.Trim(rt.Name+"-"+u.name, "-")
		u.proto.Origins = []model.Ref{v.vs.Ref, d.Ref}
		u.terms = v.both(terms, u.terms, d, path, at)
		if len(u.terms) > 0 {
			out = append(out, u)
		}
	}
	return out
}

// delegate finds a delegate that may be used.
func (v *vsRun) delegate(d *v1alpha1.Delegate, path string) (*VirtualService, bool) {
	name := delegateName(v.vs, d)
	vs, ok := v.find(name)
	switch {
	case !ok:
		v.refuse(reasonUnresolved, path, "VirtualService %s does not exist; create it or correct the name; the rule is left out", name)
		return nil, false
	case !v.exportedTo(vs, v.vs.Namespace):
		v.refuse(reasonUnresolved, path, "VirtualService %s is not exported to namespace %s; add it to its spec.exportTo; the rule is left out", name, v.vs.Namespace)
		return nil, false
	}
	if cycle := v.cycle([]*VirtualService{v.vs}, vs, map[string]bool{}); cycle != "" {
		v.refuse(reasonInvalid, path, "delegates form a cycle: %s; break it; the rule is left out", cycle)
		return nil, false
	}
	if len(vs.Spec.Hosts) > 0 {
		v.refuse(reasonInvalid, path, "VirtualService %s has hosts of its own and cannot be a delegate; remove its hosts or name another; the rule is left out", name)
		return nil, false
	}
	if next := delegateKeys("", vs); len(next) > 0 {
		v.refuse(reasonInvalid, path, "VirtualService %s delegates itself, to %s; only one level is possible: name that one here", name, strings.Join(next, ", "))
	}
	return vs, true
}

func (v *vsRun) find(name string) (*VirtualService, bool) {
	for _, key := range groupKeys(v.vs.Group, name) {
		if vs, ok := table.Get(v.r, v.in.VirtualServices, key); ok {
			return vs, true
		}
	}
	return nil, false
}

// cycle follows delegates from vs and describes the first way back to the trail that led to it, or is empty.
func (v *vsRun) cycle(trail []*VirtualService, vs *VirtualService, seen map[string]bool) string {
	if i := slices.Index(trail, vs); i >= 0 {
		var names []string
		for _, t := range append(trail[i:len(trail):len(trail)], vs) {
			names = append(names, t.Key())
		}
		return strings.Join(names, " → ")
	}
	key := ObjectKey(vs.Ref)
	if seen[key] {
		return ""
	}
	seen[key] = true
	trail = append(trail[:len(trail):len(trail)], vs)
	for _, name := range delegateKeys("", vs) {
		if next, ok := v.find(name); ok {
			if c := v.cycle(trail, next, seen); c != "" {
				return c
			}
		}
	}
	return ""
}

// checkDelegate judges an object without hosts, which only others can use.
func (v *vsRun) checkDelegate() {
	for i := range v.vs.Spec.HTTP {
		rt, path := &v.vs.Spec.HTTP[i], "spec.http["+strconv.Itoa(i)+"]"
		if rt.Delegate == nil {
			v.rule(rt, path)
			continue
		}
		if d, ok := v.find(delegateName(v.vs, rt.Delegate)); ok {
			if cycle := v.cycle([]*VirtualService{v.vs}, d, map[string]bool{}); cycle != "" {
				v.refuse(reasonInvalid, path+".delegate", "delegates form a cycle: %s; break it; the rule is left out", cycle)
				continue
			}
		}
		v.refuse(reasonInvalid, path+".delegate", "the object has no hosts, so it is a delegate, and a delegate cannot delegate; set hosts or write the rules here")
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"tcp", len(v.vs.Spec.TCP) > 0}, {"tls", len(v.vs.Spec.TLS) > 0}} {
		if f.set {
			v.refuse(reasonInvalid, "spec."+f.name, "the object has no hosts, so it is a delegate, of which only http counts; set hosts")
		}
	}
	if len(v.vs.Spec.Gateways) > 0 {
		v.warn(reasonInvalid, "spec.gateways", "a delegate has the gateways of those that delegate to it; remove the field")
	}
	if !table.Any(v.r, v.delegators, v.vs.Key()) {
		v.warn(reasonNotServed, "spec.hosts", "the object has no hosts and no VirtualService delegates to it, so nothing uses it; set hosts or delegate to it")
	}
}

// qualified is a rule whose mirrors have full names: a delegate may be in another namespace.
func (v *vsRun) qualified(rt *v1alpha1.HTTPRoute) *v1alpha1.HTTPRoute {
	out := *rt
	if rt.Mirror != nil {
		m := *rt.Mirror
		m.Host, out.Mirror = v.fqdn(strings.ToLower(m.Host)), &m
	}
	out.Mirrors = slices.Clone(rt.Mirrors)
	for i := range out.Mirrors {
		d := &out.Mirrors[i].Destination
		d.Host = v.fqdn(strings.ToLower(d.Host))
	}
	return &out
}

// inheritRule completes a delegate's rule by its root's.
func inheritRule(root, rule *v1alpha1.HTTPRoute) v1alpha1.HTTPRoute {
	out := *rule
	if out.Rewrite == nil {
		out.Rewrite = root.Rewrite
	}
	if out.Timeout == "" {
		out.Timeout = root.Timeout
	}
	if out.Retries == nil {
		out.Retries = root.Retries
	}
	if out.Fault == nil {
		out.Fault = root.Fault
	}
	if out.Mirror == nil && len(out.Mirrors) == 0 {
		out.Mirror, out.Mirrors = root.Mirror, root.Mirrors
	}
	if out.MirrorPercentage == nil && out.MirrorPercent == nil {
		out.MirrorPercentage, out.MirrorPercent = root.MirrorPercentage, root.MirrorPercent
	}
	if out.CORSPolicy == nil {
		out.CORSPolicy = root.CORSPolicy
	}
	out.Headers = mergeHeaders(root.Headers, rule.Headers)
	return out
}

func mergeHeaders(root, rule *v1alpha1.Headers) *v1alpha1.Headers {
	if root == nil || rule == nil {
		if rule == nil {
			return root
		}
		return rule
	}
	return &v1alpha1.Headers{Request: mergeOperations(root.Request, rule.Request), Response: mergeOperations(root.Response, rule.Response)}
}

func mergeOperations(root, rule *v1alpha1.HeaderOperations) *v1alpha1.HeaderOperations {
	if root == nil || rule == nil {
		if rule == nil {
			return root
		}
		return rule
	}
	return &v1alpha1.HeaderOperations{
		Set: mergeMaps(root.Set, rule.Set), Add: mergeMaps(root.Add, rule.Add),
		Remove: slices.Concat(root.Remove, rule.Remove),
	}
}
