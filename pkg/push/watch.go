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

// entry is what a client has of one name.
type entry struct {
	hash, position uint64
	// track counts this client in the status of the resource; nil for a deny stub and for what another replica made.
	track *track
	acked bool
	stub  bool
}

// item is one resource of a response, or a removal (res is nil). prev is what the client had before.
type item struct {
	name  string
	need  need
	res   *snapshot.Resource
	stub  bool
	prev  entry
	known bool
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
	wildcard bool
	names    map[string]struct{} // explicit subscriptions
	has      map[string]entry

	all     bool            // look at everything
	answer  bool            // a response is due even if it is empty
	dirty   map[string]need // to look at
	drop    map[string]struct{}
	gated   map[string]need // wait for a later snapshot
	blocked map[string]struct{}
	probes  []probe

	inflight *response

	responses, nacks   uint64
	sentSeq, ackedSeq  uint64
	lastNack           string
	lastNackAt         time.Time
	lastSent, lastAckd time.Time
}

func newWatch(url string) *watch {
	return &watch{
		kind: kindOf(url), names: map[string]struct{}{}, has: map[string]entry{}, dirty: map[string]need{},
		drop: map[string]struct{}{}, gated: map[string]need{}, blocked: map[string]struct{}{},
	}
}

// mark notes that a name is to be looked at; the stronger need wins.
func (w *watch) mark(name string, n need) {
	if was, ok := w.dirty[name]; !ok || n > was {
		w.dirty[name] = n
	}
}

// ungate looks again at what waited for a later snapshot.
func (w *watch) ungate() {
	for name, n := range w.gated {
		w.mark(name, n)
	}
	clear(w.gated)
}

// unblock looks again at what was quarantined.
func (w *watch) unblock() {
	for name := range w.blocked {
		w.mark(name, changed)
	}
}

// busy tells whether the type has additions on the way. What is in flight longer than hold does not count: it must
// not stop the others.
func (w *watch) busy(now time.Time, hold time.Duration) bool {
	if w.inflight != nil {
		return now.Before(w.inflight.sent.Add(hold))
	}
	return w.all || w.answer || len(w.dirty) > 0 || len(w.probes) > 0
}

// removing tells whether removals of the type are due or on the way.
func (w *watch) removing(now time.Time, hold time.Duration) bool {
	if w.inflight != nil {
		return w.inflight.removals && now.Before(w.inflight.sent.Add(hold))
	}
	return len(w.drop) > 0
}

// carries tells whether a name is pending or in flight.
func (w *watch) carries(name string) bool {
	if _, ok := w.dirty[name]; ok || w.all {
		return true
	}
	if w.inflight != nil {
		for i := range w.inflight.items {
			if w.inflight.items[i].name == name {
				return true
			}
		}
	}
	return false
}

// forget drops what the client has of a name, after it unsubscribed.
func (w *watch) forget(name string) {
	if e, ok := w.has[name]; ok {
		e.release()
		delete(w.has, name)
	}
	delete(w.dirty, name)
	delete(w.drop, name)
	delete(w.gated, name)
	delete(w.blocked, name)
}

// namespace is the route configuration that a virtual host's name says it belongs to: everything before the last "/"
// (Envoy, WatchMap::namespaceFromName).
func namespace(name string) string {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i]
	}
	return ""
}

func (e *entry) release() {
	if e.track == nil {
		return
	}
	e.track.sent.Add(-1)
	if e.acked {
		e.track.acked.Add(-1)
	}
	e.track = nil
}
