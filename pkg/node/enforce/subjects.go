package enforce

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"fairlead.io/fairlead/pkg/verdict"
)

// subject is an identity that pods of this node have, or are to have.
type subject struct {
	identity string
	number   uint32
	users    int
	// held is what holds, next what is to take its place, as soon as all PeerSets that it names are known.
	held *held
	next *verdict.Set
	// removed says that the server has no Set for it any more.
	removed bool
	err     error
}

// VerdictSets takes in what holds for identities, and the names of those that are not known any more. What is not asked for is left
// out.
func (e *Engine) VerdictSets(put map[string]*verdict.Set, gone []string) error {
	return e.apply("VerdictSet", func() error {
		defer e.signal()
		var errs []error
		for _, name := range gone {
			s := e.subjects[name]
			if s == nil {
				continue
			}
			s.removed, s.next = true, nil
			if e.wanted(name) {
				e.cfg.Log.Warn("the control plane has no policy for an identity of this node: its pods are denied everything", "identity", name)
				errs = append(errs, e.withdraw(s))
			}
		}
		for _, name := range slices.Sorted(maps.Keys(put)) {
			s := e.subjects[name]
			if s == nil {
				continue
			}
			s.removed, s.next = false, put[name]
			errs = append(errs, e.bring(s))
		}
		return errors.Join(errs...)
	})
}

// wanted tells whether a pod is to be of an identity, and not only is still.
func (e *Engine) wanted(identity string) bool {
	for _, l := range e.locals {
		if l.Identity == identity || l.Identity == "" && l.has == identity {
			return true
		}
	}
	return false
}

// missing lists the PeerSets that a Set names and that are not known.
func (e *Engine) missing(s *verdict.Set) []string {
	return slices.DeleteFunc(named(s), func(name string) bool { return e.peerSets[name] != nil })
}

// bring has the newest Set of an identity hold, when all is known that it takes.
func (e *Engine) bring(s *subject) error {
	delete(e.late, s.identity)
	if s.next == nil || len(e.missing(s.next)) > 0 {
		return nil
	}
	if s.held != nil && !s.held.broken && reflect.DeepEqual(s.held.set, s.next) {
		s.next, s.err = nil, nil
		return nil
	}
	old := s.held
	h, err := e.write(s)
	adopted := err == nil && old != nil && h.number == old.number
	if err == nil && !adopted {
		e.wrote = true
		err = e.cfg.Kernel.PutSubject(s.number, h.number)
	}
	if err != nil {
		if h != nil {
			e.discard(h)
		}
		e.late[s.identity] = true
		s.err = fmt.Errorf("policy of %q: %w", s.identity, err)
		return s.err
	}
	s.held, s.next, s.err = h, nil, nil
	if !adopted {
		e.narrow(s.identity)
	}
	if h := e.garbage.subjects[s.number]; h != nil { // it could not be withdrawn, and now is replaced
		delete(e.garbage.subjects, s.number)
		e.discard(h)
	}
	if old != nil && !adopted {
		e.discard(old)
	}
	return e.moved(s.identity)
}

// withdraw leaves an identity without a Set: its pods are denied everything.
func (e *Engine) withdraw(s *subject) error {
	if s.held == nil {
		return nil
	}
	e.wrote = true
	h := s.held
	s.held = nil
	e.narrow(s.identity)
	if err := e.cfg.Kernel.PutSubject(s.number, 0); err != nil {
		e.garbage.subjects[s.number] = h
		return fmt.Errorf("withdraw policy of %q: %w", s.identity, err)
	}
	e.discard(h)
	return nil
}

// Wanted lists the VerdictSets and the PeerSets that are needed, in order, and gives a channel that is closed when that may have
// changed, or when something has come to hold.
func (e *Engine) Wanted() (verdictSets, peerSets []string, changed <-chan struct{}) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	sets := map[string]bool{}
	for _, s := range e.subjects {
		if s.held != nil {
			for _, name := range s.held.names {
				sets[name] = true
			}
		}
		if s.next != nil {
			for _, name := range named(s.next) {
				sets[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(e.subjects)), slices.Sorted(maps.Keys(sets)), e.changed
}
