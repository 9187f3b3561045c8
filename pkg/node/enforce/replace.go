package enforce

import (
	"cmp"
	"slices"

	"fairlead.io/fairlead/pkg/verdict"
)

type portKey = verdict.PortKey

// replacement is how a class comes from one list of entries to another, so that after each write every port is answered by the one
// or by the other. What is not needed any more first says what is found without it, and can then go at any time.
type replacement struct {
	write []verdict.Entry
	idle  []portKey
}

// replace goes from the entries of from, beside which the keys of lie are in the kernel, to those of to: from the most specific key
// to the least, so that a key is written when what is more specific has been.
func replace(from, to []verdict.Entry, lie []portKey) (out replacement) {
	was, next := map[portKey]verdict.Value{}, map[portKey]verdict.Value{}
	keys := slices.Clone(lie)
	for _, x := range from {
		was[x.PortKey] = x.Value
		keys = append(keys, x.PortKey)
	}
	for _, x := range to {
		next[x.PortKey] = x.Value
		keys = append(keys, x.PortKey)
	}
	slices.SortFunc(keys, func(a, b portKey) int { return compareKeys(b, a) })
	for _, k := range slices.Compact(keys) {
		v, stays := next[k]
		if !stays {
			out.idle = append(out.idle, k)
			v = without(next, k)
		}
		if old, had := was[k]; !had || old != v {
			out.write = append(out.write, verdict.Entry{PortKey: k, Value: v})
		}
	}
	return out
}

// compareKeys puts what is more specific last.
func compareKeys(a, b portKey) int {
	return cmp.Or(cmp.Compare(min(a.Protocol, 1), min(b.Protocol, 1)), cmp.Compare(a.Bits, b.Bits), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}

// without is what is found for the ports of a key that is not there, when no part of them has a key of its own.
func without(entries map[portKey]verdict.Value, k portKey) verdict.Value {
	for n := int(k.Bits) - 1; n >= 0; n-- {
		if v, ok := entries[portKey{Protocol: k.Protocol, Bits: uint8(n), Port: k.Port &^ uint16(1<<(16-n)-1)}]; ok {
			return v
		}
	}
	return entries[portKey{}]
}
