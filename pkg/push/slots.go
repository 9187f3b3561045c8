package push

import "fairlead.io/fairlead/pkg/snapshot"

// marks are what a stream notes about one name of one type.
type marks uint16

const (
	owned      marks = 1 << iota // the slot is in use: it holds its number in the book
	subscribed                   // asked for by name
	dirty                        // to look at
	dropping                     // to remove when removals' turn comes
	gated                        // waits for a later snapshot
	blocked                      // quarantined
	awaited                      // later types wait for it
	flying                       // in the response that waits for its ACK
	needForce                    // with dirty or gated: send even if the client has it
	needAsk                      // with dirty or gated: answer in any case

	idle = owned | needForce | needAsk // marks that alone do not keep a slot
)

// pageSize is how many slots are made at once. A scoped client uses few of all numbers.
const pageSize = 64

type page struct {
	has   [pageSize]*snapshot.Resource
	marks [pageSize]marks
}

// slots hold what one client has and is due, by the numbers of a book.
type slots struct {
	book  *book
	pages []*page
	// resources counts what the client has, names what it subscribes to by name.
	resources, names int
	dirty            set
	drop             set
	gated            set
	blocked          set
	awaited          set
}

// set is the slots that bear one mark, in the order of their marking.
type set struct {
	mark  marks
	n     int
	queue []uint32 // the marked ones, and some that are marked no more
}

func newSlots(b *book) slots {
	return slots{
		book: b, dirty: set{mark: dirty}, drop: set{mark: dropping}, gated: set{mark: gated},
		blocked: set{mark: blocked}, awaited: set{mark: awaited},
	}
}

// lookup gives the slot of a name, if it is in use.
func (s *slots) lookup(name string) (uint32, bool) {
	id, ok := s.book.find(name)
	return id, ok && s.at(id)&owned != 0
}

// slot gives the slot of a name, and takes it in use: the caller marks it, or tidies it.
func (s *slots) slot(name string) uint32 {
	ids := [1]uint32{}
	return s.open(ids[:], []string{name})[0]
}

// open is slot for many names, into ids.
func (s *slots) open(ids []uint32, names []string) []uint32 {
	ids = ids[:len(names)]
	s.book.hold(ids, names)
	var twice []uint32
	for _, id := range ids {
		for int(id/pageSize) >= len(s.pages) {
			s.pages = append(s.pages, nil)
		}
		p := &s.pages[id/pageSize]
		if *p == nil {
			*p = &page{}
		}
		if (*p).marks[id%pageSize]&owned != 0 {
			twice = append(twice, id)
		}
		(*p).marks[id%pageSize] |= owned
	}
	if len(twice) > 0 {
		s.book.release(twice...)
	}
	return ids
}

func (s *slots) at(id uint32) marks {
	if int(id/pageSize) >= len(s.pages) || s.pages[id/pageSize] == nil {
		return 0
	}
	return s.pages[id/pageSize].marks[id%pageSize]
}

// asks tells whether the client subscribes to a name by name.
func (s *slots) asks(name string) bool {
	id, ok := s.lookup(name)
	return ok && s.at(id)&subscribed != 0
}

func (s *slots) raise(id uint32, m marks) { s.pages[id/pageSize].marks[id%pageSize] |= m }
func (s *slots) lower(id uint32, m marks) { s.pages[id/pageSize].marks[id%pageSize] &^= m }

// has is what the client has in a slot, or nil. A Resource without a Body stands for what it brought from elsewhere.
func (s *slots) has(id uint32) *snapshot.Resource {
	if int(id/pageSize) >= len(s.pages) || s.pages[id/pageSize] == nil {
		return nil
	}
	return s.pages[id/pageSize].has[id%pageSize]
}

// set notes what the client has in a slot.
func (s *slots) set(id uint32, r *snapshot.Resource) {
	p := &s.pages[id/pageSize].has[id%pageSize]
	switch {
	case *p == nil && r != nil:
		s.resources++
	case *p != nil && r == nil:
		s.resources--
	}
	*p = r
}

// tidy gives a slot back in which nothing is left.
func (s *slots) tidy(id uint32) {
	if m := s.at(id); m&owned != 0 && m&^idle == 0 && s.has(id) == nil {
		s.lower(id, idle)
		s.book.release(id)
	}
}

// each calls fn for every slot in use.
func (s *slots) each(fn func(id uint32)) {
	for i, p := range s.pages {
		if p == nil {
			continue
		}
		for j := range p.marks {
			if p.marks[j]&owned != 0 {
				fn(uint32(i*pageSize + j))
			}
		}
	}
}

// release gives all slots back.
func (s *slots) release() {
	var ids []uint32
	s.each(func(id uint32) { ids = append(ids, id) })
	s.book.release(ids...)
	s.pages = nil
}

// add marks a slot.
func (s *slots) add(t *set, id uint32) {
	if s.at(id)&t.mark != 0 {
		return
	}
	s.raise(id, t.mark)
	t.n++
	t.queue = append(t.queue, id)
}

// remove takes the mark from a slot, which may need to be tidied.
func (s *slots) remove(t *set, id uint32) {
	if s.at(id)&t.mark == 0 {
		return
	}
	s.lower(id, t.mark)
	if t.n--; t.n > 0 {
		return
	}
	if t.queue = t.queue[:0]; cap(t.queue) > pageSize {
		t.queue = nil // a client has thousands at its beginning, and few ever after
	}
}

// list gives the marked slots.
func (s *slots) list(t *set) []uint32 {
	kept := t.queue[:0]
	for _, id := range t.queue {
		if s.at(id)&t.mark != 0 {
			s.lower(id, t.mark) // twice in the queue, once in the list
			kept = append(kept, id)
		}
	}
	for _, id := range kept {
		s.raise(id, t.mark)
	}
	t.queue = kept
	return append([]uint32(nil), kept...)
}

// clear takes the mark from all slots.
func (s *slots) clear(t *set) {
	if t.n == 0 {
		return
	}
	for _, id := range s.list(t) {
		s.remove(t, id)
		s.tidy(id)
	}
}
