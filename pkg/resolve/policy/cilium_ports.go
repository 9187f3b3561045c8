package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/pkg/verdict"
)

// ciliumProtocols are the IANA numbers of Cilium's names, apart from ANY.
func ciliumProtocols() map[string]uint8 {
	return map[string]uint8{
		"TCP": TCP, "UDP": UDP, "SCTP": SCTP,
		"VRRP": 112, "IGMP": 2, "GRE": 47, "IPIP": 4, "IPV6": 41, "ESP": 50, "AH": 51,
	}
}

// withPorts are the protocols that ANY stands for.
func withPorts() []uint8 { return []uint8{TCP, UDP, SCTP} }

// denied reads the ports of an entry that denies.
func (m *ciliumMatch) denied(ports []ciliumv2.PortDenyRule, icmps []ciliumv2.ICMPRule) {
	rules := make([]ciliumv2.PortRule, 0, len(ports))
	for i := range ports {
		rules = append(rules, ciliumv2.PortRule{Ports: ports[i].Ports})
	}
	m.allowed(rules, icmps, nil)
}

// allowed reads the ports of an entry. Without any it is about all protocols, and an entry without ports in it about none.
func (m *ciliumMatch) allowed(ports []ciliumv2.PortRule, icmps []ciliumv2.ICMPRule, auth *ciliumv2.Authentication) {
	if len(ports) > 0 && len(icmps) > 0 {
		m.c.refuse(ReasonInvalid, m.path+".icmps", "toPorts and icmps stand in entries of their own")
		m.broken = true
	}
	var out, restricted portList
	if m.ports = len(ports)+len(icmps) > 0; !m.ports {
		out.ports = everything()
	}
	for i := range ports {
		path := fmt.Sprintf("%s.toPorts[%d]", m.path, i)
		into := &out
		if m.restricts(&ports[i], path) {
			into = &restricted
		}
		for j := range ports[i].Ports {
			if err := into.cilium(&ports[i].Ports[j]); err != nil {
				m.badPort(fmt.Sprintf("%s.ports[%d]", path, j), err)
			}
		}
	}
	for i := range icmps {
		for j := range icmps[i].Fields {
			if err := out.icmp(&icmps[i].Fields[j]); err != nil {
				m.badPort(fmt.Sprintf("%s.icmps[%d].fields[%d]", m.path, i, j), err)
			}
		}
	}
	if auth != nil && auth.Mode != "disabled" {
		m.c.refuse(ReasonUnsupported, m.path+".authentication.mode", "peers are not authenticated until there is a proxy; nothing is allowed by it")
		restricted.ports, restricted.named = append(restricted.ports, out.ports...), append(restricted.named, out.named...)
		out = portList{}
	}
	m.rule.Ports, m.rule.Named = out.ports, out.named
	m.restricted, m.restrictedName = restricted.ports, restricted.named
}

// badPort leaves a port out of an entry that allows; one that denies denies all.
func (m *ciliumMatch) badPort(path string, err error) {
	m.c.refuse(ReasonInvalid, path, "%v", err)
	if m.rule.Action == verdict.Deny {
		m.broken = true
	}
}

// restricts tells whether more is asked for on ports than layers 3 and 4 can answer.
func (m *ciliumMatch) restricts(r *ciliumv2.PortRule, path string) bool {
	found := false
	refuse := func(is bool, field string) {
		if is {
			m.c.refuse(ReasonUnsupported, path+"."+field, "it is not enforced until there is a proxy; nothing is allowed by it")
			found = true
		}
	}
	if l := r.Rules; l != nil {
		refuse(len(l.HTTP) > 0, "rules.http")
		refuse(len(l.Kafka) > 0, "rules.kafka")
		if len(l.DNS) > 0 && m.observes(l.DNS) {
			m.c.warn(ReasonNoEffect, path+".rules.dns", "queries are not looked into until there is a proxy")
		} else {
			refuse(len(l.DNS) > 0, "rules.dns")
		}
		refuse(l.L7Proto != "", "rules.l7proto")
		refuse(len(l.L7) > 0, "rules.l7")
	}
	refuse(r.TerminatingTLS != nil, "terminatingTLS")
	refuse(r.OriginatingTLS != nil, "originatingTLS")
	refuse(len(r.ServerNames) > 0, "serverNames")
	refuse(r.Listener != nil, "listener")
	return found
}

// observes tells of rules for DNS that allow every name where the default is to allow: they only want queries to be seen.
func (m *ciliumMatch) observes(names []ciliumv2.FQDNSelector) bool {
	return !m.c.out.Isolates[m.rule.Direction][verdict.Network] &&
		slices.ContainsFunc(names, func(n ciliumv2.FQDNSelector) bool { return n.MatchPattern == "*" })
}

// cilium adds a port, a range of ports, or a port by its name.
func (l *portList) cilium(p *ciliumv2.PortProtocol) error {
	name := strings.ToUpper(p.Protocol)
	number, known := ciliumProtocols()[name]
	protocols := []uint8{number}
	switch {
	case name == "" || name == "ANY":
		protocols = withPorts()
	case name == "ICMP" || name == "ICMPV6":
		return fmt.Errorf("protocol %s has no ports; write icmps", p.Protocol)
	case !known:
		return fmt.Errorf("protocol %q is not known", p.Protocol)
	case number != TCP && number != UDP && number != SCTP:
		if p.Port != "" && p.Port != "0" || p.EndPort != 0 {
			return fmt.Errorf("protocol %s has no ports; leave port out", p.Protocol)
		}
		l.ports = append(l.ports, verdict.Ports{Protocol: number, Last: 0xffff})
		return nil
	}
	if isPortName(p.Port) {
		if p.EndPort != 0 {
			return fmt.Errorf("a named port has no endPort")
		}
		for _, n := range protocols {
			l.named = append(l.named, NamedPort{Name: strings.ToLower(p.Port), Protocol: n})
		}
		return nil
	}
	first, err := strconv.ParseUint(p.Port, 10, 16)
	if err != nil || len(p.Port) > 1 && p.Port[0] == '0' {
		return fmt.Errorf("port %q is neither a number up to 65535 nor a name", p.Port)
	}
	last := first
	switch {
	case first == 0 && (p.EndPort == 0 || p.EndPort == 0xffff):
		last = 0xffff // every port
	case first == 0 || p.EndPort < 0 || p.EndPort > 0xffff || p.EndPort != 0 && uint64(p.EndPort) < first:
		return fmt.Errorf("%s to %d is no range of ports", p.Port, p.EndPort)
	case p.EndPort != 0:
		last = uint64(p.EndPort)
	}
	for _, n := range protocols {
		l.ports = append(l.ports, verdict.Ports{Protocol: n, First: uint16(first), Last: uint16(last)})
	}
	return nil
}

// isPortName tells a name from a number: it is of letters, digits and single hyphens inside, with a letter (RFC 6335, section 5.1).
func isPortName(s string) bool {
	letter := false
	for i := range len(s) {
		switch c := s[i] | 0x20; {
		case 'a' <= c && c <= 'z':
			letter = true
		case '0' <= s[i] && s[i] <= '9':
		case s[i] == '-' && i > 0 && i < len(s)-1 && s[i-1] != '-':
		default:
			return false
		}
	}
	return letter && len(s) <= 15
}
