package policy

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

// NetworkPolicy compiles a networking.k8s.io/v1 NetworkPolicy (Kubernetes API reference, NetworkPolicySpec). What an API server
// would not have taken matches nothing, so that it allows nothing.
func NetworkPolicy(o *model.Object[networkingv1.NetworkPolicySpec]) *Policy {
	c := &networkPolicy{author: newAuthor(&o.Meta), Policy: &Policy{Ref: o.Ref}}
	c.compile(&o.Spec)
	c.Notes = c.notes
	return c.Policy
}

type networkPolicy struct {
	*author
	*Policy
}

func (c *networkPolicy) compile(spec *networkingv1.NetworkPolicySpec) {
	subject := Selector{Namespaces: []string{c.Ref.Namespace}}
	var ok bool
	subject.Labels, ok = c.requirements(&spec.PodSelector, "spec.podSelector")
	c.Subjects = []Selector{subject}
	ingress, egress, known := c.directions(spec)
	if ingress {
		c.isolate(verdict.Ingress)
	}
	if egress {
		c.isolate(verdict.Egress)
	}
	if !ok || !known { // it isolates more than its author meant, and must not open that
		return
	}
	for i := range spec.Ingress {
		if r := &spec.Ingress[i]; ingress {
			c.rule(verdict.Ingress, fmt.Sprintf("ingress[%d]", i), "from", r.From, r.Ports)
		}
	}
	for i := range spec.Egress {
		if r := &spec.Egress[i]; egress {
			c.rule(verdict.Egress, fmt.Sprintf("egress[%d]", i), "to", r.To, r.Ports)
		}
	}
}

// directions are the policyTypes. Without them it is Ingress, and Egress where there are egress rules.
func (c *networkPolicy) directions(spec *networkingv1.NetworkPolicySpec) (ingress, egress, known bool) {
	stray := c.stray("spec") || c.broken("spec.policyTypes") // it may have been another direction
	if len(spec.PolicyTypes) == 0 {
		return true, len(spec.Egress) > 0 || stray, true
	}
	for i, t := range spec.PolicyTypes {
		switch t {
		case networkingv1.PolicyTypeIngress:
			ingress = true
		case networkingv1.PolicyTypeEgress:
			egress = true
		default:
			c.refuse(ReasonInvalid, fmt.Sprintf("spec.policyTypes[%d]", i), "%q is neither Ingress nor Egress; all traffic of the pods is denied in both directions", t)
			return true, true, false
		}
	}
	if !ingress && len(spec.Ingress) > 0 {
		c.warn(ReasonNoEffect, "spec.ingress", "the rules have no effect, because policyTypes has no Ingress")
	}
	if !egress && len(spec.Egress) > 0 {
		c.warn(ReasonNoEffect, "spec.egress", "the rules have no effect, because policyTypes has no Egress")
	}
	return ingress || stray, egress || stray, true
}

// isolate denies what no rule allows, but for the node that a pod runs on: kubelet's probes must reach it (Kubernetes, "Network
// Policies": traffic to and from the node is always allowed).
func (c *networkPolicy) isolate(d verdict.Direction) {
	c.Isolates[d][verdict.Network] = true
	c.Rules = append(c.Rules, Rule{
		Direction: d, Tier: verdict.Main, Action: verdict.Allow,
		Peers: []Peer{{Entity: verdict.Host}}, Ports: []verdict.Ports{verdict.AnyPort},
	})
}

// rule adds a rule; side is how its peers are called. Without peers it is about everybody, without ports about all.
func (c *networkPolicy) rule(d verdict.Direction, name, side string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) {
	rule := Rule{Direction: d, Tier: verdict.Main, Action: verdict.Allow, Name: name}
	if c.stray("spec." + name) { // it may have said who
		return
	}
	for i := range peers {
		if p, ok := c.peer(fmt.Sprintf("spec.%s.%s[%d]", name, side, i), &peers[i]); ok {
			rule.Peers = append(rule.Peers, p)
		}
	}
	if len(peers) == 0 {
		rule.Peers = []Peer{{Entity: verdict.All}}
	}
	for i := range ports {
		c.port(fmt.Sprintf("spec.%s.ports[%d]", name, i), &ports[i], &rule)
	}
	if len(ports) == 0 {
		rule.Ports = []verdict.Ports{verdict.AnyPort}
	}
	if d == verdict.Egress && len(rule.Named) > 0 && slices.ContainsFunc(rule.Peers, func(p Peer) bool { return p.Range != nil }) {
		c.warn(ReasonNoEffect, "spec."+name+".ports", "a port by its name is that of a pod; to addresses of an ipBlock it matches nothing")
	}
	c.Rules = append(c.Rules, rule)
}

