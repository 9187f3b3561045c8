package push

import "sync"

// book numbers the names of one type, so that a stream keeps what its client has in slices instead of maps: a name costs
// a client ten bytes. A number stands for its name as long as anybody holds it; then it is given to another.
type book struct {
	mu    sync.Mutex
	ids   map[string]uint32
	names []string
	holds []int32
	free  []uint32
}

func newBook() *book { return &book{ids: map[string]uint32{}} }

// hold gives the number of a name, and keeps it for the caller until release.
func (b *book) hold(name string) uint32 {
	b.mu.Lock()
	defer b.mu.Unlock()
	id, ok := b.ids[name]
	if !ok {
		if n := len(b.free); n > 0 {
			id, b.free = b.free[n-1], b.free[:n-1]
			b.names[id] = name
		} else {
			id = uint32(len(b.names))
			b.names, b.holds = append(b.names, name), append(b.holds, 0)
		}
		b.ids[name] = id
	}
	b.holds[id]++
	return id
}

// find gives the number of a name that somebody holds.
func (b *book) find(name string) (uint32, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	id, ok := b.ids[name]
	return id, ok
}

// name is the name of a number that the caller holds.
func (b *book) name(id uint32) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.names[id]
}

// release gives back what hold has given.
func (b *book) release(ids ...uint32) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range ids {
		if b.holds[id]--; b.holds[id] == 0 {
			delete(b.ids, b.names[id])
			b.names[id] = ""
			b.free = append(b.free, id)
		}
	}
}
