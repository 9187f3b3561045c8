package policy

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

// clusterPolicy compiles one ClusterNetworkPolicy (network-policy-api v0.2.0, policy.networking.k8s.io/v1alpha2).
type clusterPolicy struct {
	*author
	out *Policy
	// narrow is false where the subject is not known as its author meant it: then nothing may be allowed by it.
	narrow bool
}

// ClusterNetworkPolicy compiles an object. Its rules are ordered, and pass to NetworkPolicy, CiliumNetworkPolicy and after these the
// baseline tier; it isolates nobody. A rule that cannot be enforced whole matches nothing when it accepts, and denies everything
// else ("fail closed" in the API's own words).
func ClusterNetworkPolicy(o *model.Object[policyv1alpha2.ClusterNetworkPolicySpec]) *Policy {
	c := clusterPolicy{author: newAuthor(&o.Meta), out: &Policy{Ref: o.Ref}}
	c.subject(&o.Spec.Subject)
	tier, known := verdict.Admin, true
	switch o.Spec.Tier {
	case policyv1alpha2.AdminTier:
	case policyv1alpha2.BaselineTier:
		tier = verdict.Baseline
	default:
		known = false
		c.refuse(ReasonInvalid, "spec.tier", "tier %q is neither Admin nor Baseline", o.Spec.Tier)
	}
	add := func(d verdict.Direction, i int, name string, action policyv1alpha2.ClusterNetworkPolicyRuleAction, peers []Peer, ports portList, ok bool) {
		r := Rule{Direction: d, Family: verdict.Network, Tier: tier, Priority: o.Spec.Priority, Peers: peers, Ports: ports.ports, Named: ports.named}
		r.Name = fmt.Sprintf("%s[%d]", []string{"egress", "ingress"}[d], i)
		path := "spec." + r.Name
		if name != "" {
			r.Name += " " + name
		}
		c.rule(path, r, action, ok && known)
	}
	for i := range o.Spec.Ingress {
		r := &o.Spec.Ingress[i]
		path := fmt.Sprintf("spec.ingress[%d]", i)
		peers, ok := c.ingressPeers(r.From, path)
		ports, good := c.protocols(r.Protocols, path)
		add(verdict.Ingress, i, r.Name, r.Action, peers, ports, ok && good)
	}
	for i := range o.Spec.Egress {
		r := &o.Spec.Egress[i]
		path := fmt.Sprintf("spec.egress[%d]", i)
		peers, ok := c.egressPeers(r.To, path)
		ports, good := c.protocols(r.Protocols, path)
		if len(ports.named) > 0 && !onlyPods(peers) {
			c.refuse(ReasonInvalid, path+".protocols", "networks and nodes have no named ports; write a rule of its own for them")
			good = false
		}
		add(verdict.Egress, i, r.Name, r.Action, peers, ports, ok && good)
	}
	c.out.Notes = c.notes
	return c.out
}

func (c *clusterPolicy) subject(s *policyv1alpha2.ClusterNetworkPolicySubject) {
	c.narrow = !c.broken("spec.subject") && !c.stray("spec")
	if (s.Namespaces == nil) == (s.Pods == nil) {
		c.warn(ReasonNotEnforced, "spec.subject", "either namespaces or pods must be set; the policy is about nobody")
		return
	}
	sel, ok := c.pods(s.Namespaces, s.Pods, "spec.subject")
	c.narrow = c.narrow && ok
	c.out.Subjects = []Selector{*sel}
}

// pods selects by namespaces, or by namespaces and pods.
func (c *clusterPolicy) pods(namespaces *metav1.LabelSelector, pods *policyv1alpha2.NamespacedPod, path string) (*Selector, bool) {
	if pods == nil {
		q, ok := c.requirements(namespaces, path+".namespaces")
		return &Selector{NamespaceLabels: q}, ok
	}
	in, ok := c.requirements(&pods.NamespaceSelector, path+".pods.namespaceSelector")
	q, good := c.requirements(&pods.PodSelector, path+".pods.podSelector")
	return &Selector{NamespaceLabels: in, Labels: q}, ok && good
}

// rule adds a rule, whole or not at all.
func (c *clusterPolicy) rule(path string, r Rule, action policyv1alpha2.ClusterNetworkPolicyRuleAction, whole bool) {
	whole = !c.broken(path) && whole
	switch action {
	case policyv1alpha2.ClusterNetworkPolicyRuleActionAccept:
		if !whole || !c.narrow {
			return
		}
		r.Action = verdict.Allow
	case policyv1alpha2.ClusterNetworkPolicyRuleActionPass:
		r.Action = verdict.Pass
		whole = whole && c.narrow
	case policyv1alpha2.ClusterNetworkPolicyRuleActionDeny:
		r.Action = verdict.Deny
	default:
		c.refuse(ReasonInvalid, path+".action", "action %q is none of Accept, Deny, Pass", action)
		whole = false
	}
	if !whole {
		r.Action, r.Ports, r.Named = verdict.Deny, everything(), nil
		r.Peers = []Peer{{Entity: verdict.All}}
		if r.Direction == verdict.Ingress {
			r.Peers[0].Entity = notHost
		}
	}
	c.out.Rules = append(c.out.Rules, r)
}
