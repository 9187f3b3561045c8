package table

import (
	"maps"
	"slices"
)

// Source is a table that is written from outside, in batches.
type Source[V any] struct {
	table[V]
	slot int // index in Batch.parts
}

// WithEqual replaces a source's comparison that tells a change from a repetition (default: V's Equal method, == for
// plain kinds, else reflect.DeepEqual).
func WithEqual[V any](eq func(a, b V) bool) Option { return func(s *settings) { s.eq = eq } }

// Urgent says that a batch which only touches such sources interrupts a long pass.
func Urgent() Option { return func(s *settings) { s.urgent = true } }

// NewSource declares a source table.
func NewSource[V any](e *Engine, name string, opts ...Option) *Source[V] {
	s := &Source[V]{table: newTable[V](e, name, opts)}
	s.order = e.declare("source", name, s)
	s.slot = e.nsource
	e.nsource++
	return s
}

// Set puts a change into a batch: from the pass that takes the batch, key has value v.
func (s *Source[V]) Set(b *Batch, key string, v V) {
	s.part(b).ops[key] = op[V]{value: v, present: true}
}

// Delete puts a removal into a batch. Removing what is not there is nothing.
func (s *Source[V]) Delete(b *Batch, key string) { s.part(b).ops[key] = op[V]{} }

func (s *Source[V]) part(b *Batch) *part[V] {
	if b.sent {
		panic("table: batch changed after Submit or Apply")
	}
	if b.e != s.e {
		panic("table: batch of another engine")
	}
	for len(b.parts) <= s.slot {
		b.parts = append(b.parts, nil)
	}
	if b.parts[s.slot] == nil {
		b.parts[s.slot] = &part[V]{s: s, ops: map[string]op[V]{}}
	}
	return b.parts[s.slot].(*part[V])
}

type op[V any] struct {
	value   V
	present bool
}

// part is what a batch does to one source; the last operation on a key wins.
type part[V any] struct {
	s   *Source[V]
	ops map[string]op[V]
}

func (p *part[V]) urgent() bool { return p.s.urgent }

func (p *part[V]) size() int { return len(p.ops) }

func (p *part[V]) absorb(later batchPart) { maps.Copy(p.ops, later.(*part[V]).ops) }

func (p *part[V]) yield(newer batchPart) {
	for key := range newer.(*part[V]).ops {
		delete(p.ops, key)
	}
}

// apply writes in key order: deterministic, and a big batch then appends to index lists instead of inserting.
func (p *part[V]) apply() {
	s := p.s
	for _, key := range slices.Sorted(maps.Keys(p.ops)) {
		o := p.ops[key]
		rw := s.rows[key]
		if !o.present {
			if rw != nil && rw.present {
				s.write(rw, o.value, false)
			}
			continue
		}
		if rw == nil {
			rw = s.row(key)
		} else if rw.present && s.eq(rw.value, o.value) {
			continue
		}
		s.write(rw, o.value, true)
	}
}
