package verdict

import (
	"net/netip"
	"slices"
)

// The other side of a connection is of several peer classes at once: its identity, its namespace, each of its entities, and the
// smallest of the Set's address ranges that it is in. Each has entries of its own, so that a new pod costs those of its
// identity, and a rule about a namespace costs one class however many pods there are.

// OfIdentity gives the rules that name an identity by a PeerSet.
func (s *Set) OfIdentity(d Direction, f Family, identity string, in Members) []int {
	return s.naming(d, f, func(p Peer) bool { return p.Kind == PeerSet && in(p.Name, identity) })
}

// OfNamespace gives the rules that name a namespace.
func (s *Set) OfNamespace(d Direction, f Family, namespace string) []int {
	return s.naming(d, f, func(p Peer) bool { return p.Kind == PeerNamespace && p.Name == namespace })
}

// OfEntity gives the rules that name an entity, of one bit.
func (s *Set) OfEntity(d Direction, f Family, e Entity) []int {
	return s.naming(d, f, func(p Peer) bool { return p.Kind == PeerEntity && p.Entity&e != 0 })
}

// OfRange gives the rules that count for an address whose smallest range of Ranges is this one. What is World has ranges of its own:
// all of them, where a pod or a node has only those that hold for whoever has the address.
func (s *Set) OfRange(d Direction, f Family, n netip.Prefix) []int {
	return s.naming(d, f, func(p Peer) bool { return p.Kind == PeerCIDR && p.within(n) })
}

// OfWorldRange is OfRange for what is World, by WorldRanges.
func (s *Set) OfWorldRange(d Direction, f Family, n netip.Prefix) []int {
	return s.naming(d, f, func(p Peer) bool { return (p.Kind == PeerCIDR || p.Kind == PeerWorldCIDR) && p.within(n) })
}

// Ranges are the address ranges that a direction tells apart for pods and nodes: what rules name, and what they except.
func (s *Set) Ranges(d Direction) []netip.Prefix {
	return s.ranges(d, func(p Peer) bool { return p.Kind == PeerCIDR })
}

// WorldRanges are those that it tells apart for what is World. They are those of Ranges where no rule has a PeerWorldCIDR.
func (s *Set) WorldRanges(d Direction) []netip.Prefix {
	return s.ranges(d, func(p Peer) bool { return p.Kind == PeerCIDR || p.Kind == PeerWorldCIDR })
}

func (s *Set) ranges(d Direction, is func(Peer) bool) []netip.Prefix {
	var out []netip.Prefix
	for i := range s.Rules {
		if s.Rules[i].Direction != d {
			continue
		}
		for _, p := range s.Rules[i].Peers {
			if is(p) {
				out = append(append(out, p.CIDR), p.Except...)
			}
		}
	}
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// within tells whether all of a prefix is in the peer's range.
func (p Peer) within(n netip.Prefix) bool {
	return within(n, p.CIDR) && !slices.ContainsFunc(p.Except, func(x netip.Prefix) bool { return within(n, x) })
}

func (s *Set) naming(d Direction, f Family, is func(Peer) bool) []int {
	var out []int
	for i := range s.Rules {
		if r := &s.Rules[i]; r.Direction == d && r.Family == f && slices.ContainsFunc(r.Peers, is) {
			out = append(out, i)
		}
	}
	return out
}

// within tells whether all addresses of a prefix are in another.
func within(inner, outer netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}
