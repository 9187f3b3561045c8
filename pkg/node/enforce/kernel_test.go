package enforce

import (
	"errors"
	"net/netip"

	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/verdict"
)

// memory is a kernel of Go maps. Each entry that is written is a step, after which watch looks.
type memory struct {
	addresses map[netip.Addr]datapath.Address
	subjects  map[uint32]uint32
	parts     map[uint32]datapath.Parts
	rules     map[datapath.RuleKey]verdict.Value
	ranges    map[datapath.RangeKey]uint32
	epoch     int
	steps     int
	watch     func()
	fail      func(step int) error // nil is never
}

func newMemory() *memory {
	return &memory{
		addresses: map[netip.Addr]datapath.Address{}, subjects: map[uint32]uint32{}, parts: map[uint32]datapath.Parts{},
		rules: map[datapath.RuleKey]verdict.Value{}, ranges: map[datapath.RangeKey]uint32{},
	}
}

var errKernel = errors.New("no room in the map")

func (m *memory) step(write func()) error {
	m.steps++
	if m.fail != nil {
		if err := m.fail(m.steps); err != nil {
			return err
		}
	}
	write()
	if m.watch != nil {
		m.watch()
	}
	return nil
}

func (m *memory) PutAddress(a netip.Addr, x datapath.Address) error {
	return m.step(func() { m.addresses[a] = x })
}

func (m *memory) DeleteAddress(a netip.Addr) error { return m.step(func() { delete(m.addresses, a) }) }

func (m *memory) Addresses(fn func(netip.Addr, datapath.Address) bool) error {
	for a, x := range m.addresses {
		fn(a, x)
	}
	return nil
}

func (m *memory) PutSubject(identity, set uint32) error {
	return m.step(func() { m.subjects[identity] = set })
}

func (m *memory) Subjects(fn func(identity, set uint32) bool) error {
	for i, s := range m.subjects {
		if s != 0 {
			fn(i, s)
		}
	}
	return nil
}

func (m *memory) PutParts(set uint32, p datapath.Parts) error {
	return m.step(func() { m.parts[set] = p })
}

func (m *memory) DeleteParts(set uint32) error { return m.step(func() { delete(m.parts, set) }) }

func (m *memory) Parts(fn func(uint32, datapath.Parts) bool) error {
	for s, p := range m.parts {
		fn(s, p)
	}
	return nil
}

func each[T any](m *memory, list []T, write func(T)) error {
	for _, x := range list {
		if err := m.step(func() { write(x) }); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) PutRules(list []datapath.Rule) error {
	return each(m, list, func(r datapath.Rule) { m.rules[r.RuleKey] = r.Value })
}

func (m *memory) DeleteRules(list []datapath.RuleKey) error {
	return each(m, list, func(k datapath.RuleKey) { delete(m.rules, k) })
}

func (m *memory) Rules(fn func(datapath.Rule) bool) error {
	for k, v := range m.rules {
		fn(datapath.Rule{RuleKey: k, Value: v})
	}
	return nil
}

func (m *memory) PutRanges(list []datapath.Range) error {
	return each(m, list, func(r datapath.Range) { m.ranges[r.RangeKey] = r.Number })
}

func (m *memory) DeleteRanges(list []datapath.RangeKey) error {
	return each(m, list, func(k datapath.RangeKey) { delete(m.ranges, k) })
}

func (m *memory) Ranges(fn func(datapath.Range) bool) error {
	for k, n := range m.ranges {
		fn(datapath.Range{RangeKey: k, Number: n})
	}
	return nil
}

func (m *memory) Bump() error   { m.epoch++; return nil }
func (m *memory) Settle() error { return nil }

// judge answers as the programs of bpf/ do: what the pod that has an address may do, in one direction.
func (m *memory) judge(pod netip.Addr, d verdict.Direction, f verdict.Family, remote netip.Addr, protocol uint8, port uint16) verdict.Decision {
	me := m.addresses[pod]
	set := m.subjects[me.Identity]
	if set == 0 {
		return unknown
	}
	part := m.parts[set][d][f]
	to, known := m.addresses[remote]
	if !known {
		to.Entities = verdict.All | verdict.World
	}
	var values []verdict.Value
	look := func(c datapath.Class, number uint32) {
		if part.Classes&(1<<c) != 0 && number != 0 {
			key := datapath.RuleKey{Set: set, Number: number, Class: c, Direction: d, Family: f}
			values = append(values, m.find(part, key, protocol, port))
		}
	}
	look(datapath.ClassIdentity, to.Identity)
	look(datapath.ClassNamespace, to.Namespace)
	look(datapath.ClassEntities, uint32(to.Entities))
	world := to.Entities&verdict.World != 0 && part.Classes&(1<<datapath.ClassWorldRange) != 0
	if world {
		look(datapath.ClassWorldRange, m.smallest(set, d, true, remote))
	} else {
		look(datapath.ClassRange, m.smallest(set, d, false, remote))
	}
	return verdict.Combine(part.Isolated, values...)
}

// unknown is the answer where there is no Set.
var unknown = verdict.Decision{Because: 99}

func (m *memory) find(part datapath.Part, key datapath.RuleKey, protocol uint8, port uint16) verdict.Value {
	for n := 16; n >= 0; n-- {
		key.PortKey = verdict.PortKey{Protocol: protocol, Bits: uint8(n), Port: port &^ uint16(1<<(16-n)-1)}
		if v, ok := m.rules[key]; ok && part.Lengths&(1<<n) != 0 {
			return v
		}
	}
	key.PortKey = verdict.PortKey{}
	if part.Any {
		return m.rules[key]
	}
	return verdict.Value{}
}

// smallest finds as an LPM trie does, among addresses of 128 bits.
func (m *memory) smallest(set uint32, d verdict.Direction, world bool, a netip.Addr) (number uint32) {
	best := -1
	for k, n := range m.ranges {
		p := k.Prefix
		if p.Addr().Is4() {
			p = netip.PrefixFrom(netip.AddrFrom16(p.Addr().As16()), p.Bits()+96)
		}
		bits := netip.PrefixFrom(netip.AddrFrom16(a.As16()), p.Bits()).Masked().Addr().As16()
		if k.Set == set && k.Direction == d && k.World == world && bits == p.Addr().As16() && p.Bits() > best {
			best, number = p.Bits(), n
		}
	}
	return number
}
