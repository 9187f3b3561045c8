package kube

import (
	"sync"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
)

// queue holds the changes that have not been handed over. It never blocks a writer.
type queue struct {
	wake chan struct{} // has one element when something waits

	mu       sync.Mutex
	updates  []source.Update
	position uint64
	// missing names what has not been read for the first time yet. The source is synced when it is empty.
	missing map[string]bool
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), missing: map[string]bool{}}
}

// expect makes Synced wait for name.
func (q *queue) expect(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.missing[name] = true
}

// push adds changes, and moves the position, which never goes back. A read name is missing no more.
func (q *queue) push(position uint64, read string, updates ...source.Update) {
	q.mu.Lock()
	q.updates = append(q.updates, updates...)
	q.position = max(q.position, position)
	delete(q.missing, read)
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take empties the queue. Of several changes of one object the last is left.
func (q *queue) take() (updates []source.Update, position uint64, synced bool) {
	q.mu.Lock()
	updates, q.updates = q.updates, nil
	position, synced = q.position, len(q.missing) == 0
	q.mu.Unlock()
	if len(updates) < 2 {
		return updates, position, synced
	}
	last := make(map[model.Ref]int, len(updates))
	for i, u := range updates {
		last[u.Ref] = i
	}
	if len(last) == len(updates) {
		return updates, position, synced
	}
	kept := make([]source.Update, 0, len(last))
	for i, u := range updates {
		if last[u.Ref] == i {
			kept = append(kept, u)
		}
	}
	return kept, position, synced
}
