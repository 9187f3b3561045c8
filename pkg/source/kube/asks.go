package kube

import (
	"maps"
	"slices"
	"time"
)

const (
	// refusedFor is how long the answer lasts that there is no such position; after that it may have come.
	refusedFor = time.Minute
	// maxAsks bounds the positions that are remembered: clients name them.
	maxAsks = 4096
)

// asks are the positions that somebody waits for.
type asks struct {
	// open counts when each was asked for; highest is the highest of them.
	open    map[uint64]uint64
	count   uint64
	highest uint64
	// refused says until when a position is taken for one that does not exist: of another cluster, or of a time that a
	// restore of the store has undone.
	refused map[uint64]time.Time
}

func newAsks() asks {
	return asks{open: map[uint64]uint64{}, refused: map[uint64]time.Time{}}
}

// add takes a position in. News tells whether it is new, real is false when it is not worth waiting.
func (a *asks) add(position uint64, now time.Time) (news, real bool) {
	if until, is := a.refused[position]; is {
		if now.Before(until) {
			return false, false
		}
		delete(a.refused, position)
	}
	if _, is := a.open[position]; is || len(a.open) >= maxAsks && position <= a.highest {
		return false, true
	}
	a.count++
	a.open[position] = a.count
	a.highest = max(a.highest, position)
	return true, true
}

// met drops what everything has reached.
func (a *asks) met(reached uint64) {
	a.drop(func(position, _ uint64) bool { return position <= reached })
}

// refuse drops what was asked for before a list, by the count of asks then, and is beyond the list. It gives the highest,
// or 0.
func (a *asks) refuse(beyond, count uint64, now time.Time) (highest uint64) {
	if a.highest <= beyond {
		return 0
	}
	maps.DeleteFunc(a.refused, func(_ uint64, until time.Time) bool { return !now.Before(until) })
	a.drop(func(position, asked uint64) bool {
		if position <= beyond || asked > count {
			return false
		}
		highest = max(highest, position)
		if len(a.refused) < maxAsks {
			a.refused[position] = now.Add(refusedFor)
		}
		return true
	})
	return highest
}

func (a *asks) drop(which func(position, asked uint64) bool) {
	maps.DeleteFunc(a.open, which)
	a.highest = 0
	if len(a.open) > 0 {
		a.highest = slices.Max(slices.Collect(maps.Keys(a.open)))
	}
}
