package enforce

import (
	"errors"
	"fmt"
	"slices"

	"fairlead.io/fairlead/pkg/node/datapath"
)

// garbage is what the kernel has and nothing refers to any more. A program may still be reading it.
type garbage struct {
	held []*held
	// keys are entries that say what would be found without them.
	keys map[stem][]portKey
	// identities and namespaces are numbers of which one use each ends.
	identities, namespaces []uint32
	// subjects are identities that could not be withdrawn, with the Set that they still have.
	subjects map[uint32]*held
}

func (g *garbage) empty() bool {
	return len(g.held)+len(g.keys)+len(g.identities)+len(g.namespaces)+len(g.subjects) == 0
}

// discard gives up a Set that nothing refers to.
func (e *Engine) discard(h *held) { e.garbage.held = append(e.garbage.held, h) }

// release gives up what a Set uses without being in the kernel.
func (e *Engine) release(h *held) {
	for _, n := range h.namespaces {
		e.garbage.namespaces = append(e.garbage.namespaces, n)
	}
}

// withdrawLate withdraws what could not be withdrawn.
func (e *Engine) withdrawLate() error {
	for n, h := range e.garbage.subjects {
		e.wrote = true
		if err := e.cfg.Kernel.PutSubject(n, 0); err != nil {
			return fmt.Errorf("withdraw policy: %w", err)
		}
		e.discard(h)
		delete(e.garbage.subjects, n)
	}
	return nil
}

// Collect takes garbage away. What cannot be taken away stays garbage, and its numbers in use.
func (e *Engine) Collect() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.garbage.empty() {
		return e.settleNumbers()
	}
	return e.collect()
}

func (e *Engine) collect() error {
	if len(e.garbage.subjects) > 0 {
		return nil // their numbers are in use
	}
	if err := e.cfg.Kernel.Settle(); err != nil {
		return err
	}
	var keys []datapath.RuleKey
	for s, list := range e.garbage.keys {
		for _, k := range list {
			keys = append(keys, s.key(k))
		}
	}
	if len(keys) > 0 {
		if err := e.cfg.Kernel.DeleteRules(keys); err != nil {
			return err // before a Set is gone, whose number another one would have
		}
	}
	clear(e.garbage.keys)
	var errs []error
	e.garbage.held = slices.DeleteFunc(e.garbage.held, func(h *held) bool {
		err := e.erase(h)
		errs = append(errs, err)
		return err == nil
	})
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, n := range e.garbage.identities {
		e.identities.drop(n)
	}
	for _, n := range e.garbage.namespaces {
		e.namespaces.drop(n)
	}
	e.garbage.identities, e.garbage.namespaces = nil, nil
	return e.settleNumbers()
}

// erase deletes a Set.
func (e *Engine) erase(h *held) error {
	keys := make([]datapath.RuleKey, 0, batch)
	for r := range h.rules() {
		if keys = append(keys, r.RuleKey); len(keys) == batch {
			if err := e.cfg.Kernel.DeleteRules(keys); err != nil {
				return err
			}
			keys = keys[:0]
		}
	}
	var ranges []datapath.RangeKey
	for _, r := range h.ranges() {
		ranges = append(ranges, r.RangeKey)
	}
	if err := errors.Join(e.cfg.Kernel.DeleteRules(keys), e.cfg.Kernel.DeleteRanges(ranges), e.cfg.Kernel.DeleteParts(h.number)); err != nil {
		return err
	}
	if e.cfg.Erased != nil {
		e.cfg.Erased(h.number)
	}
	e.sets.drop(h.number)
	e.release(h)
	// What programs have told of it can be read a little longer, by its number: nothing but the rules is kept for that.
	e.held[h.number] = &held{number: h.number, set: h.set}
	return nil
}
