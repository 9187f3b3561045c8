package policy

import (
	"fmt"
	"slices"

	policyv1alpha2 "sigs.k8s.io/network-policy-api/apis/v1alpha2"

	"fairlead.io/fairlead/pkg/verdict"
)

// portList is what a rule says of ports.
type portList struct {
	ports []verdict.Ports
	named []NamedPort
}

func (c *clusterPolicy) ingressPeers(list []policyv1alpha2.ClusterNetworkPolicyIngressPeer, path string) (out []Peer, ok bool) {
	if len(list) == 0 {
		c.refuse(ReasonInvalid, path+".from", "a rule needs a peer")
		return nil, false
	}
	ok = true
	for i, p := range list {
		at := fmt.Sprintf("%s.from[%d]", path, i)
		if (p.Namespaces == nil) == (p.Pods == nil) {
			c.refuse(ReasonInvalid, at, "exactly one of namespaces and pods must be set")
			ok = false
			continue
		}
		sel, good := c.pods(p.Namespaces, p.Pods, at)
		out, ok = append(out, Peer{Pods: sel}), ok && good
	}
	return out, ok
}

func (c *clusterPolicy) egressPeers(list []policyv1alpha2.ClusterNetworkPolicyEgressPeer, path string) (out []Peer, ok bool) {
	if len(list) == 0 {
		c.refuse(ReasonInvalid, path+".to", "a rule needs a peer")
		return nil, false
	}
	ok = true
	for i := range list {
		peers, good := c.egressPeer(&list[i], fmt.Sprintf("%s.to[%d]", path, i))
		out, ok = append(out, peers...), ok && good
	}
	return out, ok
}

func (c *clusterPolicy) egressPeer(p *policyv1alpha2.ClusterNetworkPolicyEgressPeer, path string) (out []Peer, ok bool) {
	set := 0
	for _, has := range []bool{p.Namespaces != nil, p.Pods != nil, p.Nodes != nil, p.Networks != nil, p.DomainNames != nil} {
		if has {
			set++
		}
	}
	switch {
	case set != 1:
		c.refuse(ReasonInvalid, path, "exactly one of namespaces, pods, nodes, networks and domainNames must be set")
		return nil, false
	case p.DomainNames != nil:
		c.refuse(ReasonUnsupported, path+".domainNames", "domain names are not followed yet; write networks")
		return nil, false
	case p.Nodes != nil:
		q, ok := c.requirements(p.Nodes, path+".nodes")
		return []Peer{{Pods: &Selector{Nodes: true, Labels: q}}}, ok
	case p.Networks == nil:
		sel, ok := c.pods(p.Namespaces, p.Pods, path)
		return []Peer{{Pods: sel}}, ok
	}
	ok = true
	for i, n := range p.Networks {
		cidr, err := prefix(string(n))
		if err != nil {
			c.refuse(ReasonInvalid, fmt.Sprintf("%s.networks[%d]", path, i), "%v", err)
			ok = false
			continue
		}
		out = append(out, Peer{Range: &Range{CIDR: cidr}})
	}
	return out, ok
}

func onlyPods(peers []Peer) bool {
	return !slices.ContainsFunc(peers, func(p Peer) bool { return p.Pods == nil || p.Pods.Nodes })
}

func (c *clusterPolicy) protocols(list []policyv1alpha2.ClusterNetworkPolicyProtocol, path string) (out portList, ok bool) {
	if list == nil {
		return portList{ports: everything()}, true
	}
	ok = len(list) > 0
	if !ok {
		c.refuse(ReasonInvalid, path+".protocols", "an empty list matches nothing; leave it out for every protocol")
	}
	for i := range list {
		if err := out.add(&list[i]); err != nil {
			c.refuse(ReasonInvalid, fmt.Sprintf("%s.protocols[%d]", path, i), "%v", err)
			ok = false
		}
	}
	return out, ok
}

func (l *portList) add(p *policyv1alpha2.ClusterNetworkPolicyProtocol) error {
	var number uint8
	var port *policyv1alpha2.Port
	set := 0
	for _, t := range []struct {
		number uint8
		is     bool
		port   func() *policyv1alpha2.Port
	}{
		{TCP, p.TCP != nil, func() *policyv1alpha2.Port { return p.TCP.DestinationPort }},
		{UDP, p.UDP != nil, func() *policyv1alpha2.Port { return p.UDP.DestinationPort }},
		{SCTP, p.SCTP != nil, func() *policyv1alpha2.Port { return p.SCTP.DestinationPort }},
	} {
		if t.is {
			number, port = t.number, t.port()
			set++
		}
	}
	if p.DestinationNamedPort != "" {
		l.named = append(l.named, NamedPort{Name: p.DestinationNamedPort})
		set++
	}
	switch {
	case set != 1:
		return fmt.Errorf("exactly one of tcp, udp, sctp and destinationNamedPort must be set")
	case number == 0:
		return nil
	case port == nil:
		return fmt.Errorf("destinationPort must be set")
	}
	first, last := port.Number, port.Number
	if r := port.Range; r != nil {
		if port.Number != 0 {
			return fmt.Errorf("exactly one of number and range must be set")
		}
		first, last = r.Start, r.End
	}
	if first < 1 || last > 65535 || first > last {
		return fmt.Errorf("ports %d-%d are not between 1 and 65535 in this order", first, last)
	}
	l.ports = append(l.ports, verdict.Ports{Protocol: number, First: uint16(first), Last: uint16(last)})
	return nil
}
