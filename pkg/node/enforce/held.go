package enforce

import (
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"

	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/verdict"
)

// held is a Set that is in the kernel, or on its way.
type held struct {
	number     uint32
	set        *verdict.Set
	names      []string          // of the PeerSets that it names, in order
	namespaces map[string]uint32 // that its rules name
	parts      datapath.Parts
	// mixes are the ways in which identities are in some of names and not in others; of says by identity which, where it is any.
	mixes []*mix
	index map[string]uint32 // of mixes, by bits
	of    map[uint32]uint32
	// found is what was in the kernel before a restart, of which no more is known.
	found *found
	// broken says that a change in place was left undone, so that the kernel has something else.
	broken bool
}

// mix has the entries of every identity that is in the same PeerSets.
type mix struct {
	bits    string // one for each of names
	entries [2][verdict.Families][]verdict.Entry
}

// side is a direction and a family.
type side struct {
	d verdict.Direction
	f verdict.Family
}

func sides() iter.Seq[side] {
	return func(yield func(side) bool) {
		for d := verdict.Egress; d <= verdict.Ingress; d++ {
			for f := range verdict.Families {
				if !yield(side{d, f}) {
					return
				}
			}
		}
	}
}

// named lists the PeerSets that a Set names.
func named(s *verdict.Set) []string {
	seen := map[string]bool{}
	for i := range s.Rules {
		for _, p := range s.Rules[i].Peers {
			if p.Kind == verdict.PeerSet {
				seen[p.Name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(seen))
}

// fold makes of a Set what it is in the kernel, by the PeerSets as they are. Nothing is written.
func (e *Engine) fold(s *verdict.Set) (*held, error) {
	h := &held{set: s, names: named(s), namespaces: map[string]uint32{}, index: map[string]uint32{}, of: map[uint32]uint32{}}
	for i := range s.Rules {
		for _, p := range s.Rules[i].Peers {
			if _, has := h.namespaces[p.Name]; p.Kind != verdict.PeerNamespace || has {
				continue
			}
			n, err := e.namespaces.take(p.Name)
			if err != nil {
				e.release(h)
				return nil, err
			}
			h.namespaces[p.Name] = n
		}
	}
	bits := map[uint32][]byte{}
	for i, name := range h.names {
		for _, id := range e.peerSets[name].members {
			b := bits[id]
			if b == nil {
				b = make([]byte, (len(h.names)+7)/8)
				bits[id] = b
			}
			b[i/8] |= 1 << (i % 8)
		}
	}
	for id, b := range bits {
		h.of[id] = h.mix(string(b))
	}
	h.parts = h.use()
	return h, nil
}

// mix gives the number of the mix of these bits, and folds it when it is new.
func (h *held) mix(bits string) uint32 {
	if i, ok := h.index[bits]; ok {
		return i
	}
	m := &mix{bits: bits}
	in := func(name, _ string) bool {
		i, ok := slices.BinarySearch(h.names, name)
		return ok && bits[i/8]&(1<<(i%8)) != 0
	}
	for s := range sides() {
		m.entries[s.d][s.f] = h.set.Fold(h.set.OfIdentity(s.d, s.f, "", in))
	}
	h.mixes = append(h.mixes, m)
	h.index[bits] = uint32(len(h.mixes) - 1)
	return h.index[bits]
}

// mixOf gives the mix that an identity is of; an empty one when it is of none.
func (h *held) mixOf(id uint32) *mix {
	if i, ok := h.of[id]; ok {
		return h.mixes[i]
	}
	return &mix{}
}

// bits tells in which of names an identity is; empty when in none.
func (e *Engine) bits(h *held, id uint32) string {
	var out []byte
	for i, name := range h.names {
		if e.peerSets[name].has(id) {
			if out == nil {
				out = make([]byte, (len(h.names)+7)/8)
			}
			out[i/8] |= 1 << (i % 8)
		}
	}
	return string(out)
}

// use says what is in use.
func (h *held) use() (out datapath.Parts) {
	for s := range sides() {
		out[s.d][s.f].Isolated = len(h.set.Isolated[s.d][s.f]) > 0
		if h.tellsWorld(s) {
			out[s.d][s.f].Classes |= 1 << datapath.ClassWorldRange
		}
	}
	for r := range h.rules() {
		add(&out[r.Direction][r.Family], r.RuleKey)
	}
	return out
}

func add(p *datapath.Part, k datapath.RuleKey) {
	p.Classes |= 1 << k.Class
	if k.Protocol == 0 {
		p.Any = true
	} else {
		p.Lengths |= 1 << k.Bits
	}
}

// tellsWorld tells whether what is World has ranges of its own.
func (h *held) tellsWorld(s side) bool {
	return slices.ContainsFunc(h.set.Rules, func(r verdict.Rule) bool {
		return r.Direction == s.d && r.Family == s.f && slices.ContainsFunc(r.Peers, func(p verdict.Peer) bool { return p.Kind == verdict.PeerWorldCIDR })
	})
}

// class is a peer class of a Set with its entries.
type class struct {
	side
	kind    datapath.Class
	number  uint32
	entries []verdict.Entry
}

// classes are all those about which rules say something; those of identities come last.
func (h *held) classes() iter.Seq[class] {
	fold := func(yield func(class) bool, s side, kind datapath.Class, number uint32, rules []int) bool {
		return len(rules) == 0 || yield(class{s, kind, number, h.set.Fold(rules)})
	}
	return func(yield func(class) bool) {
		for s := range sides() {
			for name, n := range h.namespaces {
				if !fold(yield, s, datapath.ClassNamespace, n, h.set.OfNamespace(s.d, s.f, name)) {
					return
				}
			}
			for _, c := range combinations() {
				if !fold(yield, s, datapath.ClassEntities, uint32(c), h.set.OfEntity(s.d, s.f, c)) {
					return
				}
			}
			for i, n := range h.set.Ranges(s.d) {
				if !fold(yield, s, datapath.ClassRange, uint32(i+1), h.set.OfRange(s.d, s.f, n)) {
					return
				}
			}
			for i, n := range h.set.WorldRanges(s.d) {
				if h.tellsWorld(s) && !fold(yield, s, datapath.ClassWorldRange, uint32(i+1), h.set.OfWorldRange(s.d, s.f, n)) {
					return
				}
			}
		}
		for id, m := range h.of {
			for s := range sides() {
				if x := h.mixes[m].entries[s.d][s.f]; len(x) > 0 && !yield(class{s, datapath.ClassIdentity, id, x}) {
					return
				}
			}
		}
	}
}

// rules are all entries.
func (h *held) rules() iter.Seq[datapath.Rule] {
	return func(yield func(datapath.Rule) bool) {
		if h.found != nil {
			for k, v := range h.found.rules {
				if !yield(datapath.Rule{RuleKey: k, Value: v}) {
					return
				}
			}
			return
		}
		for c := range h.classes() {
			key := datapath.RuleKey{Set: h.number, Number: c.number, Class: c.kind, Direction: c.d, Family: c.f}
			for _, x := range c.entries {
				key.PortKey = x.PortKey
				if !yield(datapath.Rule{RuleKey: key, Value: x.Value}) {
					return
				}
			}
		}
	}
}

// ranges numbers address ranges.
func (h *held) ranges() (out []datapath.Range) {
	if h.found != nil {
		return h.found.ranges
	}
	for d := verdict.Egress; d <= verdict.Ingress; d++ {
		out = append(out, h.numberRanges(d, false, h.set.Ranges(d))...)
		if h.tellsWorld(side{d, verdict.Network}) || h.tellsWorld(side{d, verdict.Mesh}) || h.tellsWorld(side{d, verdict.NetworkAudit}) || h.tellsWorld(side{d, verdict.MeshAudit}) {
			out = append(out, h.numberRanges(d, true, h.set.WorldRanges(d))...)
		}
	}
	return out
}

// numberRanges numbers the ranges of one direction. A range of IPv6 does not hold IPv4 addresses, though the kernel has them among those of
// IPv6: so all of those are a range of their own, about which no rule says anything.
func (h *held) numberRanges(d verdict.Direction, world bool, all []netip.Prefix) (out []datapath.Range) {
	every := netip.MustParsePrefix("0.0.0.0/0")
	holds := false
	for i, p := range all {
		out = append(out, datapath.Range{RangeKey: datapath.RangeKey{Set: h.number, Direction: d, World: world, Prefix: p}, Number: uint32(i + 1)})
		holds = holds || p.Addr().Is6() && p.Bits() <= 96 && netip.PrefixFrom(netip.AddrFrom16(every.Addr().As16()), p.Bits()).Masked().Addr() == p.Addr()
	}
	if holds && !slices.Contains(all, every) {
		out = append(out, datapath.Range{RangeKey: datapath.RangeKey{Set: h.number, Direction: d, World: world, Prefix: every}, Number: uint32(len(all) + 1)})
	}
	return out
}

// takeSet gives a number that no Set has, if need be one of those that are garbage.
func (e *Engine) takeSet() (uint32, error) {
	e.generation++
	name := fmt.Sprint(e.generation)
	n, err := e.sets.take(name)
	if err != nil && len(e.garbage.held) > 0 {
		if err = e.collect(); err == nil {
			n, err = e.sets.take(name)
		}
	}
	return n, err
}

// batch is how many entries go to the kernel in one call.
const batch = 1024

// write has the next Set of a subject in the kernel, where nothing finds it yet; or gives what is there since before a restart, when
// that is the same.
func (e *Engine) write(s *subject) (*held, error) {
	h, err := e.fold(s.next)
	if err != nil {
		return nil, err
	}
	if s.held != nil && s.held.found != nil {
		if h.number = s.held.number; h.same(s.held) {
			e.held[h.number] = h
			return h, nil
		}
	}
	if h.number, err = e.takeSet(); err != nil {
		e.release(h)
		return nil, err
	}
	e.held[h.number] = h
	e.wrote = true
	rules := make([]datapath.Rule, 0, batch)
	for r := range h.rules() {
		if rules = append(rules, r); len(rules) == batch {
			if err := e.cfg.Kernel.PutRules(rules); err != nil {
				return h, err
			}
			rules = rules[:0]
		}
	}
	if len(rules) > 0 {
		err = e.cfg.Kernel.PutRules(rules)
	}
	if ranges := h.ranges(); err == nil && len(ranges) > 0 {
		err = e.cfg.Kernel.PutRanges(ranges)
	}
	if err == nil {
		err = e.cfg.Kernel.PutParts(h.number, h.parts)
	}
	return h, err
}
