package policy

import (
	"fmt"
	"net/netip"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/pkg/verdict"
)

// ciliumMatch is one entry of ingress, ingressDeny, egress or egressDeny on its way to a Rule.
//
// An entry that allows and says something that is not understood, or not done yet, allows less: what is said of peers leaves these
// out, what is said of the connection itself (layer 7, TLS, authentication) allows nothing. Where the default is to allow, that
// would be open, so what such an entry speaks of is denied. An entry that denies and is not understood denies more.
type ciliumMatch struct {
	c    *ciliumRule
	rule Rule
	path string
	// fields counts those of peers that say something; none says where one does, and selects nobody.
	fields int
	none   bool
	// ports is set where toPorts or icmps says something.
	ports bool
	// unknown are peers that a part of the entry may mean.
	unknown verdict.Entity
	// restricted are ports on which more is asked for than can be asked here.
	restricted     []verdict.Ports
	restrictedName []NamedPort
	// broken is an entry of which nothing is sure.
	broken bool
}

func (c *ciliumRule) begin(d verdict.Direction, action verdict.Action, section string, i int) *ciliumMatch {
	name := fmt.Sprintf("%s[%d]", section, i)
	m := &ciliumMatch{c: c, path: c.at + "." + name, rule: Rule{Direction: d, Tier: verdict.Main, Action: action, Name: c.name + name}}
	m.broken = c.broken(m.path)
	return m
}

// wholly is everybody, as far as an entry that is not understood may deny: the pod's own node is left out on the way in.
func (m *ciliumMatch) wholly() []Peer {
	if m.rule.Direction == verdict.Ingress {
		return []Peer{{Entity: notHost}}
	}
	return []Peer{{Entity: verdict.All}}
}

// end adds what the entry has become.
func (m *ciliumMatch) end() {
	if m.fields > 1 {
		m.c.refuse(ReasonInvalid, m.path, "an entry says who in one field only; write an entry for each")
		m.broken = true
	}
	r := m.rule
	switch {
	case m.none:
		r.Peers, m.unknown = nil, 0
	case m.fields == 0 && m.ports:
		r.Peers = []Peer{{Entity: verdict.All}} // ports alone are those of everybody; nothing at all selects nobody
	}
	open := !m.c.out.Isolates[r.Direction][verdict.Network]
	add := func(r Rule) {
		if len(r.Peers) > 0 && len(r.Ports)+len(r.Named) > 0 {
			m.c.out.Rules = append(m.c.out.Rules, r)
		}
	}
	switch {
	case r.Action == verdict.Deny:
		if m.broken {
			r.Peers, r.Ports, r.Named = m.wholly(), everything(), nil
		} else if m.unknown != 0 {
			r.Peers = append(r.Peers, Peer{Entity: m.unknown})
		}
		add(r)
	case m.broken || m.c.wide:
		return
	default:
		add(r)
		if open {
			r.Action, r.Ports, r.Named = verdict.Deny, m.restricted, m.restrictedName
			add(r)
		}
	}
}

// field counts a list of peers. An empty one is not an absent one.
func field[T any](m *ciliumMatch, list []T) []T {
	if list != nil && len(list) == 0 {
		m.none = true
	}
	if len(list) > 0 {
		m.fields++
	}
	return list
}

// refusePeers tells of peers that are not followed; may are those among whom they are.
func (m *ciliumMatch) refusePeers(may verdict.Entity, path, what string) {
	m.c.refuse(ReasonUnsupported, m.path+"."+path, "%s", what)
	m.unknown |= may
}

func (m *ciliumMatch) from(r *ciliumv2.IngressCommonRule) {
	m.endpoints("fromEndpoints", field(m, r.FromEndpoints))
	m.cidrs("fromCIDR", field(m, r.FromCIDR))
	m.cidrSets("fromCIDRSet", field(m, r.FromCIDRSet))
	m.entities("fromEntities", field(m, r.FromEntities))
	m.requires("fromRequires", r.FromRequires)
	if len(r.FromGroups) > 0 {
		m.fields++
		m.refusePeers(verdict.World, "fromGroups", "groups of a cloud are not known; write fromCIDR")
	}
	if len(field(m, r.FromNodes)) > 0 {
		m.refusePeers(verdict.RemoteNode, "fromNodes", "nodes are not selected by label; write fromEntities: [remote-node]")
	}
}

