package table

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"time"
)

// stage is one derived table as the pass sees it.
type stage struct {
	name   string
	order  int
	index  int32
	urgent bool
	owner  interface {
		compute(r *Reader, id compID) bool
	}
	dirty []compID // guarded by Engine.own
	spent time.Duration
}

// Run is the one writer: it takes all that waits, runs a pass, publishes, and again, until ctx ends. Batching comes
// from being busy. It returns nil when ctx ends, an error if the engine runs already.
func (e *Engine) Run(ctx context.Context) error {
	if !e.running.CompareAndSwap(false, true) {
		return errors.New("run tables: already running")
	}
	defer e.running.Store(false)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		}
		open := e.held.Load() == 0 // before take: what was submitted before a Release is in the pass that first publishes
		b := e.take()
		if b == nil {
			b = e.NewBatch() // a Release woke us: publish
		}
		for b != nil && ctx.Err() == nil {
			e.own.Lock()
			e.open = open
			e.pass(b)
			e.own.Unlock()
			open = e.held.Load() == 0
			b = e.take()
		}
	}
}

// Apply runs a pass over the batch and what else waits, publishes and returns: for tests, `check` and benchmarks,
// not beside Run.
func (e *Engine) Apply(b *Batch) {
	e.Submit(b)
	e.own.Lock()
	defer e.own.Unlock()
	e.open = true
	for w := e.take(); w != nil; w = e.take() {
		e.pass(w)
	}
}

// pass applies a batch, runs what it made dirty stage by stage, and publishes. The caller holds own.
func (e *Engine) pass(b *Batch) {
	e.started = true
	start := e.opts.Now()
	e.passes.Passes++
	e.write(b)
	for e.runLowest() {
	}
	e.publish(false)
	e.passes.Last = e.opts.Now().Sub(start)
	e.passes.Total += e.passes.Last
}

func (e *Engine) write(b *Batch) {
	e.position = max(e.position, b.pos)
	e.complete = max(e.complete, b.complete)
	e.reachedBy(b.pos)
	for _, p := range b.parts {
		if p != nil {
			p.apply()
		}
	}
}

// runLowest runs the dirty keys of the first stage that has any, until done or an interruption made others dirty.
func (e *Engine) runLowest() bool {
	for _, st := range e.stages {
		if len(st.dirty) == 0 {
			continue
		}
		start := e.opts.Now()
		todo := e.takeDirty(st)
		for len(todo) > 0 && !e.pressed() {
			e.runKey(st, todo[0], false)
			todo = todo[1:]
			e.letLook()
		}
		st.dirty = append(st.dirty, todo...)
		st.spent += e.opts.Now().Sub(start)
		if len(todo) > 0 {
			e.interrupt()
		}
		return true // an interruption may have made keys of an earlier stage dirty
	}
	return false
}

// takeDirty returns the stage's dirty keys in key order.
func (e *Engine) takeDirty(st *stage) []compID {
	todo := st.dirty
	st.dirty = nil
	if len(todo) > 1 {
		slices.SortFunc(todo, func(a, b compID) int {
			return strings.Compare(e.comps.at(uint32(a)).key, e.comps.at(uint32(b)).key)
		})
	}
	return todo
}

func (e *Engine) runKey(st *stage, id compID, hurry bool) {
	c := e.comps.at(uint32(id))
	c.dirty = false
	c.pass = uint32(e.passes.Passes)
	r := &e.reader
	r.stage, r.reads, r.hurry = st, r.reads[:0], hurry
	var start time.Time
	if e.why != nil {
		start = e.opts.Now()
	}
	done := st.owner.compute(r, id)
	if !done {
		c.dirty = true
		st.dirty = append(st.dirty, id)
	} else if w := e.why[id]; w != nil {
		w.ran(start, e.opts.Now())
	}
}

// letLook lets those in who wait to look at the tables.
func (e *Engine) letLook() {
	if e.lookers.Load() > 0 {
		e.own.Unlock()
		runtime.Gosched()
		e.own.Lock()
	}
}

// pressed reports whether the pass should be interrupted now: an urgent batch waits, and the pass has had as much
// time since the last interruption as that one took.
func (e *Engine) pressed() bool {
	return e.urgent.Load() && e.opts.Now().Sub(e.pauseEnd) >= e.pauseFor
}

// interrupt applies the urgent batch in the middle of a pass: only the urgent lane runs, and only it is published.
func (e *Engine) interrupt() {
	b := e.takeUrgent()
	if b == nil {
		return
	}
	start := e.opts.Now()
	e.passes.Interruptions++
	e.write(b)
	for _, st := range e.stages {
		if st.urgent {
			for _, id := range e.takeDirty(st) {
				e.runKey(st, id, true)
			}
		}
	}
	e.publish(true)
	e.pauseEnd = e.opts.Now()
	e.pauseFor = e.pauseEnd.Sub(start)
}
