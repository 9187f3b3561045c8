package verdict

import (
	"cmp"
	"math/bits"
	"slices"
)

// PortKey is how the kernel finds an entry: by protocol (0 is every one), and by the first Bits bits of the port.
type PortKey struct {
	Protocol uint8
	Bits     uint8
	Port     uint16
}

// Entry is what is found under a key. It is whole: the more specific of two entries has in it what the other says.
type Entry struct {
	PortKey
	Value
}

// Fold makes entries of the rules of one peer class, in one direction and family, which are given by their index in the Set.
// A packet's entry is that with the most Bits of its own protocol, else that of protocol 0. Entries come in the order of
// their keys.
func (s *Set) Fold(rules []int) []Entry {
	all := map[PortKey]Value{}
	for _, key := range s.keys(rules) {
		var v Value
		for _, i := range rules {
			r := &s.Rules[i]
			if slices.ContainsFunc(r.Ports, func(p Ports) bool { return p.covers(key) }) {
				v.add(i, r)
			}
		}
		all[key] = v
	}
	var out []Entry
	for k, v := range all {
		if above, ok := parent(k, all); ok && above == v {
			continue // found there
		}
		out = append(out, Entry{k, v})
	}
	slices.SortFunc(out, func(a, b Entry) int { return a.compare(b.PortKey) })
	return out
}

func (k PortKey) compare(o PortKey) int {
	return cmp.Or(cmp.Compare(k.Protocol, o.Protocol), cmp.Compare(k.Bits, o.Bits), cmp.Compare(k.Port, o.Port))
}

// keys are those under which something may differ from what is above.
func (s *Set) keys(rules []int) []PortKey {
	seen := map[PortKey]bool{}
	for _, i := range rules {
		for _, p := range s.Rules[i].Ports {
			if p.Protocol != 0 {
				seen[PortKey{Protocol: p.Protocol}] = true
			}
			for _, k := range p.prefixes() {
				seen[k] = true
			}
		}
	}
	out := make([]PortKey, 0, len(seen))
	for k := range seen {
		out = append(out, k)
	}
	return out
}

// prefixes cuts a range into aligned powers of two, 30 at most.
func (p Ports) prefixes() (out []PortKey) {
	for first, last := uint32(p.First), uint32(p.Last); first <= last; {
		size := uint32(1) << 16
		if first != 0 {
			size = 1 << bits.TrailingZeros32(first)
		}
		for first+size-1 > last {
			size /= 2
		}
		out = append(out, PortKey{p.Protocol, uint8(16 - bits.TrailingZeros32(size)), uint16(first)})
		first += size
	}
	return out
}

// covers tells whether all ports of a key are in the range.
func (p Ports) covers(k PortKey) bool {
	last := uint32(k.Port) + 1<<(16-k.Bits) - 1
	return (p.Protocol == 0 || p.Protocol == k.Protocol) && p.First <= k.Port && last <= uint32(p.Last)
}

// parent is what would be found if a key were not there.
func parent(k PortKey, all map[PortKey]Value) (Value, bool) {
	for n := int(k.Bits) - 1; n >= 0; n-- {
		up := PortKey{k.Protocol, uint8(n), k.Port &^ uint16(1<<(16-n)-1)}
		if v, ok := all[up]; ok {
			return v, true
		}
	}
	if k.Protocol == 0 {
		return Value{}, false
	}
	v := all[PortKey{}] // with nothing there, nothing is found
	return v, true
}
