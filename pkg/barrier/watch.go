package barrier

import (
	"maps"
	"slices"

	"fairlead.io/fairlead/pkg/model"
)

// Watch tells which objects to look at again. It belongs to one goroutine.
type Watch struct {
	b    *Barrier
	wake chan struct{}

	// guarded by Barrier.mu
	refs map[model.Ref]struct{}
	all  bool
}

// Watch begins with everything.
func (b *Barrier) Watch() *Watch {
	w := &Watch{b: b, wake: make(chan struct{}, 1), refs: map[model.Ref]struct{}{}, all: true}
	w.wake <- struct{}{}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watches[w] = struct{}{}
	return w
}

// Close ends a watch.
func (w *Watch) Close() {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	delete(w.b.watches, w)
}

// Changed has an element when Take has something.
func (w *Watch) Changed() <-chan struct{} { return w.wake }

// Take gives the objects whose status or fate may be another than at the last Take, or that every object's may.
func (w *Watch) Take() (refs []model.Ref, all bool) {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	refs, all = slices.Collect(maps.Keys(w.refs)), w.all
	if clear(w.refs); all {
		refs, w.all = nil, false
	}
	return refs, all
}

func (w *Watch) nudge() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// touch notes that an object is to be looked at. The caller holds mu.
func (b *Barrier) touch(ref model.Ref) {
	b.dirty = true
	for w := range b.watches {
		if !w.all {
			w.refs[ref] = struct{}{}
		}
		w.nudge()
	}
}

// touchAll notes that every object is.
func (b *Barrier) touchAll() {
	b.dirty = true
	for w := range b.watches {
		w.all = true
		clear(w.refs)
		w.nudge()
	}
}

// Changed gives a channel that is closed when anything is known that was not.
func (b *Barrier) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}