func (c *networkPolicy) peer(path string, p *networkingv1.NetworkPolicyPeer) (Peer, bool) {
	switch {
	case c.stray(path):
		return Peer{}, false
	case p.IPBlock != nil && (p.PodSelector != nil || p.NamespaceSelector != nil):
		c.refuse(ReasonInvalid, path, "ipBlock stands alone; nothing is matched")
		return Peer{}, false
	case p.IPBlock != nil:
		r, ok := c.block(path+".ipBlock", p.IPBlock)
		return Peer{Range: r}, ok
	case p.PodSelector == nil && p.NamespaceSelector == nil:
		c.refuse(ReasonInvalid, path, "a peer needs podSelector, namespaceSelector or ipBlock; nothing is matched")
		return Peer{}, false
	}
	s, ok := &Selector{}, true
	if p.NamespaceSelector == nil {
		s.Namespaces = []string{c.Ref.Namespace}
	} else {
		s.NamespaceLabels, ok = c.requirements(p.NamespaceSelector, path+".namespaceSelector")
	}
	labels, good := c.requirements(p.PodSelector, path+".podSelector")
	s.Labels = labels
	return Peer{Pods: s}, ok && good
}

// block is the addresses of a CIDR; bits behind its length do not count.
func (c *networkPolicy) block(path string, b *networkingv1.IPBlock) (*Range, bool) {
	if c.broken(path) {
		return nil, false
	}
	cidr, err := parsePrefix(b.CIDR)
	if err != nil {
		c.refuse(ReasonInvalid, path+".cidr", "%q is no CIDR; nothing is matched", b.CIDR)
		return nil, false
	}
	out := &Range{CIDR: cidr}
	for i, text := range b.Except {
		x, err := parsePrefix(text)
		if err != nil || x.Bits() <= cidr.Bits() || !cidr.Contains(x.Addr()) {
			c.refuse(ReasonInvalid, fmt.Sprintf("%s.except[%d]", path, i), "%q is no CIDR inside of %s; nothing is matched", text, cidr)
			return nil, false
		}
		out.Except = append(out.Except, x)
	}
	return out, true
}

// parsePrefix reads a CIDR, without the bits behind its length; IPv4 in IPv6 form is IPv4.
func parsePrefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err == nil && p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked(), err
}

func (c *networkPolicy) port(path string, p *networkingv1.NetworkPolicyPort, rule *Rule) {
	name := corev1.ProtocolTCP
	if p.Protocol != nil {
		name = *p.Protocol
	}
	protocol, ok := ProtocolNumber(string(name))
	switch {
	case c.broken(path):
	case !ok:
		c.refuse(ReasonInvalid, path+".protocol", "%q is none of TCP, UDP, SCTP; nothing is matched", name)
	case p.Port == nil && p.EndPort != nil, p.EndPort != nil && p.Port.Type == intstr.String:
		c.refuse(ReasonInvalid, path+".endPort", "endPort needs a port that is a number; nothing is matched")
	case p.Port == nil:
		rule.Ports = append(rule.Ports, verdict.Ports{Protocol: protocol, Last: 0xffff})
	case p.Port.Type == intstr.String:
		rule.Named = append(rule.Named, NamedPort{Name: p.Port.StrVal, Protocol: protocol})
	default:
		first, last := p.Port.IntVal, p.Port.IntVal
		if p.EndPort != nil {
			last = *p.EndPort
		}
		if first < 1 || last > 0xffff || last < first {
			c.refuse(ReasonInvalid, path+".port", "%d to %d is no range of ports; nothing is matched", first, last)
			return
		}
		rule.Ports = append(rule.Ports, verdict.Ports{Protocol: protocol, First: uint16(first), Last: uint16(last)})
	}
}

// Requirements are those of a label selector, sorted. With an error come those that are right.
func Requirements(s *metav1.LabelSelector) ([]Requirement, error) {
	var out []Requirement
	for k, v := range s.MatchLabels {
		out = append(out, Requirement{Key: k, Operator: In, Values: []string{v}})
	}
	var wrong error
	for i, e := range s.MatchExpressions {
		q := Requirement{Key: e.Key, Operator: Operator(e.Operator)}
		if len(e.Values) > 0 {
			q.Values = slices.Compact(slices.Sorted(slices.Values(e.Values)))
		}
		switch q.Operator {
		case In, NotIn:
			if len(q.Values) == 0 {
				wrong = fmt.Errorf("matchExpressions[%d]: %s needs values", i, q.Operator)
				continue
			}
		case Exists, DoesNotExist:
			if len(q.Values) > 0 {
				wrong = fmt.Errorf("matchExpressions[%d]: %s takes no values", i, q.Operator)
				continue
			}
		default:
			wrong = fmt.Errorf("matchExpressions[%d]: %q is none of In, NotIn, Exists, DoesNotExist", i, e.Operator)
			continue
		}
		out = append(out, q)
	}
	slices.SortFunc(out, Requirement.compare)
	return out, wrong
}
