package kube

import (
	"sync"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
)

// queue holds the changes that have not been handed over, and how far each kind has been read. It never blocks a writer.
type queue struct {
	wake chan struct{} // has one element when something waits

	mu      sync.Mutex
	updates []source.Update
	at      source.Position
	// kinds says up to which resourceVersion each kind has been read, by the name of its reader.
	kinds map[string]uint64
	// missing names what has not been read for the first time yet. The source is synced when it is empty.
	missing map[string]bool
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), kinds: map[string]uint64{}, missing: map[string]bool{}}
}

// expect makes Synced, and the complete position, wait for name.
func (q *queue) expect(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.missing[name] = true
	q.kinds[name] = 0
}

// progress is what a reader tells of itself.
type progress struct {
	name     string
	position uint64 // everything of the kind up to here has been read
	listed   bool   // a complete list has been read: name is missing no more
	gone     bool   // there is no such kind any more
}

// push adds changes, and moves the positions, which never go back.
func (q *queue) push(p progress, updates ...source.Update) {
	q.mu.Lock()
	q.updates = append(q.updates, updates...)
	if p.listed || p.gone {
		delete(q.missing, p.name)
	}
	if p.gone {
		delete(q.kinds, p.name)
	} else {
		q.kinds[p.name] = max(q.kinds[p.name], p.position)
	}
	q.at.Seen = max(q.at.Seen, p.position)
	q.at.Complete = max(q.at.Complete, q.lowest())
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// lowest is the position up to which every kind has been read. A kind that is new lowers it, but not what was complete
// before: its first object is younger than its definition, and that was not read up to there. The caller holds mu.
func (q *queue) lowest() uint64 {
	lowest := q.at.Seen
	for _, position := range q.kinds {
		lowest = min(lowest, position)
	}
	return lowest
}

// take empties the queue. Of several changes of one object the last is left.
func (q *queue) take() (updates []source.Update, at source.Position, synced bool) {
	q.mu.Lock()
	updates, q.updates = q.updates, nil
	at, synced = q.at, len(q.missing) == 0
	q.mu.Unlock()
	if len(updates) < 2 {
		return updates, at, synced
	}
	last := make(map[model.Ref]int, len(updates))
	for i, u := range updates {
		last[u.Ref] = i
	}
	if len(last) == len(updates) {
		return updates, at, synced
	}
	kept := make([]source.Update, 0, len(last))
	for i, u := range updates {
		if last[u.Ref] == i {
			kept = append(kept, u)
		}
	}
	return kept, at, synced
}
