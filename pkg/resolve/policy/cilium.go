package policy

import (
	"fmt"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

// DefaultCluster is what Cilium calls a cluster that nobody named.
const DefaultCluster = "default"

// ciliumRule compiles one rule of an object, which is a policy of its own: it has its own subject.
type ciliumRule struct {
	*author
	out *Policy
	// namespace is that of the object, empty for a clusterwide one; cluster is what this one is called.
	namespace, cluster string
	// at is the rule's path, "spec" or "specs[1]"; name what rules are called by, "" or "specs[1].".
	at, name string
	// wide is set where the subject may be wider than its author meant: then nothing may be allowed by it.
	wide bool
}

// CiliumPolicy compiles a CiliumNetworkPolicy or a CiliumClusterwideNetworkPolicy of cilium.io/v2, whose namespace is empty: one
// Policy for spec, and one for each of specs. (Cilium 1.20, pkg/policy/api and Documentation/security/policy.)
func CiliumPolicy(o *model.Object[ciliumv2.Rules], cluster string) []*Policy {
	a := newAuthor(&o.Meta)
	var out []*Policy
	add := func(r *ciliumv2.Rule, at, name string) {
		own := &author{issues: a.issues, told: a.told}
		c := ciliumRule{author: own, out: &Policy{Ref: o.Ref}, namespace: o.Namespace, cluster: cluster, at: at, name: name}
		c.compile(r)
		c.out.Notes = own.notes
		out = append(out, c.out)
	}
	if o.Spec.Spec != nil {
		add(o.Spec.Spec, "spec", "")
	}
	for i := range o.Spec.Specs {
		at := fmt.Sprintf("specs[%d]", i)
		add(&o.Spec.Specs[i], at, at+".")
	}
	if len(out) == 0 {
		p := &Policy{Ref: o.Ref}
		p.Notes = []Note{{Reason: ReasonNotEnforced, Path: "spec", Message: "spec or specs must be set; the policy is about nobody"}}
		return []*Policy{p}
	}
	return out
}

func (c *ciliumRule) compile(r *ciliumv2.Rule) {
	c.subject(r)
	sections := [2]int{verdict.Ingress: len(r.Ingress) + len(r.IngressDeny), verdict.Egress: len(r.Egress) + len(r.EgressDeny)}
	if sections[0]+sections[1] == 0 {
		c.warn(ReasonNoEffect, c.at, "a rule needs one of ingress, ingressDeny, egress and egressDeny")
	}
	for d, asked := range [2]*bool{verdict.Ingress: r.EnableDefaultDeny.Ingress, verdict.Egress: r.EnableDefaultDeny.Egress} {
		isolates := sections[d] > 0 || c.stray(c.at)
		if asked != nil && !c.broken(c.at+".enableDefaultDeny") {
			isolates = *asked
		}
		c.out.Isolates[d][verdict.Network] = isolates
	}
	if c.out.Isolates[verdict.Ingress][verdict.Network] { // kubelet's probes; a deny rule still denies them
		c.out.Rules = append(c.out.Rules, Rule{
			Direction: verdict.Ingress, Tier: verdict.Main, Action: verdict.Allow, Peers: []Peer{{Entity: verdict.Host}}, Ports: everything(),
		})
	}
	if r.Log.Value != "" {
		c.warn(ReasonNoEffect, c.at+".log.value", "the text is not shown with flows")
	}
	for i := range r.Ingress {
		s := &r.Ingress[i]
		m := c.begin(verdict.Ingress, verdict.Allow, "ingress", i)
		m.from(&s.IngressCommonRule)
		m.allowed(s.ToPorts, s.ICMPs, s.Authentication)
		m.end()
	}
	for i := range r.IngressDeny {
		s := &r.IngressDeny[i]
		m := c.begin(verdict.Ingress, verdict.Deny, "ingressDeny", i)
		m.from(&s.IngressCommonRule)
		m.denied(s.ToPorts, s.ICMPs)
		m.end()
	}
	for i := range r.Egress {
		s := &r.Egress[i]
		m := c.begin(verdict.Egress, verdict.Allow, "egress", i)
		m.to(&s.EgressCommonRule, s.ToFQDNs)
		m.allowed(s.ToPorts, s.ICMPs, s.Authentication)
		m.end()
	}
	for i := range r.EgressDeny {
		s := &r.EgressDeny[i]
		m := c.begin(verdict.Egress, verdict.Deny, "egressDeny", i)
		m.to(&s.EgressCommonRule, nil)
		m.denied(s.ToPorts, s.ICMPs)
		m.end()
	}
}

// subject says whom the rule is about. A rule of a namespace is about pods there, whatever its selector says of namespaces.
func (c *ciliumRule) subject(r *ciliumv2.Rule) {
	c.wide = c.stray(c.at)
	if r.NodeSelector != nil {
		c.warn(ReasonNotEnforced, c.at+".nodeSelector",
			"policies of nodes are not enforced: to deny what is not understood would lock everybody out of the node; guard it by other means")
	}
	if r.EndpointSelector == nil {
		c.wide = true
		if r.NodeSelector == nil {
			c.warn(ReasonNotEnforced, c.at, "endpointSelector must be set, {} for all pods; the rule is about nobody")
		}
		return
	}
	s := c.selector(r.EndpointSelector, c.at+".endpointSelector", true)
	c.wide = c.wide || !s.ok
	if s.nobody {
		c.warn(ReasonNoEffect, c.at+".endpointSelector", "the selector selects no pod")
		return
	}
	c.out.Subjects = []Selector{s.pods}
}
