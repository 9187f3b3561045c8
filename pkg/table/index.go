package table

import (
	"runtime/debug"
	"slices"
	"strings"
)

// Index groups the rows of a table by keys computed from each row. A row may have none or several.
type Index[V any] struct {
	t       *table[V]
	name    string
	keys    func(key string, v V) []string
	buckets map[string]*bucket[V] // guarded by Engine.own
	sinks   []candidates
}

// bucket is what is under one index key; it stays while rows are there or somebody has asked.
type bucket[V any] struct {
	rows []*row[V] // sorted by key
	list depID
	any  depID
}

// NewIndex declares an index over a table. keys must be a function of its arguments alone; it is called with the
// old value again when a row changes, so nothing is kept per row. Repeated keys count once.
func NewIndex[V any](t Readable[V], name string, keys func(key string, v V) []string) *Index[V] {
	b := t.base()
	b.e.declare("index", name, nil)
	ix := &Index[V]{t: b, name: name, keys: keys, buckets: map[string]*bucket[V]{}}
	b.indexes = append(b.indexes, ix)
	return ix
}

// Name is the index's name as Why shows it.
func (ix *Index[V]) Name() string           { return ix.name }
func (ix *Index[V]) subscribe(s candidates) { ix.sinks = append(ix.sinks, s) }

func (ix *Index[V]) bucket(key string) *bucket[V] {
	b := ix.buckets[key]
	if b == nil {
		b = &bucket[V]{}
		ix.buckets[key] = b
	}
	return b
}

func (ix *Index[V]) tidy(key string, b *bucket[V]) {
	if len(b.rows) == 0 && b.list == 0 && b.any == 0 {
		delete(ix.buckets, key)
	}
}

// update moves a row that has just been written from its old keys to its new ones.
func (ix *Index[V]) update(rw *row[V], old V, had bool) {
	e := ix.t.e
	olds, news := e.scratch[0][:0], e.scratch[1][:0]
	if had {
		olds = ix.keysOf(olds, rw.key, old)
	}
	if rw.present {
		news = ix.keysOf(news, rw.key, rw.value)
	}
	e.scratch[0], e.scratch[1] = olds, news
	for len(olds) > 0 || len(news) > 0 {
		switch {
		case len(olds) == 0 || len(news) > 0 && news[0] < olds[0]:
			ix.insert(news[0], rw)
			news = news[1:]
		case len(news) == 0 || olds[0] < news[0]:
			ix.remove(olds[0], rw)
			olds = olds[1:]
		default:
			e.changed(ix.buckets[news[0]].list)
			olds, news = olds[1:], news[1:]
		}
	}
}

// keysOf appends the sorted keys of a value. They are copied first: keys may return a slice of the value itself.
func (ix *Index[V]) keysOf(into []string, key string, v V) (out []string) {
	defer func() {
		if p := recover(); p != nil {
			if ix.t.e.opts.Strict {
				panic(p)
			}
			ix.t.stat.Panics++
			ix.t.e.opts.Logger.Error("index row: panic", "table", ix.t.name, "index", ix.name, "key", key, "panic", p, "stack", string(debug.Stack()))
			out = into[:0]
		}
	}()
	into = append(into, ix.keys(key, v)...)
	slices.Sort(into)
	return slices.Compact(into)
}

func (ix *Index[V]) insert(key string, rw *row[V]) {
	b := ix.bucket(key)
	i, _ := slices.BinarySearchFunc(b.rows, rw.key, func(r *row[V], k string) int { return strings.Compare(r.key, k) })
	b.rows = slices.Insert(b.rows, i, rw)
	ix.t.e.changed(b.list)
	if len(b.rows) == 1 {
		ix.flip(key, b, 1)
	}
}

func (ix *Index[V]) remove(key string, rw *row[V]) {
	b := ix.buckets[key]
	i, _ := slices.BinarySearchFunc(b.rows, rw.key, func(r *row[V], k string) int { return strings.Compare(r.key, k) })
	b.rows = slices.Delete(b.rows, i, i+1)
	ix.t.e.changed(b.list)
	if len(b.rows) == 0 {
		ix.flip(key, b, -1)
		ix.tidy(key, b)
	}
}

func (ix *Index[V]) flip(key string, b *bucket[V], delta int32) {
	ix.t.e.changed(b.any)
	for _, s := range ix.sinks {
		s.candidate(key, delta)
	}
}

func (ix *Index[V]) describe(kind depKind, key string) Read {
	b := ix.buckets[key]
	name := "list"
	if kind == readAny {
		name = "any"
	}
	return Read{Table: ix.t.name, Index: ix.name, Kind: name, Key: key, Present: b != nil && len(b.rows) > 0}
}

func (ix *Index[V]) forget(kind depKind, key string) {
	b := ix.buckets[key]
	if kind == readAny {
		b.any = 0
	} else {
		b.list = 0
	}
	ix.tidy(key, b)
}
