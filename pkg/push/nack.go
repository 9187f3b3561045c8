package push

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairlead.io/fairlead/pkg/snapshot"
)

// confirmTimeout bounds a sandbox's answer.
const confirmTimeout = 5 * time.Second

// reject narrows a rejected response to single resources. Each is confirmed by sending it alone: then it is the
// message's only subject.
func (st *stream) reject(ctx context.Context, w *watch, resp *response, message string) {
	if len(message) > maxText {
		message = message[:maxText]
	}
	if message = strings.TrimSpace(strings.ToValidUTF8(message, "?")); message == "" {
		message = "rejected without a message"
	}
	w.nacks++
	w.lastNack, w.lastNackAt = message, time.Now()
	w.metrics.nacks.Inc()
	adds := slices.DeleteFunc(slices.Clone(resp.items), func(it item) bool { return it.res == nil })
	eds := st.watches[endpointType]
	for i := range adds {
		st.restore(w, &adds[i])
		w.remove(&w.awaited, adds[i].id)
		if w.url == clusterType && eds != nil {
			if id, ok := eds.lookup(adds[i].res.Name); ok {
				eds.remove(&eds.awaited, id)
				eds.tidy(id)
			}
		}
	}
	st.log.Warn("client rejected a response", "type", short(w.url), "resources", len(adds), "message", message)
	switch len(adds) {
	case 0:
	case 1:
		st.condemn(ctx, w, &adds[0], message)
	default:
		w.probes = append(groups(adds, message), w.probes...)
	}
	for i := range adds {
		w.tidy(adds[i].id)
	}
	st.srv.status.notify()
}

// groups splits a rejected response: the resources that the message names one by one after all others; or, when it
// names none, in halves.
func groups(items []item, message string) []probe {
	names := make([]string, len(items))
	for i := range items {
		names[i] = items[i].res.Name
	}
	named := namesIn(message, names)
	if len(named) == 0 {
		half := len(items) / 2
		return []probe{probeOf(items[:half]), probeOf(items[half:])}
	}
	var rest []item
	var singles []probe
	for _, it := range items {
		if named[it.res.Name] {
			singles = append(singles, probeOf([]item{it}))
		} else {
			rest = append(rest, it)
		}
	}
	if len(rest) == 0 {
		return singles
	}
	return append([]probe{probeOf(rest)}, singles...)
}

func probeOf(items []item) probe {
	p := probe{}
	for _, it := range items {
		p.names, p.needs = append(p.names, it.res.Name), append(p.needs, it.need)
	}
	return p
}

// namesIn finds which names stand in a message as words of their own. A longer name hides a shorter one inside it.
func namesIn(message string, names []string) map[string]bool {
	sorted := slices.Clone(names)
	slices.SortFunc(sorted, func(a, b string) int { return len(b) - len(a) })
	found := map[string]bool{}
	text := []byte(message)
	for _, name := range sorted {
		if name == "" {
			continue
		}
		for from := 0; ; {
			i := bytes.Index(text[from:], []byte(name))
			if i < 0 {
				break
			}
			i += from
			from = i + len(name)
			if (i > 0 && wordly(text, i-1, -1)) || (from < len(text) && wordly(text, from, 1)) {
				continue
			}
			found[name] = true
			for j := i; j < from; j++ {
				text[j] = 0
			}
		}
	}
	return found
}

// wordly tells whether the byte at i continues a name; punctuation does only between two letters or digits.
func wordly(text []byte, i, step int) bool {
	c := text[i]
	switch {
	case alphanumeric(c), c == '/', c == '_', c == '-', c == '|':
		return true
	case c == '.' || c == ':':
		j := i + step
		return j >= 0 && j < len(text) && alphanumeric(text[j])
	}
	return false
}

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// restore makes the last good content the client's again.
func (st *stream) restore(w *watch, it *item) {
	w.lower(it.id, flying)
	e := w.has(it.id)
	if e == nil || e.Hash != it.res.Hash {
		return
	}
	if it.prev != nil && it.prev.Hash != it.res.Hash {
		w.set(it.id, it.prev)
		return
	}
	w.set(it.id, nil)
}

// condemn quarantines one resource and looks at its name again, which may bring the deny stub.
func (st *stream) condemn(ctx context.Context, w *watch, it *item, message string) {
	k := badKey{typeURL: it.res.Type, name: it.res.Name, variant: it.res.Variant, hash: it.res.Hash, version: st.version}
	if ofNode(w.url) || local(message) || !st.confirmed(ctx, it.res) {
		k.node = st.node.ID
	}
	st.srv.quarantine.add(k, message, time.Now())
	st.log.Error("quarantined resource", "type", short(w.url), "resource", it.res.Name, "origins", it.res.Origins,
		"message", message, "nodeOnly", k.node != "")
	w.mark(it.res.Name, it.need)
}

