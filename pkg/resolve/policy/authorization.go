package policy

import (
	"fmt"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

// DryRunAnnotation is Istio's of an AuthorizationPolicy that shall only tell.
const DryRunAnnotation = "istio.io/dry-run"

// MeshConfig is what an AuthorizationPolicy means beside what it says.
type MeshConfig struct {
	// TrustDomain is that of all pods, and Aliases are its other names in principals; "cluster.local" always is one.
	TrustDomain string
	Aliases     []string
	// Root is the namespace whose policies are for all namespaces, by the API group.
	Root map[string]string
}

// DefaultRoot are the root namespaces of both groups.
func DefaultRoot() map[string]string {
	return map[string]string{v1alpha1.IstioSecurityGroup: "istio-system", v1alpha1.Group: "fairlead-system"}
}

// authorization compiles one AuthorizationPolicy.
type authorization struct {
	*author
	mesh      *MeshConfig
	namespace string
	out       *Policy
	deny      bool
	// wide is set where the subject may be wider than its author meant: then nothing may be allowed.
	wide bool
}

// AuthorizationPolicy compiles what layers 3 and 4 can decide of an AuthorizationPolicy of fairlead.io or security.istio.io: the other
// side by its address, or by the ServiceAccount of the pod that has the address; ports, of every protocol that has some. What asks
// for more allows nothing, and denies whatever the rest of the rule denies, as Istio's proxies do with plain TCP.
// (security.istio.io/v1, AuthorizationPolicy.)
func AuthorizationPolicy(o *model.Object[v1alpha1.AuthorizationPolicySpec], mesh *MeshConfig) *Policy {
	c := authorization{author: newAuthor(&o.Meta), mesh: mesh, namespace: o.Namespace, out: &Policy{Ref: o.Ref}}
	c.out.Audit = o.Annotations[DryRunAnnotation] == "true"
	c.subject(&o.Spec, o.Namespace == mesh.Root[o.Group])
	if c.action(&o.Spec) {
		c.out.Isolates[verdict.Ingress][verdict.Mesh] = !c.deny || c.stray("spec")
		// The kubelet probes, as does the host of an ambient mesh, whatever is denied.
		c.out.Rules = []Rule{{
			Direction: verdict.Ingress, Family: verdict.Mesh, Tier: verdict.Admin, Action: verdict.Allow,
			Peers: []Peer{{Entity: verdict.Host}}, Ports: everything(),
		}}
		for i := range o.Spec.Rules {
			c.rule(&o.Spec.Rules[i], fmt.Sprintf("rules[%d]", i))
		}
	}
	c.out.Notes = c.notes
	return c.out
}

func (c *authorization) subject(spec *v1alpha1.AuthorizationPolicySpec, root bool) {
	for _, at := range []string{"spec.targetRef", "spec.targetRefs"} {
		c.wide = c.broken(at) || c.wide
		if at == "spec.targetRef" && spec.TargetRef != nil || at == "spec.targetRefs" && len(spec.TargetRefs) > 0 {
			c.warn(ReasonNotEnforced, at, "what is not a pod is guarded by proxies, which do not do so yet; select the pods behind it")
			return
		}
	}
	s := Selector{}
	if !root {
		s.Namespaces = []string{c.namespace}
	}
	c.wide = c.broken("spec.selector") || c.wide
	if spec.Selector != nil {
		for k, v := range spec.Selector.MatchLabels {
			s.Labels = append(s.Labels, Requirement{Key: k, Operator: In, Values: []string{v}})
		}
		sortRequirements(s.Labels)
	}
	c.out.Subjects = []Selector{s}
}

// action tells whether the policy decides anything. Of one that nobody knows what it says as a whole nothing is allowed, whatever
// it is to do.
func (c *authorization) action(spec *v1alpha1.AuthorizationPolicySpec) bool {
	stray := c.stray("spec")
	c.wide = c.wide || stray
	if spec.Provider != nil && spec.Action != "CUSTOM" {
		c.warn(ReasonNoEffect, "spec.provider", "only the action CUSTOM has a provider")
	}
	switch spec.Action {
	case "", "ALLOW":
		return true
	case "DENY":
		c.deny = true
	case "AUDIT":
		c.warn(ReasonNoEffect, "spec.action", "AUDIT asks proxies for a log, and decides nothing; annotate a policy with %s: \"true\" to see what it would deny", AuditAnnotation)
		return stray
	case "CUSTOM":
		c.deny = true
		c.refuse(ReasonUnsupported, "spec.action", "nobody is asked until there is a proxy; what a rule matches is denied")
	default:
		c.wide = true
		c.refuse(ReasonInvalid, "spec.action", "action %q is none of ALLOW, DENY, AUDIT, CUSTOM; nothing is allowed", spec.Action)
		return true
	}
	if c.deny && len(spec.Rules) == 0 {
		c.warn(ReasonNoEffect, "spec.rules", "a policy that denies without rules denies nothing; write {} for a rule that matches all")
	}
	return len(spec.Rules) > 0 || stray
}

// rule adds what a rule comes to. A rule that allows is taken whole or not at all; one that denies without what is not understood.
func (c *authorization) rule(r *v1alpha1.AuthorizationRule, name string) {
	path := "spec." + name
	m := authorizationMatch{c: c, path: path, ok: !c.broken(path)}
	sources := m.sources(r)
	ports := m.operations(r)
	out := Rule{Direction: verdict.Ingress, Family: verdict.Mesh, Tier: verdict.Main, Action: verdict.Allow, Name: name, Ports: ports}
	if c.deny {
		out.Action = verdict.Deny
	}
	for _, s := range sources {
		out.Peers = append(out.Peers, s.peers(&m)...)
	}
	if !c.deny && (!m.ok || c.wide) || len(out.Peers) == 0 || len(out.Ports) == 0 {
		return
	}
	c.out.Rules = append(c.out.Rules, out)
}
