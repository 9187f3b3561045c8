package enforce

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/verdict"
)

// peerSet is a list of identities.
type peerSet struct {
	members []uint32 // in order; each is used
}

func (p *peerSet) has(id uint32) bool {
	_, ok := slices.BinarySearch(p.members, id)
	return ok
}

// PeerSets takes in the identities of PeerSets by name, and the names of those that nothing names any more.
func (e *Engine) PeerSets(put map[string][]string, gone []string) error {
	return e.apply("PeerSet", func() error {
		defer e.signal()
		var errs []error
		moved := map[string][]uint32{} // identities that are in a PeerSet now and were not, or the reverse
		for name, identities := range put {
			next, err := e.members(identities)
			if err != nil {
				errs = append(errs, fmt.Errorf("peer set %q: %w", name, err))
				continue
			}
			if was := e.peerSets[name]; was != nil {
				moved[name] = differ(was.members, next.members)
				e.garbage.identities = append(e.garbage.identities, was.members...)
			}
			e.peerSets[name] = next
		}
		for _, s := range e.sorted() {
			if s.next == nil || len(e.missing(s.next)) > 0 {
				errs = append(errs, e.shift(s, moved))
			}
			errs = append(errs, e.bring(s))
		}
		for _, name := range gone {
			if was := e.peerSets[name]; was != nil && !e.isNamed(name) {
				e.garbage.identities = append(e.garbage.identities, was.members...)
				delete(e.peerSets, name)
			}
		}
		return errors.Join(errs...)
	})
}

// sorted are the subjects in the order of their names.
func (e *Engine) sorted() []*subject {
	out := slices.Collect(maps.Values(e.subjects))
	slices.SortFunc(out, func(a, b *subject) int { return int(a.number) - int(b.number) })
	return out
}

// isNamed tells whether something that holds or is to hold names a PeerSet: then it stays as it was.
func (e *Engine) isNamed(peerSet string) bool {
	for _, s := range e.subjects {
		if s.held != nil && slices.Contains(s.held.names, peerSet) || s.next != nil && slices.Contains(named(s.next), peerSet) {
			return true
		}
	}
	return false
}

func (e *Engine) members(identities []string) (*peerSet, error) {
	out := &peerSet{members: make([]uint32, 0, len(identities))}
	for _, name := range identities {
		n, err := e.identities.take(name)
		if err != nil {
			e.garbage.identities = append(e.garbage.identities, out.members...)
			return nil, err
		}
		out.members = append(out.members, n)
	}
	slices.Sort(out.members)
	return out, nil
}

// differ gives what is in one of two ordered lists only.
func differ(a, b []uint32) (out []uint32) {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] == b[0]:
			a, b = a[1:], b[1:]
		case a[0] < b[0]:
			out, a = append(out, a[0]), a[1:]
		default:
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// shift changes what a subject's Set says of identities whose PeerSets have changed.
func (e *Engine) shift(s *subject, moved map[string][]uint32) error {
	h := s.held
	if h == nil {
		return nil
	}
	var all []uint32
	for _, name := range h.names {
		all = append(all, moved[name]...)
	}
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	all = slices.Compact(all)
	to := make(map[uint32]*mix, len(all))
	whole := h.broken
	for _, id := range all {
		to[id] = &mix{}
		if b := e.bits(h, id); b != "" {
			to[id] = h.mixes[h.mix(b)]
		}
		whole = whole || h.entangled(h.mixOf(id), to[id])
	}
	var err error
	if !whole {
		if err = e.shiftInPlace(s, h, all, to); err == nil {
			return nil
		}
		e.late[s.identity] = true
		err = fmt.Errorf("policy of %q: %w", s.identity, err)
		s.err = err
	}
	h.broken = true // so that it is written anew, as a whole
	if s.next == nil {
		s.next = h.set
	}
	return err
}

// entangled tells whether a change concerns both families that must allow, in one direction: one after the other, they could allow
// what neither the old nor the new state does.
func (h *held) entangled(from, to *mix) bool {
	for d := range from.entries {
		if !slices.Equal(from.entries[d][verdict.Network], to.entries[d][verdict.Network]) &&
			!slices.Equal(from.entries[d][verdict.Mesh], to.entries[d][verdict.Mesh]) {
			return true
		}
	}
	return false
}

// shiftInPlace writes classes of identities over what is there.
func (e *Engine) shiftInPlace(s *subject, h *held, ids []uint32, to map[uint32]*mix) error {
	var rules []datapath.Rule
	parts := h.parts
	for _, id := range ids {
		from, next := h.mixOf(id), to[id]
		for sd := range sides() {
			st := stem{h.number, id, sd}
			puts := replace(from.entries[sd.d][sd.f], next.entries[sd.d][sd.f], e.garbage.keys[st])
			delete(e.garbage.keys, st)
			for _, x := range puts.write {
				rules = append(rules, datapath.Rule{RuleKey: st.key(x.PortKey), Value: x.Value})
				add(&parts[sd.d][sd.f], st.key(x.PortKey))
			}
			if len(puts.idle) > 0 {
				e.garbage.keys[st] = puts.idle
			}
		}
		if next.bits == "" {
			delete(h.of, id)
		} else {
			h.of[id] = h.index[next.bits]
		}
	}
	if len(rules) == 0 {
		return nil
	}
	e.wrote = true
	e.narrow(s.identity)
	if parts != h.parts {
		if err := e.cfg.Kernel.PutParts(h.number, parts); err != nil {
			return err
		}
		h.parts = parts
	}
	for chunk := range slices.Chunk(rules, batch) {
		if err := e.cfg.Kernel.PutRules(chunk); err != nil {
			return err
		}
	}
	return nil
}
