package authn

import (
	"container/list"
	"sync"
)

// lru keeps the entries that were used last.
type lru[K comparable, V any] struct {
	limit int

	mu      sync.Mutex // guards all below
	order   *list.List // of *item, the last used first
	entries map[K]*list.Element
}

type item[K comparable, V any] struct {
	key   K
	value V
}

func newLRU[K comparable, V any](limit int) *lru[K, V] {
	return &lru[K, V]{limit: limit, order: list.New(), entries: map[K]*list.Element{}}
}

func (l *lru[K, V]) get(key K) (value V, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, ok := l.entries[key]
	if !ok {
		return value, false
	}
	l.order.MoveToFront(e)
	return e.Value.(*item[K, V]).value, true
}

func (l *lru[K, V]) put(key K, value V) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, ok := l.entries[key]; ok {
		e.Value.(*item[K, V]).value = value
		l.order.MoveToFront(e)
		return
	}
	if l.order.Len() >= l.limit {
		delete(l.entries, l.order.Remove(l.order.Back()).(*item[K, V]).key)
	}
	l.entries[key] = l.order.PushFront(&item[K, V]{key, value})
}

func (l *lru[K, V]) len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.order.Len()
}
