package table

import (
	"fmt"
	"slices"
	"strings"
)

// Output is a derived table that is part of the snapshots.
type Output[V any] struct {
	t     *table[V]
	id    int
	queue []*row[V] // changed since the last flush; guarded by Engine.own
}

// publisher is an Output without its type.
type publisher interface {
	inUrgentLane() bool
	flush(old any, changes []Change) (any, []Change)
}

// Publish makes a derived table part of the snapshots. Call it once a table, before the first pass.
func Publish[V any](t *Derived[V]) *Output[V] {
	e := t.e
	e.declare("output", t.name, nil)
	if t.out != nil {
		panic(fmt.Sprintf("table: %q published twice", t.name))
	}
	t.out = &Output[V]{t: &t.table, id: len(e.outputs)}
	e.outputs = append(e.outputs, t.out)
	e.log.names = append(e.log.names, t.name)
	return t.out
}

// Name is the name of the table, as in Change.Table.
func (o *Output[V]) Name() string { return o.t.name }

// Get returns a row of the snapshot.
func (o *Output[V]) Get(s *Snapshot, key string) (V, bool) {
	if p := o.pages(s); p != nil {
		return p.get(key)
	}
	var none V
	return none, false
}

// GetNext is Get, with the key of the row after it, or "".
func (o *Output[V]) GetNext(s *Snapshot, key string) (v V, ok bool, next string) {
	if p := o.pages(s); p != nil {
		return p.getNext(key)
	}
	return v, false, ""
}

// Prefix is Range over the rows whose key begins with prefix.
func (o *Output[V]) Prefix(s *Snapshot, prefix string, fn func(key string, v V) bool) {
	if p := o.pages(s); p != nil {
		p.prefix(prefix, fn)
	}
}

// Range calls fn for each row of the snapshot in key order until it returns false.
func (o *Output[V]) Range(s *Snapshot, fn func(key string, v V) bool) {
	p := o.pages(s)
	if p == nil {
		return
	}
	for _, page := range p.list {
		for i := range page {
			if !fn(page[i].Key, page[i].Value) {
				return
			}
		}
	}
}

// Len is the number of rows in the snapshot.
func (o *Output[V]) Len(s *Snapshot) int {
	if p := o.pages(s); p != nil {
		return p.n
	}
	return 0
}

func (o *Output[V]) pages(s *Snapshot) *pages[V] {
	if o.id >= len(s.outs) || s.outs[o.id] == nil {
		return nil
	}
	return s.outs[o.id].(*pages[V])
}

func (o *Output[V]) inUrgentLane() bool { return o.t.urgent }

func (o *Output[V]) enqueue(rw *row[V]) {
	if rw.queued {
		rw.again = true
		return
	}
	rw.queued = true
	o.queue = append(o.queue, rw)
}

func (o *Output[V]) flush(old any, changes []Change) (any, []Change) {
	if len(o.queue) == 0 {
		return old, changes
	}
	queue := o.queue
	o.queue = nil
	slices.SortFunc(queue, func(a, b *row[V]) int { return strings.Compare(a.key, b.key) })
	prev, _ := old.(*pages[V])
	if prev == nil {
		prev = &pages[V]{}
	}
	changed := queue[:0]
	for _, rw := range queue {
		was, had := prev.get(rw.key)
		if had != rw.present || had && !(rw.again && o.t.eq(was, rw.value)) {
			changed = append(changed, rw)
			changes = append(changes, Change{o.t.name, rw.key})
		} else {
			rw.queued, rw.again = false, false
			o.t.tidy(rw)
		}
	}
	if len(changed) == 0 {
		return old, changes
	}
	next := prev.with(changed)
	for _, rw := range changed {
		rw.queued, rw.again = false, false
		o.t.tidy(rw)
	}
	return next, changes
}