// ofNode tells of a type that an agent refuses for its node alone: it says that something there (an Envoy, the clock, the disk)
// is not through with it. What one node does not take must reach the others, above all what they are to trust.
func ofNode(typeURL string) bool {
	switch typeURL {
	case trustType, workloadType, peerType, peerSetType, verdictType:
		return true
	}
	return false
}

// confirmed asks the sandbox, if there is one, whether the resource is bad by itself.
func (st *stream) confirmed(ctx context.Context, r *snapshot.Resource) bool {
	if st.srv.cfg.Confirm == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	st.mu.Unlock() // only this goroutine writes: readers need not wait for a sandbox
	err := st.srv.cfg.Confirm(ctx, r)
	st.mu.Lock()
	return err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// allowed gives what may be sent for an item: the resource, its deny stub, or nothing: the client keeps what it has.
func (st *stream) allowed(w *watch, it *item) *snapshot.Resource {
	k, message, ok := st.srv.quarantine.lookup(it.res, st.version, st.node.ID)
	if !ok {
		w.remove(&w.blocked, it.id)
		return it.res
	}
	w.add(&w.blocked, it.id)
	if t := st.srv.status.find(it.res); t != nil {
		st.srv.status.reject(t, st.id, Rejection{
			Type: k.typeURL, Name: k.name, Node: st.node.ID, Version: st.version, Message: message,
		})
	}
	good := it.prev != nil && !it.prev.Stub
	if deny := it.res.Deny; deny != nil && (!good || it.res.DenyAlways) {
		if _, alsoBad := st.srv.quarantine.find(deny, st.version, st.node.ID); !alsoBad {
			stub := *deny
			stub.Stub = true
			return &stub
		}
	}
	return nil
}

// unreject takes back this client's part in the rejection of a name.
func (st *stream) unreject(w *watch, name string) {
	if st.latest == nil || st.srv.status.refusals.Load() == 0 {
		return
	}
	if r := st.latest.Lookup(st.variants, w.url, name); r != nil {
		if t := st.srv.status.find(r); t != nil {
			st.srv.status.reject(t, st.id, Rejection{})
		}
	}
}

// nextProbe takes the next group that still has something to send.
func (st *stream) nextProbe(w *watch) (items []item, trial bool) {
	for len(w.probes) > 0 {
		p := w.probes[0]
		w.probes = w.probes[1:]
		for i, name := range p.names {
			id := w.slot(name)
			it, do := st.decide(w, st.found(w, id), p.needs[i], p.trial)
			switch do {
			case send, absent:
				items = append(items, it)
				w.take(id)
			case remove, later:
				w.markSlot(id, p.needs[i])
			default:
				w.tidy(id)
			}
		}
		if len(items) > 0 {
			return items, p.trial
		}
		if p.trial {
			st.srv.quarantine.release(st.id)
		}
	}
	return nil, false
}

// startTrials queues the quarantined names whose pause is over, as far as no other stream tries them.
func (st *stream) startTrials(w *watch, now time.Time) {
	if w.blocked.n == 0 {
		return
	}
	for _, id := range w.list(&w.blocked) {
		name := w.book.name(id)
		r := st.find(w, id, name)
		if r == nil || !st.wants(w, name) {
			w.remove(&w.blocked, id)
			w.tidy(id)
			continue
		}
		k, ok := st.srv.quarantine.find(r, st.version, st.node.ID)
		if !ok {
			w.remove(&w.blocked, id)
			w.markSlot(id, changed)
			continue
		}
		if st.srv.quarantine.acquire(k, st.id, now) {
			w.probes = append(w.probes, probe{names: []string{name}, needs: []need{changed}, trial: true})
		}
	}
}

// nextTrial is when a quarantined name of this client is due.
func (st *stream) nextTrial(w *watch, now time.Time) time.Time {
	next := now.Add(time.Hour)
	for _, id := range w.list(&w.blocked) {
		r := st.view(w).Lookup(st.variants, w.url, w.book.name(id))
		if r == nil {
			continue
		}
		if k, ok := st.srv.quarantine.find(r, st.version, st.node.ID); ok {
			if t, free := st.srv.quarantine.due(k); free && t.Before(next) {
				next = t
			}
		}
	}
	return next
}

func versionString(major, minor, patch uint32) string {
	return strconv.Itoa(int(major)) + "." + strconv.Itoa(int(minor)) + "." + strconv.Itoa(int(patch))
}
