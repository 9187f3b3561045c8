package table

import (
	"slices"
	"strings"
)

// pages is an immutable sorted map: pages of sorted entries. A new version shares all pages that did not change, so
// that publishing costs one page a change and one slice header a page, and reading in key order costs nothing.
type pages[V any] struct {
	list [][]Entry[V] // none empty
	n    int
}

// pageMax is where a page is split in two; a page below a quarter of it joins its neighbour.
const pageMax = 256

func byKey[V any](e Entry[V], key string) int { return strings.Compare(e.Key, key) }

// at is the page where key is or belongs.
func (p *pages[V]) at(key string) int {
	i, found := slices.BinarySearchFunc(p.list, key, func(page []Entry[V], k string) int { return strings.Compare(page[0].Key, k) })
	if !found && i > 0 {
		i--
	}
	return i
}

func (p *pages[V]) get(key string) (V, bool) {
	if len(p.list) > 0 {
		page := p.list[p.at(key)]
		if i, ok := slices.BinarySearchFunc(page, key, byKey[V]); ok {
			return page[i].Value, true
		}
	}
	var none V
	return none, false
}

// getNext is get, with the key after it, or "".
func (p *pages[V]) getNext(key string) (v V, ok bool, next string) {
	if len(p.list) == 0 {
		return v, false, ""
	}
	at := p.at(key)
	page := p.list[at]
	i, ok := slices.BinarySearchFunc(page, key, byKey[V])
	if ok {
		v = page[i].Value
		i++
	}
	switch {
	case i < len(page):
		next = page[i].Key
	case at+1 < len(p.list):
		next = p.list[at+1][0].Key
	}
	return v, ok, next
}

// prefix calls fn for the entries whose key begins with prefix, in order, until it returns false.
func (p *pages[V]) prefix(prefix string, fn func(string, V) bool) {
	if len(p.list) == 0 {
		return
	}
	at := p.at(prefix)
	i, _ := slices.BinarySearchFunc(p.list[at], prefix, byKey[V])
	for ; at < len(p.list); at, i = at+1, 0 {
		for _, e := range p.list[at][i:] {
			if !strings.HasPrefix(e.Key, prefix) || !fn(e.Key, e.Value) {
				return
			}
		}
	}
}

// with returns the version in which the given rows, sorted by key, stand as they do now.
func (p *pages[V]) with(changed []*row[V]) *pages[V] {
	next := &pages[V]{n: p.n, list: make([][]Entry[V], 0, len(p.list)+2*len(changed)/pageMax+1)}
	done := 0 // pages of p that are in next
	for len(changed) > 0 {
		if len(p.list) == 0 {
			page := merge(nil, changed)
			next.n = len(page)
			next.add(page)
			break
		}
		i := p.at(changed[0].key)
		next.list = append(next.list, p.list[done:i]...)
		mine := len(changed)
		if i+1 < len(p.list) {
			end := p.list[i+1][0].Key
			mine, _ = slices.BinarySearchFunc(changed, end, func(r *row[V], k string) int { return strings.Compare(r.key, k) })
		}
		page := merge(p.list[i], changed[:mine])
		next.n += len(page) - len(p.list[i])
		next.add(page)
		changed = changed[mine:]
		done = i + 1
	}
	if done < len(p.list) {
		next.list = append(next.list, p.list[done:]...)
	}
	return next
}

// add appends a page, joined with the one before if both are small, split if it is big.
func (p *pages[V]) add(page []Entry[V]) {
	if n := len(p.list); n > 0 && len(page) < pageMax/4 && len(p.list[n-1])+len(page) <= pageMax/2 {
		page = slices.Concat(p.list[n-1], page)
		p.list = p.list[:n-1]
	}
	parts := (len(page) + pageMax - 1) / pageMax
	for ; parts > 0; parts-- {
		n := len(page) / parts
		p.list = append(p.list, page[:n:n])
		page = page[n:]
	}
}

func merge[V any](page []Entry[V], changed []*row[V]) []Entry[V] {
	out := make([]Entry[V], 0, len(page)+len(changed))
	for _, rw := range changed {
		i, found := slices.BinarySearchFunc(page, rw.key, byKey[V])
		out = append(out, page[:i]...)
		if found {
			i++
		}
		page = page[i:]
		if rw.present {
			out = append(out, Entry[V]{rw.key, rw.value})
		}
	}
	return append(out, page...)
}
