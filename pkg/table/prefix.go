package table

import (
	"net/netip"
	"strconv"
)

// PrefixIndex groups the rows of a table by IP prefixes, for Containing.
type PrefixIndex[V any] struct {
	byPrefix *Index[V]
	byLength *Index[V] // "4/24": to know when a length comes into use
	used     [2][129]bool
	lens     [2]depID // IPv4, IPv6
}

var families = [2]string{"4/", "6/"}

// NewPrefixIndex declares an index by prefix. Prefixes are masked; IPv4 in IPv6 form counts as IPv4; an invalid
// prefix is in no place.
func NewPrefixIndex[V any](t Readable[V], name string, prefixes func(key string, v V) []netip.Prefix) *PrefixIndex[V] {
	ix := &PrefixIndex[V]{}
	ix.byPrefix = NewIndex(t, name, func(key string, v V) (keys []string) {
		for _, p := range prefixes(key, v) {
			if p = normal(p); p.IsValid() {
				keys = append(keys, p.String())
			}
		}
		return keys
	})
	ix.byLength = NewIndex(t, name+"/lengths", func(key string, v V) (keys []string) {
		for _, p := range prefixes(key, v) {
			if p = normal(p); p.IsValid() {
				keys = append(keys, families[family(p.Addr())]+strconv.Itoa(p.Bits()))
			}
		}
		return keys
	})
	ix.byLength.subscribe(ix)
	return ix
}

func normal(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p.Masked()
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// candidate hears of lengths that come into use or go out of it.
func (ix *PrefixIndex[V]) candidate(key string, delta int32) {
	f := 0
	if key[0] == '6' {
		f = 1
	}
	bits, _ := strconv.Atoi(key[2:])
	ix.used[f][bits] = delta > 0
	ix.byPrefix.t.e.changed(ix.lens[f])
}

func (ix *PrefixIndex[V]) describe(_ depKind, key string) Read {
	return Read{Table: ix.byPrefix.t.name, Index: ix.byPrefix.name, Kind: "lengths", Key: key, Present: true}
}

func (ix *PrefixIndex[V]) forget(_ depKind, key string) {
	for f, name := range families {
		if name == key {
			ix.lens[f] = 0
		}
	}
}

// Containing reads the entries with a prefix that contains a, longest prefix first, then by key; an entry with
// several such prefixes comes once. What is recorded is one list for each prefix length in use, and which are.
func Containing[V any](r *Reader, ix *PrefixIndex[V], a netip.Addr) []Entry[V] {
	admit(r, ix.byPrefix.t)
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return nil
	}
	f := family(a)
	if ix.lens[f] == 0 {
		ix.lens[f] = r.e.newDep(ix, readLens, families[f])
	}
	r.reads = append(r.reads, ix.lens[f])
	var out []Entry[V]
	for bits := a.BitLen(); bits >= 0; bits-- {
		if ix.used[f][bits] {
			p, _ := a.Prefix(bits)
			out = addNew(out, List(r, ix.byPrefix, p.String()))
		}
	}
	return out
}
