package table

import (
	"fmt"
	"runtime/debug"
)

// Derived is a table that is computed, key by key, from sources and earlier derived tables.
type Derived[V any] struct {
	table[V]
	fn    func(r *Reader, key string) (V, bool)
	stage *stage
}

// Equal replaces the comparison that stops the ripple (default: V's Equal method, == for plain kinds, else
// reflect.DeepEqual). Where V holds encoded bytes, compare those or their hash.
func Equal[V any](eq func(a, b V) bool) Option { return WithEqual(eq) }

// UrgentStage puts the table into the urgent lane: an urgent batch that interrupts a pass runs its dirty keys and
// publishes them. A key can only run there if it reads nothing but sources and urgent tables; one that reads
// another table waits for its place in the pass (Stats counts them as Deferred), and so does a removal. Declare
// urgent tables first, so that an interruption finds them clean.
func UrgentStage() Option { return Urgent() }

// NewDerived declares a derived table; declaration order is stage order. A key is a candidate while some trigger
// has it. fn runs when a key becomes a candidate and when something that it read last time has changed; ok=false
// gives no row, but the reads stay recorded. fn must be a function of key and what it reads through r alone, and
// must not keep r.
func NewDerived[V any](e *Engine, name string, fn func(r *Reader, key string) (V, bool), triggers []Trigger, opts ...Option) *Derived[V] {
	d := &Derived[V]{fn: fn, table: newTable[V](e, name, opts)}
	d.derived = true
	if len(triggers) == 0 {
		panic(fmt.Sprintf("table: derived table %q has no trigger", name))
	}
	d.order = e.declare("derived table", name, d)
	d.stage = &stage{name: name, order: d.order, index: int32(len(e.stages)), urgent: d.urgent, owner: d}
	e.stages = append(e.stages, d.stage)
	for _, t := range triggers {
		t.subscribe(d)
	}
	return d
}

func (d *Derived[V]) candidate(key string, delta int32) {
	rw := d.row(key)
	if rw.comp == 0 {
		id := d.e.comps.alloc()
		*d.e.comps.at(id) = comp{key: key, stage: d.stage.index}
		rw.comp = compID(id)
	}
	c := d.e.comps.at(uint32(rw.comp))
	was := c.refs
	c.refs += delta
	if was == 0 || c.refs == 0 {
		d.e.mark(rw.comp, nil)
	}
}

// compute runs one key. It returns false if the key must wait for its place in the pass.
func (d *Derived[V]) compute(r *Reader, id compID) bool {
	e := d.e
	c := e.comps.at(uint32(id))
	rw := d.rows[c.key]
	var none V
	if c.refs == 0 {
		if r.hurry {
			return false
		}
		e.relink(id, nil)
		delete(e.why, id)
		e.comps.release(uint32(id))
		rw.comp = 0
		if rw.present {
			d.write(rw, none, false)
		} else {
			d.tidy(rw)
		}
		return true
	}
	c.runs++
	d.stat.Runs++
	v, ok, failed := d.call(r, c.key)
	if _, wait := failed.(waitForPass); wait || failed == nil && r.hurry && !ok && rw.present {
		e.dropUnread(r.reads)
		d.stat.Deferred++
		return false
	}
	e.relink(id, r.reads) // after a panic too: what it read decides when to try again
	switch {
	case failed != nil:
		d.stat.Panics++
	case ok && (!rw.present || !d.eq(rw.value, v)):
		d.write(rw, v, true)
	case !ok && rw.present:
		d.write(rw, none, false)
	}
	return true
}

// call runs fn and turns a panic into a value: one key's trouble must not stop the server. The old row stays.
func (d *Derived[V]) call(r *Reader, key string) (v V, ok bool, failed any) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if _, wait := p.(waitForPass); !wait {
			if d.e.opts.Strict {
				panic(p)
			}
			d.e.opts.Logger.Error("derive row: panic", "table", d.name, "key", key, "panic", p, "stack", string(debug.Stack()))
		}
		failed = p
	}()
	v, ok = d.fn(r, key)
	return v, ok, nil
}
