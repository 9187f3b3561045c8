package table

import "fmt"

// Reader is what a derived function reads through; each read is recorded. It is valid during the call only.
type Reader struct {
	e     *Engine
	stage *stage
	reads []depID
	hurry bool // in an interruption
}

// waitForPass unwinds a function that an interruption may not run: it asked for a table that may be half-way.
type waitForPass struct{}

// admit panics if the running function may not read the table now.
func (r *Reader) admit(name string, order int, halfway bool) {
	if order >= r.stage.order {
		panic(fmt.Sprintf("table: %q reads %q, which is itself or comes later in the flow", r.stage.name, name))
	}
	if halfway && r.hurry {
		panic(waitForPass{})
	}
}

func admit[V any](r *Reader, t *table[V]) { r.admit(t.name, t.order, t.derived && !t.urgent) }

// Position is the watch position to stamp an output with: the highest that is applied, so that nothing which the output
// may reflect is younger. It is no claim that everything up to it is there. It is not a dependency.
func (r *Reader) Position() uint64 { return r.e.reached }

// Get reads one row.
func Get[V any](r *Reader, t Readable[V], key string) (V, bool) {
	b := t.base()
	admit(r, b)
	rw := b.row(key)
	if rw.dep == 0 {
		rw.dep = r.e.newDep(b, readRow, rw.key)
	}
	r.reads = append(r.reads, rw.dep)
	return rw.value, rw.present
}

// List reads the rows under an index key, sorted by key.
func List[V any](r *Reader, ix *Index[V], ikey string) []Entry[V] {
	return appendList(r, ix, ikey, nil, nil)
}

// Select reads the rows under a coarse index key and keeps those that match, sorted by key. It depends on all of
// them: match must be a function of its arguments and of what was read through r alone.
func Select[V any](r *Reader, ix *Index[V], coarse string, match func(key string, v V) bool) []Entry[V] {
	return appendList(r, ix, coarse, match, nil)
}

func appendList[V any](r *Reader, ix *Index[V], ikey string, match func(string, V) bool, out []Entry[V]) []Entry[V] {
	admit(r, ix.t)
	b := ix.bucket(ikey)
	if b.list == 0 {
		b.list = r.e.newDep(ix, readList, ikey)
	}
	r.reads = append(r.reads, b.list)
	if match == nil && out == nil && len(b.rows) > 0 {
		out = make([]Entry[V], 0, len(b.rows))
	}
	for _, rw := range b.rows {
		if match == nil || match(rw.key, rw.value) {
			out = append(out, Entry[V]{rw.key, rw.value})
		}
	}
	return out
}

// Any reads whether there are rows under an index key; the reader runs again only when that flips.
func Any[V any](r *Reader, ix *Index[V], ikey string) bool {
	admit(r, ix.t)
	b := ix.bucket(ikey)
	if b.any == 0 {
		b.any = r.e.newDep(ix, readAny, ikey)
	}
	r.reads = append(r.reads, b.any)
	return len(b.rows) > 0
}

// All reads a whole table, sorted by key: for small tables, since every change of it runs the reader again.
func All[V any](r *Reader, t Readable[V]) []Entry[V] {
	b := t.base()
	admit(r, b)
	if b.all == 0 {
		b.all = r.e.newDep(b, readAll, "")
	}
	r.reads = append(r.reads, b.all)
	return b.sorted()
}

// dropUnread forgets deps that an abandoned run has made and nobody else reads.
func (e *Engine) dropUnread(reads []depID) {
	for _, id := range reads {
		if d := e.deps.at(uint32(id)); d.owner != nil && len(d.readers) == 0 {
			e.dropDep(id)
		}
	}
}
