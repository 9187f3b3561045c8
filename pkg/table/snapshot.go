package table

import (
	"cmp"
	"slices"
)

// Snapshot is one published state of all outputs. It never changes. The zero Seq means: nothing published yet. Two of one
// Seq are equal but for their positions.
type Snapshot struct {
	Seq      uint64 // 1, 2, 3 …
	Position uint64 // all outputs reflect every batch up to this watch position
	Complete uint64 // all outputs reflect everything up to this watch position, as batches said; it is <= Position
	Urgent   uint64 // outputs of the urgent lane reflect what came up to this position; >= Position

	outs []any // *pages[V] by Output.id
	next chan struct{}
	log  changeLog
}

// Change names a row of an output that was added, changed or removed.
type Change struct {
	Table string
	Key   string
}

// Next is closed when a newer snapshot has been published.
func (s *Snapshot) Next() <-chan struct{} { return s.next }

// Snapshot returns the newest published state; never nil; from any goroutine.
func (e *Engine) Snapshot() *Snapshot { return e.snap.Load() }

// ChangesSince returns every row that may differ between publication seq and this one, each once, by output in
// declaration order and then by key. The slice is shared: do not change it. ok is false when seq is too old for
// the log that is kept, or newer than s: compare all then.
func (s *Snapshot) ChangesSince(seq uint64) (changes []Change, ok bool) {
	if seq > s.Seq || seq < s.log.base {
		return nil, false
	}
	sets := s.log.sets[seq-s.log.base:]
	if len(sets) == 0 {
		return nil, true
	}
	if len(sets) == 1 {
		return sets[0], true
	}
	rank := map[string]int{}
	for i, name := range s.log.names {
		rank[name] = i
	}
	all := slices.Concat(sets...)
	slices.SortFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(rank[a.Table], rank[b.Table]), cmp.Compare(a.Key, b.Key))
	})
	return slices.Compact(all), true
}

// changeLog holds what publications base+1, base+2 … changed. Snapshots share its arrays: they are only appended
// to, beyond what an older snapshot sees.
type changeLog struct {
	names []string // of the outputs
	base  uint64
	sets  [][]Change
	size  int
}

func (l *changeLog) add(changes []Change, limit int) {
	l.sets = append(l.sets, changes)
	l.size += len(changes) + 1
	for l.size > limit && len(l.sets) > 1 {
		l.size -= len(l.sets[0]) + 1
		l.sets = l.sets[1:]
		l.base++
	}
}

// publish makes a snapshot of what has changed, if anything has; with urgentOnly, of the urgent lane alone. The
// caller holds own.
func (e *Engine) publish(urgentOnly bool) {
	prev := e.snap.Load()
	if !e.open || e.held.Load() > 0 || urgentOnly && prev.Seq == 0 {
		return
	}
	next := &Snapshot{Seq: prev.Seq + 1, Position: e.position, Complete: e.complete, Urgent: e.reached, next: make(chan struct{})}
	if urgentOnly {
		next.Position, next.Complete = prev.Position, prev.Complete // the rest of the tables is half-way to e.position
	}
	next.outs = make([]any, len(e.outputs))
	copy(next.outs, prev.outs)
	var changes []Change
	for i, o := range e.outputs {
		if !urgentOnly || o.inUrgentLane() {
			next.outs[i], changes = o.flush(next.outs[i], changes)
		}
	}
	if prev.Seq > 0 && len(changes) == 0 {
		// Nobody is woken for a position: who waits for one looks again by itself.
		if next.Position != prev.Position || next.Complete != prev.Complete || next.Urgent != prev.Urgent {
			next.Seq, next.log, next.next = prev.Seq, prev.log, prev.next
			e.snap.Store(next)
		}
		return
	}
	e.log.add(changes, e.opts.LogChanges)
	next.log = e.log
	e.snap.Store(next)
	close(prev.next)
}
