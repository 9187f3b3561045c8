package verdict

import (
	"net/netip"
	"slices"
)

// Members tells whether an identity is in a PeerSet.
type Members func(set, identity string) bool

// Judge evaluates a Set rule by rule, as the specifications tell it.
func (s *Set) Judge(d Direction, f Family, to Remote, protocol uint8, port uint16, in Members) Decision {
	match := func(i int) bool {
		r := &s.Rules[i]
		return r.Direction == d && r.Family == f && r.matches(to, protocol, port, in)
	}
	if i, ok := s.ranked(Admin, match); ok && s.Rules[i].Action != Pass {
		return Decision{s.Rules[i].Action == Allow, ByRule, i}
	}
	for _, action := range []Action{Deny, Allow} {
		for i := range s.Rules {
			if r := &s.Rules[i]; r.Tier == Main && r.Action == action && match(i) {
				return Decision{action == Allow, ByRule, i}
			}
		}
	}
	if len(s.Isolated[d][f]) > 0 {
		return Decision{Because: Isolation}
	}
	if i, ok := s.ranked(Baseline, match); ok && s.Rules[i].Action != Pass {
		return Decision{s.Rules[i].Action == Allow, ByRule, i}
	}
	return Decision{Allowed: true, Because: NoPolicy}
}

// ranked gives the first rule of a tier that matches.
func (s *Set) ranked(t Tier, match func(int) bool) (best int, found bool) {
	for i := range s.Rules {
		if r := &s.Rules[i]; r.Tier == t && (!found || r.Rank < s.Rules[best].Rank) && match(i) {
			best, found = i, true
		}
	}
	return best, found
}

func (r *Rule) matches(to Remote, protocol uint8, port uint16, in Members) bool {
	return slices.ContainsFunc(r.Ports, func(p Ports) bool { return p.has(protocol, port) }) &&
		slices.ContainsFunc(r.Peers, func(p Peer) bool { return p.is(to, in) })
}

func (p Peer) is(to Remote, in Members) bool {
	switch p.Kind {
	case PeerSet:
		return to.Identity != "" && in(p.Name, to.Identity)
	case PeerNamespace:
		return to.Identity != "" && p.Name == to.Namespace
	case PeerEntity:
		return p.Entity&to.Entities != 0
	case PeerWorldCIDR:
		if to.Entities&World == 0 {
			return false
		}
		fallthrough
	default:
		return p.CIDR.Contains(to.Address) && !slices.ContainsFunc(p.Except, func(x netip.Prefix) bool { return x.Contains(to.Address) })
	}
}
