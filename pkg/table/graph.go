package table

import "slices"

// depID names something that can be read, compID a key of a derived table. 0 is none. They are numbers and not
// pointers because there is one of each per edge, and edges are most of the memory.
type (
	depID  uint32
	compID uint32
)

type depKind uint8

const (
	readRow  depKind = iota // one key of a table
	readList                // the rows under one index key
	readAny                 // whether there are rows under an index key
	readAll                 // a whole table
	readLens                // the prefix lengths that a PrefixIndex holds, per family
)

// dep is something that at least one computation has read, present or not.
type dep struct {
	owner   depOwner
	key     string
	readers []compID
	stale   uint32 // how many of readers do not read it any more (only counted in long lists)
	kind    depKind
}

// depOwner is the table or index that a dep is part of.
type depOwner interface {
	describe(kind depKind, key string) Read
	forget(kind depKind, key string) // nobody reads it any more
}

// comp is one key of a derived table: what it read last time and how it stands.
type comp struct {
	key   string
	reads []depID // sorted
	stage int32
	refs  int32 // how many triggers name this key; 0 = its output must go
	runs  uint32
	pass  uint32 // the pass of the last run
	dirty bool
}

// slab hands out numbered values in chunks, so that growing copies nothing and pointers stay valid.
type slab[T any] struct {
	chunks []*[slabChunk]T
	free   []uint32
	used   uint32
}

const slabChunk = 1024

func (s *slab[T]) at(id uint32) *T { return &s.chunks[id/slabChunk][id%slabChunk] }

func (s *slab[T]) alloc() uint32 {
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		return id
	}
	s.used++ // id 0 stays unused
	if int(s.used/slabChunk) >= len(s.chunks) {
		s.chunks = append(s.chunks, new([slabChunk]T))
	}
	return s.used
}

func (s *slab[T]) release(id uint32) {
	var zero T
	*s.at(id) = zero
	s.free = append(s.free, id)
}

func (e *Engine) newDep(owner depOwner, kind depKind, key string) depID {
	id := e.deps.alloc()
	*e.deps.at(id) = dep{owner: owner, kind: kind, key: key}
	return depID(id)
}

func (e *Engine) dropDep(id depID) {
	d := e.deps.at(uint32(id))
	owner, kind, key := d.owner, d.kind, d.key
	e.deps.release(uint32(id))
	owner.forget(kind, key)
}

// relink makes reads (any order, may repeat) the dependencies of a computation.
func (e *Engine) relink(id compID, reads []depID) {
	slices.Sort(reads)
	reads = slices.Compact(reads)
	c := e.comps.at(uint32(id))
	if slices.Equal(c.reads, reads) {
		return
	}
	old := append(e.sorting[:0], c.reads...)
	e.sorting = old
	if n := len(reads); n > cap(c.reads) || cap(c.reads) > 2*n+4 {
		c.reads = make([]depID, n)
	}
	c.reads = c.reads[:len(reads)]
	copy(c.reads, reads)
	for len(old) > 0 || len(reads) > 0 {
		switch {
		case len(old) == 0 || len(reads) > 0 && reads[0] < old[0]:
			d := e.deps.at(uint32(reads[0]))
			d.readers = append(d.readers, id)
			reads = reads[1:]
		case len(reads) == 0 || old[0] < reads[0]:
			e.unlink(old[0], id)
			old = old[1:]
		default:
			old, reads = old[1:], reads[1:]
		}
	}
}

// longList is from where a reader is not searched in the list but left in it as stale: a dependency of everybody
// (50,000 readers) must not cost 50,000 for each of them.
const longList = 32

func (e *Engine) unlink(id depID, reader compID) {
	d := e.deps.at(uint32(id))
	if len(d.readers) <= longList {
		// A list that was long may hold the reader twice.
		d.readers = slices.DeleteFunc(d.readers, func(r compID) bool { return r == reader })
	} else if d.stale++; int(d.stale)*2 > len(d.readers) {
		slices.Sort(d.readers)
		d.readers = slices.Compact(d.readers)
		d.readers = slices.DeleteFunc(d.readers, func(r compID) bool { return !e.reads(r, id) })
		d.readers = slices.Clip(slices.Clone(d.readers))
		d.stale = 0
	}
	if len(d.readers) == 0 {
		e.dropDep(id)
	}
}

func (e *Engine) reads(reader compID, id depID) bool {
	_, ok := slices.BinarySearch(e.comps.at(uint32(reader)).reads, id)
	return ok
}

// changed makes all that read the dep dirty.
func (e *Engine) changed(id depID) {
	if id == 0 {
		return
	}
	d := e.deps.at(uint32(id))
	for _, r := range d.readers {
		if d.stale == 0 || e.reads(r, id) {
			e.mark(r, d)
		}
	}
}

// mark makes a computation dirty; because is nil when it became, or ceased to be, a candidate.
func (e *Engine) mark(id compID, because *dep) {
	c := e.comps.at(uint32(id))
	if c.dirty {
		return
	}
	c.dirty = true
	st := e.stages[c.stage]
	st.dirty = append(st.dirty, id)
	if e.why != nil {
		e.whyOf(id).blame(because)
	}
}
