package push

import (
	"sync"

	"fairlead.io/fairlead/pkg/snapshot"
)

// book numbers the names of one type, so that a stream keeps what its client has in slices instead of maps: a name costs
// a client ten bytes. A number stands for its name as long as anybody holds it; then it is given to another.
//
// It also remembers what the newest snapshot has under a name, for names that are the same for all nodes: the first
// stream that looks finds it for all.
type book struct {
	typeURL string

	mu      sync.RWMutex // guards what follows
	ids     map[string]uint32
	entries []line
	free    []uint32
	seq     uint64 // the newest snapshot
}

// line is one name of a book. res is what every node is served under it in the snapshots from since to the newest; with
// since 0 that is not known.
type line struct {
	name  string
	res   *snapshot.Resource
	since uint64
	holds int32
}

func newBook(typeURL string, seq uint64) *book {
	return &book{typeURL: typeURL, ids: map[string]uint32{}, seq: seq}
}

// hold gives the numbers of names, and keeps them for the caller until release.
func (b *book) hold(ids []uint32, names []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, name := range names {
		ids[i] = b.holdOne(name)
	}
}

func (b *book) holdOne(name string) uint32 {
	id, ok := b.ids[name]
	if !ok {
		if n := len(b.free); n > 0 {
			id, b.free = b.free[n-1], b.free[:n-1]
			b.entries[id] = line{name: name}
		} else {
			id = uint32(len(b.entries))
			b.entries = append(b.entries, line{name: name})
		}
		b.ids[name] = id
	}
	b.entries[id].holds++
	return id
}

// find gives the number of a name that somebody holds.
func (b *book) find(name string) (uint32, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	id, ok := b.ids[name]
	return id, ok
}

// name is the name of a number that the caller holds.
func (b *book) name(id uint32) string {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.entries[id].name
}

// release gives back what hold has given.
func (b *book) release(ids ...uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		e := &b.entries[id]
		if e.holds--; e.holds == 0 {
			delete(b.ids, e.name)
			*e = line{}
			b.free = append(b.free, id)
		}
	}
}

// found is what a snapshot has under a name.
type found struct {
	id   uint32
	name string
	res  *snapshot.Resource
}

// chunk is how many names are looked at in one go: a client has thousands at its beginning, and what is said of them
// between should not become garbage.
const chunk = 256

// each calls fn for what a snapshot has for a node of these variants under numbers that the caller holds, until fn
// returns false.
func (b *book) each(s snapshot.Snapshot, variants []string, ids []uint32, fn func(found) bool) {
	var buf [chunk]found
	for len(ids) > 0 {
		n := min(chunk, len(ids))
		for _, f := range b.look(buf[:n], s, variants, ids[:n]) {
			if !fn(f) {
				return
			}
		}
		ids = ids[n:]
	}
}

// look finds what a snapshot has for a node of these variants under numbers that the caller holds.
func (b *book) look(out []found, s snapshot.Snapshot, variants []string, ids []uint32) []found {
	var unknown []int
	b.mu.RLock()
	seq := s.Seq()
	for i, id := range ids {
		e := &b.entries[id]
		out[i] = found{id, e.name, e.res}
		if e.since == 0 || e.since > seq || seq > b.seq {
			unknown = append(unknown, i)
		}
	}
	b.mu.RUnlock()
	if len(unknown) == 0 {
		return out
	}
	shared := unknown[:0]
	for _, i := range unknown {
		r, same := s.Shared(b.typeURL, out[i].name)
		if same {
			shared = append(shared, i)
		} else {
			r = s.Lookup(variants, b.typeURL, out[i].name)
		}
		out[i].res = r
	}
	b.learn(seq, out, shared)
	return out
}

// learn notes what the newest snapshot has.
func (b *book) learn(seq uint64, list []found, at []int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seq != seq || seq == 0 {
		return
	}
	for _, i := range at {
		e := &b.entries[list[i].id]
		e.res, e.since = list[i].res, seq
	}
}

// turn brings the book to a later snapshot: it knows what it knew, but for what changed. Without a list everything did.
func (b *book) turn(seq uint64, changed []snapshot.Key, all bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seq = seq
	if all {
		for i := range b.entries {
			b.entries[i].since, b.entries[i].res = 0, nil
		}
	}
	for _, k := range changed {
		if id, ok := b.ids[k.Name]; ok && k.Type == b.typeURL {
			b.entries[id].since, b.entries[id].res = 0, nil
		}
	}
}
