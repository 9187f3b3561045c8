package push

import (
	"strings"
	"time"

	"fairlead.io/fairlead/pkg/snapshot"
)

// need says why a name is looked at.
type need uint8

const (
	changed need = iota // send if it differs
	force               // send even if the client has it
	ask                 // the client asked: answer in any case, also that there is none
)

// item is one resource of a response, or a removal (res is nil). prev is what the client had before, or nil.
type item struct {
	id        uint32
	need      need
	res, prev *snapshot.Resource
}

// response is what a type has in flight.
type response struct {
	nonce    string
	items    []item
	removals bool
	trial    bool
	sent     time.Time
	// seq and published are those of the snapshot that it was made from; initial is set for a type's first response.
	seq       uint64
	published time.Time
	initial   bool
	// whole tells that nothing else of the snapshot is outstanding for the type.
	whole bool
}

// probe is a group of names to send apart from all others, to find out which one the client rejects.
type probe struct {
	names []string
	needs []need
	// trial asks again for a quarantined resource.
	trial bool
}

// watch is one type of one stream. Only the stream's goroutine writes it, under stream.mu.
type watch struct {
	kind
	slots
	metrics *typeMetrics
	// active is set by the client's first request for the type.
	active   bool
	wildcard bool
	// expected is set when the client will ask for the type and later ones wait for that.
	expected bool
	all      bool // look at everything
	answer   bool // a response is due even if it is empty
	probes   []probe
	inflight *response
	// clean is the snapshot up to which the client has acknowledged everything of the type.
	clean uint64

	responses, nacks   uint64
	sentSeq, ackedSeq  uint64
	lastNack           string
	lastNackAt         time.Time
	lastSent, lastAckd time.Time
}

func newWatch(url string, b *book, m *metrics) *watch {
	return &watch{kind: kindOf(url), slots: newSlots(b), metrics: m.of(url)}
}

// mark notes that a name is to be looked at; the stronger need wins.
func (w *watch) mark(name string, n need) { w.markSlot(w.slot(name), n) }

func (w *watch) markSlot(id uint32, n need) {
	if w.at(id)&dirty == 0 {
		w.add(&w.dirty, id)
		if w.at(id)&gated == 0 {
			w.lower(id, needForce|needAsk)
		}
	}
	switch n {
	case force:
		w.raise(id, needForce)
	case ask:
		w.raise(id, needAsk)
	}
}

// needOf is the need of a slot that is dirty or gated.
func (w *watch) needOf(id uint32) need {
	switch m := w.at(id); {
	case m&needAsk != 0:
		return ask
	case m&needForce != 0:
		return force
	}
	return changed
}

// take ends the mark dirty of a slot.
func (w *watch) take(id uint32) {
	w.remove(&w.dirty, id)
	w.lower(id, needForce|needAsk)
}

// gate makes a slot wait for a later snapshot.
func (w *watch) gate(id uint32, n need) {
	w.add(&w.gated, id)
	switch n {
	case force:
		w.raise(id, needForce)
	case ask:
		w.raise(id, needAsk)
	}
}

// ungate looks again at what waited for a later snapshot.
func (w *watch) ungate() {
	if w.gated.n == 0 {
		return
	}
	for _, id := range w.list(&w.gated) {
		n := w.needOf(id)
		w.markSlot(id, n)
		w.remove(&w.gated, id)
	}
}

// unblock looks again at what was quarantined.
func (w *watch) unblock() {
	for _, id := range w.list(&w.blocked) {
		w.markSlot(id, changed)
	}
}

// busy tells whether the type has additions on the way. What is in flight longer than hold does not count: it must
// not stop the others.
func (w *watch) busy(now time.Time, hold time.Duration) bool {
	if w.inflight != nil {
		return now.Before(w.inflight.sent.Add(hold))
	}
	return w.all || w.answer || w.dirty.n > 0 || len(w.probes) > 0
}

// removing tells whether removals of the type are due or on the way.
func (w *watch) removing(now time.Time, hold time.Duration) bool {
	if w.inflight != nil {
		return w.inflight.removals && now.Before(w.inflight.sent.Add(hold))
	}
	return w.drop.n > 0
}

// waiting tells whether later types wait for this one.
func (w *watch) waiting() bool { return w.expected || w.awaited.n > 0 }

// pending tells whether anything of the type has not been acknowledged, or is kept back (gated): what the client has of that is
// not known.
func (w *watch) pending() bool {
	return w.inflight != nil || w.all || w.dirty.n+w.drop.n+w.gated.n+len(w.probes) > 0
}

// forget drops what the client has of a name, after it unsubscribed or the name was removed.
func (w *watch) forget(id uint32) {
	w.set(id, nil)
	w.take(id)
	w.remove(&w.drop, id)
	w.remove(&w.gated, id)
	w.remove(&w.blocked, id)
	w.remove(&w.awaited, id)
	w.tidy(id)
}

// namespace is the route configuration that a virtual host's name says it belongs to: everything before the last "/"
// (Envoy, WatchMap::namespaceFromName).
func namespace(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return ""
}
