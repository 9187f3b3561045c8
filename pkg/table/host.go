package table

import "strings"

// MatchHost reads the entries indexed under host and under each wildcard that covers it ("*.b.c", "*.c", "*"),
// most specific first and by key within one; an entry found twice comes once. host may itself be a wildcard.
func MatchHost[V any](r *Reader, ix *Index[V], host string) []Entry[V] {
	out := List(r, ix, host)
	if host == "*" {
		return out
	}
	rest := strings.TrimPrefix(host, "*.")
	for {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			return addNew(out, List(r, ix, "*"))
		}
		out = addNew(out, List(r, ix, "*."+parent))
		rest = parent
	}
}

func addNew[V any](out, more []Entry[V]) []Entry[V] {
	n := len(out)
next:
	for _, m := range more {
		for _, o := range out[:n] {
			if o.Key == m.Key {
				continue next
			}
		}
		out = append(out, m)
	}
	return out
}

// HostKeys is what an index of hosts must emit for a host so that UnderHost finds it: the host, and a key that
// starts with a dot for each suffix. The same index serves MatchHost.
func HostKeys(host string) []string {
	keys := []string{host}
	rest := host
	for {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			return append(keys, ".")
		}
		keys = append(keys, "."+parent)
		rest = parent
	}
}

// UnderHost reads the entries whose host lies under a wildcard ("*.b.c" itself included, "b.c" not; "*" is all), or
// is equal to a host that is no wildcard. The index must be built with HostKeys.
func UnderHost[V any](r *Reader, ix *Index[V], wildcard string) []Entry[V] {
	if wildcard == "*" {
		return List(r, ix, ".")
	}
	if suffix, ok := strings.CutPrefix(wildcard, "*"); ok {
		return List(r, ix, suffix)
	}
	return List(r, ix, wildcard)
}
