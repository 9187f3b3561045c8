package flows

import (
	"sync"
	"time"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/pkg/node/datapath"
)

// record is an event with the names that its numbers had, or a number of events that were lost. It is not changed once it is in the
// ring.
type record struct {
	number uint64 // in the order of their coming, from 0
	time   time.Time
	event  datapath.Event
	// source and destination are shared with other records.
	source, destination *flow.Endpoint
	// by is what has decided, by direction.
	by   [2]origins
	lost *flow.LostEvent
}

// ring keeps the newest records. It is safe for concurrent use.
type ring struct {
	mu   sync.Mutex // guards what follows
	list []*record
	next uint64 // the number of the next record
	// wake is closed by the next record; nil when nobody waits.
	wake chan struct{}
}

func newRing(capacity int) *ring { return &ring{list: make([]*record, capacity)} }

func (r *ring) add(x *record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	x.number = r.next
	r.list[r.next%uint64(len(r.list))] = x
	r.next++
	if r.wake != nil {
		close(r.wake)
		r.wake = nil
	}
}

// from gives the records of a number and above, oldest first, the number after them, and how many from that number on are gone
// already.
func (r *ring) from(number uint64) (list []*record, next, gone uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := r.next - min(r.next, uint64(len(r.list)))
	if number < oldest {
		gone, number = oldest-number, oldest
	}
	list = make([]*record, 0, r.next-number)
	for ; number < r.next; number++ {
		list = append(list, r.list[number%uint64(len(r.list))])
	}
	return list, r.next, gone
}

// after gives a channel that is closed when there is a record of a number; it may be there already.
func (r *ring) after(number uint64) <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if number < r.next {
		done := make(chan struct{})
		close(done)
		return done
	}
	if r.wake == nil {
		r.wake = make(chan struct{})
	}
	return r.wake
}
