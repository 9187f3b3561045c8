package table

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Readable is a table that derived functions can read: a *Source or a *Derived.
type Readable[V any] interface {
	Name() string
	base() *table[V]
}

// Entry is one row as a reader sees it.
type Entry[V any] struct {
	Key   string
	Value V
}

// Trigger gives a derived table its candidate keys: an *Index (its index keys) or a table (its keys).
type Trigger interface {
	subscribe(s candidates)
}

// candidates is told when a key of a trigger appears (+1) or goes (-1).
type candidates interface {
	candidate(key string, delta int32)
}

// row is a key of a table that is present, or is read though absent, or is a candidate without output.
type row[V any] struct {
	key   string
	value V
	dep   depID
	comp  compID // in derived tables

	present bool
	queued  bool // changed since it was last published
	again   bool // changed more than once since
}

// table is what Source and Derived share.
type table[V any] struct {
	e       *Engine
	name    string
	order   int // place in the flow
	derived bool
	urgent  bool
	eq      func(a, b V) bool

	rows    map[string]*row[V] // guarded by Engine.own, like all below
	n       int                // rows that are present
	all     depID
	indexes []*Index[V]
	sinks   []candidates
	out     *Output[V]
	stat    TableStat
}

// Option configures a table.
type Option func(*settings)

type settings struct {
	eq     any // func(a, b V) bool
	urgent bool
}

func newTable[V any](e *Engine, name string, opts []Option) table[V] {
	s := settings{eq: defaultEqual[V]()}
	for _, o := range opts {
		o(&s)
	}
	eq, ok := s.eq.(func(a, b V) bool)
	if !ok {
		panic(fmt.Sprintf("table: %q: the comparison is a %T, not for its row type", name, s.eq))
	}
	return table[V]{e: e, name: name, urgent: s.urgent, eq: eq, rows: map[string]*row[V]{}}
}

// Name is the table's name as Stats and Why show it.
func (t *table[V]) Name() string           { return t.name }
func (t *table[V]) base() *table[V]        { return t }
func (t *table[V]) subscribe(s candidates) { t.sinks = append(t.sinks, s) }

func (t *table[V]) row(key string) *row[V] {
	rw := t.rows[key]
	if rw == nil {
		rw = &row[V]{key: key}
		t.rows[key] = rw
	}
	return rw
}

// write changes a row, its indexes and whoever has read either. The caller knows that it differs.
func (t *table[V]) write(rw *row[V], v V, present bool) {
	old, had := rw.value, rw.present
	rw.value, rw.present = v, present
	t.stat.Changes++
	for _, ix := range t.indexes {
		ix.update(rw, old, had)
	}
	if had != present {
		delta := int32(1)
		if had {
			delta = -1
		}
		t.n += int(delta)
		for _, s := range t.sinks {
			s.candidate(rw.key, delta)
		}
	}
	t.e.changed(rw.dep)
	t.e.changed(t.all)
	if t.out != nil {
		t.out.enqueue(rw)
	}
	t.tidy(rw)
}

// tidy removes a row that is neither there nor needed.
func (t *table[V]) tidy(rw *row[V]) {
	if !rw.present && rw.dep == 0 && rw.comp == 0 && !rw.queued {
		delete(t.rows, rw.key)
	}
}

func (t *table[V]) describe(kind depKind, key string) Read {
	if kind == readAll {
		return Read{Table: t.name, Kind: "all", Present: t.n > 0}
	}
	rw := t.rows[key]
	return Read{Table: t.name, Kind: "row", Key: key, Present: rw != nil && rw.present}
}

func (t *table[V]) forget(kind depKind, key string) {
	if kind == readAll {
		t.all = 0
		return
	}
	rw := t.rows[key]
	rw.dep = 0
	t.tidy(rw)
}

// sorted returns all present rows by key.
func (t *table[V]) sorted() []Entry[V] {
	out := make([]Entry[V], 0, t.n)
	for _, rw := range t.rows {
		if rw.present {
			out = append(out, Entry[V]{rw.key, rw.value})
		}
	}
	slices.SortFunc(out, func(a, b Entry[V]) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// defaultEqual is V's own Equal method, == for plain kinds, else reflect.DeepEqual.
func defaultEqual[V any]() func(a, b V) bool {
	var zero V
	if _, ok := any(zero).(interface{ Equal(V) bool }); ok && reflect.TypeFor[V]().Kind() != reflect.Interface {
		return func(a, b V) bool {
			if reflect.TypeFor[V]().Kind() == reflect.Pointer {
				if x, y := reflect.ValueOf(a), reflect.ValueOf(b); x.IsNil() || y.IsNil() {
					return x.IsNil() && y.IsNil()
				}
			}
			return any(a).(interface{ Equal(V) bool }).Equal(b)
		}
	}
	switch reflect.TypeFor[V]().Kind() {
	case reflect.Bool, reflect.String, reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return func(a, b V) bool { return any(a) == any(b) }
	}
	return func(a, b V) bool { return reflect.DeepEqual(a, b) }
}
