package enforce

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"strconv"

	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/verdict"
)

// found is a Set as it was in the kernel before a restart.
type found struct {
	rules  map[datapath.RuleKey]verdict.Value
	ranges []datapath.Range
	parts  datapath.Parts
}

// adopted is what was found when the Engine was made, until all of it is known by name, or gone.
type adopted struct {
	// subjects are by the number of the identity.
	subjects map[uint32]*held
	// addresses are those that no peer has claimed yet.
	addresses map[netip.Addr]*peer
	// peers and workloads say that all of them have been named.
	peers, workloads bool
}

// adopt learns what is in the kernel. Nothing is written.
func (e *Engine) adopt() error {
	e.identities.wrote = func(n uint32, _ string) error { delete(e.about, n); return nil }
	if e.cfg.Names != "" {
		if err := e.openNames(); err != nil {
			return err
		}
	}
	e.adopted = &adopted{subjects: map[uint32]*held{}, addresses: map[netip.Addr]*peer{}}
	sets := map[uint32]*held{}
	at0 := func(n uint32) *found {
		if sets[n] == nil {
			sets[n] = &held{number: n, found: &found{rules: map[datapath.RuleKey]verdict.Value{}}}
		}
		return sets[n].found
	}
	k := e.cfg.Kernel
	err := errors.Join(
		k.Addresses(func(a netip.Addr, x datapath.Address) bool {
			e.addresses[a] = at{kernel: x}
			e.adopted.addresses[a] = &peer{identity: x.Identity, namespace: x.Namespace, entities: x.Entities}
			e.reserve(x.Identity)
			return true
		}),
		k.Parts(func(n uint32, p datapath.Parts) bool { at0(n).parts = p; return true }),
		k.Rules(func(r datapath.Rule) bool { at0(r.Set).rules[r.RuleKey] = r.Value; return true }),
		k.Ranges(func(r datapath.Range) bool { f := at0(r.Set); f.ranges = append(f.ranges, r); return true }),
		k.Subjects(func(identity, set uint32) bool {
			at0(set)
			e.reserve(identity)
			e.adopted.subjects[identity] = sets[set]
			return true
		}),
	)
	if err != nil {
		return fmt.Errorf("adopt what is in the kernel: %w", err)
	}
	used := map[uint32]bool{}
	for _, h := range e.adopted.subjects {
		used[h.number] = true
	}
	for n, h := range sets {
		e.generation++
		e.sets.restore(n, strconv.FormatUint(e.generation, 10))
		if _, err := e.sets.take(strconv.FormatUint(e.generation, 10)); err != nil {
			return fmt.Errorf("adopt set %d: %w", n, err)
		}
		if !used[n] {
			e.discard(h)
		}
	}
	e.sets.settle()
	return nil
}

// reserve keeps a number, whose name is not known, from being given to another one.
func (e *Engine) reserve(identity uint32) {
	if identity != 0 && e.identities.name(identity) == "" {
		e.identities.restore(identity, "?"+strconv.FormatUint(uint64(identity), 10))
	}
}

// same tells whether the kernel has of an earlier run what it should have. Parts may have been in use that are no more.
func (h *held) same(old *held) bool {
	n := 0
	for r := range h.rules() {
		if v, ok := old.found.rules[r.RuleKey]; !ok || v != r.Value {
			return false
		}
		n++
	}
	want, has := map[datapath.Range]bool{}, map[datapath.Range]bool{}
	for _, r := range h.ranges() {
		want[r] = true
	}
	for _, r := range old.found.ranges {
		has[r] = true
	}
	return n == len(old.found.rules) && maps.Equal(want, has) && h.parts == old.found.parts
}

// dropSubjects withdraws what was in the kernel of identities that no pod of this node has.
func (e *Engine) dropSubjects() error {
	var errs []error
	for n, h := range e.adopted.subjects {
		errs = append(errs, e.withdraw(&subject{identity: e.identities.name(n), number: n, held: h}))
	}
	clear(e.adopted.subjects)
	return errors.Join(errs...)
}

// settleNumbers ends the adoption when nothing is left of it: numbers whose names were not named again are free.
func (e *Engine) settleNumbers() error {
	if e.adopted == nil || !e.adopted.peers || !e.adopted.workloads {
		return nil
	}
	for _, s := range e.subjects {
		if s.held != nil && s.held.found != nil {
			return nil
		}
	}
	e.adopted = nil
	e.identities.settle()
	e.namespaces.settle()
	if e.names == nil {
		return nil
	}
	return e.names.rewrite(e.identities, e.namespaces)
}