func (m *ciliumMatch) to(r *ciliumv2.EgressCommonRule, names []ciliumv2.FQDNSelector) {
	m.endpoints("toEndpoints", field(m, r.ToEndpoints))
	m.cidrs("toCIDR", field(m, r.ToCIDR))
	m.cidrSets("toCIDRSet", field(m, r.ToCIDRSet))
	m.entities("toEntities", field(m, r.ToEntities))
	m.requires("toRequires", r.ToRequires)
	m.services(r.ToServices)
	if len(r.ToGroups) > 0 {
		m.fields++
		m.refusePeers(verdict.World, "toGroups", "groups of a cloud are not known; write toCIDR")
	}
	if len(field(m, r.ToNodes)) > 0 {
		m.refusePeers(verdict.RemoteNode, "toNodes", "nodes are not selected by label; write toEntities: [remote-node]")
	}
	if len(names) > 0 {
		m.fields++
		m.refusePeers(verdict.World, "toFQDNs", "names are not followed until there is a proxy for DNS; write toCIDR")
	}
}

// requires would deny whoever does not carry labels: nothing is allowed by an entry that has it.
func (m *ciliumMatch) requires(name string, list []metav1.LabelSelector) {
	if len(list) > 0 {
		m.c.refuse(ReasonUnsupported, m.path+"."+name, "Cilium has it no more; write the labels into the selectors")
		m.broken = true
	}
}

func (m *ciliumMatch) endpoints(name string, list []metav1.LabelSelector) {
	for i := range list {
		s := m.c.selector(&list[i], fmt.Sprintf("%s.%s[%d]", m.path, name, i), false)
		switch {
		case s.ok:
			m.rule.Peers = append(m.rule.Peers, s.peers()...)
		case m.rule.Action == verdict.Deny:
			m.rule.Peers = append(m.rule.Peers, m.wholly()...)
		}
	}
}

func (m *ciliumMatch) cidrs(name string, list []string) {
	for i, text := range list {
		cidr, err := prefix(text)
		if err != nil {
			m.c.refuse(ReasonInvalid, fmt.Sprintf("%s.%s[%d]", m.path, name, i), "%v", err)
			m.unknown |= verdict.World
			continue
		}
		m.rule.Peers = append(m.rule.Peers, world(cidr))
	}
}

// world is addresses outside of the cluster: Cilium's CIDRs are about neither pods nor nodes.
func world(cidr netip.Prefix, except ...netip.Prefix) Peer {
	return Peer{Range: &Range{CIDR: cidr, Except: except, World: true}}
}

func (m *ciliumMatch) cidrSets(name string, list []ciliumv2.CIDRRule) {
	for i := range list {
		path := fmt.Sprintf("%s[%d]", name, i)
		p, err := m.cidrSet(&list[i], path)
		if err != nil {
			m.c.refuse(ReasonInvalid, m.path+"."+path, "%v", err)
			m.unknown |= verdict.World
		} else if p != nil {
			m.rule.Peers = append(m.rule.Peers, *p)
		}
	}
}

func (m *ciliumMatch) cidrSet(r *ciliumv2.CIDRRule, path string) (*Peer, error) {
	switch {
	case r.CIDRGroupRef != "":
		m.refusePeers(verdict.World, path+".cidrGroupRef", "groups of CIDRs are not read; write cidr")
		return nil, nil
	case r.CIDRGroupSelector != nil:
		m.refusePeers(verdict.World, path+".cidrGroupSelector", "groups of CIDRs are not read; write cidr")
		return nil, nil
	}
	cidr, err := parsePrefix(r.CIDR)
	if err != nil {
		return nil, fmt.Errorf("cidr %q is no CIDR", r.CIDR)
	}
	var except []netip.Prefix
	for _, text := range r.Except {
		x, err := parsePrefix(text)
		if err != nil || x.Bits() < cidr.Bits() || !cidr.Contains(x.Addr()) {
			return nil, fmt.Errorf("except %q is no CIDR inside of %s", text, cidr)
		}
		except = append(except, x)
	}
	p := world(cidr, except...)
	return &p, nil
}

// services are what stands behind Services. One that does not exist has nobody behind it.
func (m *ciliumMatch) services(list []ciliumv2.Service) {
	if len(list) > 0 {
		m.fields++
	}
	for i := range list {
		path := fmt.Sprintf("%s.toServices[%d]", m.path, i)
		switch s := &list[i]; {
		case s.K8sServiceSelector != nil:
			q, ok := m.c.requirements(plainKeys(&s.K8sServiceSelector.Selector), path+".k8sServiceSelector.selector")
			if !ok {
				m.unknown |= verdict.Pods | verdict.World
				continue
			}
			m.rule.Peers = append(m.rule.Peers, Peer{Service: &Service{Namespace: s.K8sServiceSelector.Namespace, Labels: q}})
		case s.K8sService != nil && s.K8sService.ServiceName != "":
			m.rule.Peers = append(m.rule.Peers, Peer{Service: &Service{Namespace: s.K8sService.Namespace, Name: s.K8sService.ServiceName}})
		default:
			m.c.refuse(ReasonInvalid, path, "a Service is named by k8sService.serviceName, or selected by k8sServiceSelector")
			m.unknown |= verdict.Pods | verdict.World
		}
	}
}
