package push

import (
	"slices"
	"strconv"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"fairlead.io/fairlead/pkg/snapshot"
)

// next gives the next response that may travel, or nil.
func (st *stream) next(now time.Time) *discovery.DeltaDiscoveryResponse {
	for {
		st.step(now)
		if st.snap == nil {
			return nil
		}
		if msg := st.plan(now); msg != nil {
			return msg
		}
		// What was looked at and found equal may have completed the transition: then begin the next one.
		if st.snap.Seq() >= st.latest.Seq() || !st.settled(now) {
			st.step(now)
			return nil
		}
	}
}

// plan gives a response of the present transition, or nil.
func (st *stream) plan(now time.Time) *discovery.DeltaDiscoveryResponse {
	for _, w := range st.ranked {
		if w.inflight == nil {
			if msg := st.additions(w, now); msg != nil {
				return msg
			}
		}
	}
	for _, w := range slices.Backward(st.ranked) {
		if w.inflight == nil && len(w.drop) > 0 && !st.keeps(w, now) {
			if msg := st.removals(w, now); msg != nil {
				return msg
			}
		}
	}
	return nil
}

// held tells whether additions of a type wait for the types before it.
func (st *stream) held(w *watch, now time.Time) bool {
	if w.free || w.rank == 0 || (!st.deadline.IsZero() && !now.Before(st.deadline)) {
		return false
	}
	for k := range st.await {
		if kindOf(k.typeURL).rank < w.rank {
			return true
		}
	}
	for _, o := range st.ranked {
		if o.rank < w.rank && !o.free && o.busy(now, st.srv.cfg.Hold) {
			return true
		}
	}
	return false
}

// keeps tells whether removals of a type wait: for all additions, and for the removals of the types after it.
func (st *stream) keeps(w *watch, now time.Time) bool {
	if !st.deadline.IsZero() && !now.Before(st.deadline) {
		return false
	}
	if len(st.await) > 0 {
		return true
	}
	for _, o := range st.ranked {
		if !o.free && o.busy(now, st.srv.cfg.Hold) {
			return true
		}
		if o.rank > w.rank && o.removing(now, st.srv.cfg.Hold) {
			return true
		}
	}
	return false
}

// additions plans what a type adds or changes, and answers to questions.
func (st *stream) additions(w *watch, now time.Time) *discovery.DeltaDiscoveryResponse {
	if st.startTrials(w, now); len(w.probes) > 0 {
		if items, trial := st.nextProbe(w); len(items) > 0 {
			return st.send(w, items, trial, now)
		}
	}
	if (!w.all && !w.answer && len(w.dirty) == 0) || st.held(w, now) {
		return nil
	}
	st.expand(w)
	names := make([]string, 0, len(w.dirty))
	for name := range w.dirty {
		names = append(names, name)
	}
	slices.Sort(names)
	var items []item
	size := 0
	for _, name := range names {
		n := w.dirty[name]
		if n == changed && st.clusterPending(w, name, now) {
			continue
		}
		it, do := st.decide(w, name, n, false)
		if do == send || do == absent {
			s := len(name) + 64
			if it.res != nil {
				s += len(it.res.Body.GetValue())
			}
			if size += s; size > st.srv.cfg.MaxResponse && len(items) > 0 {
				break
			}
			items = append(items, it)
		} else {
			delete(st.await, waitKey{w.url, name})
		}
		delete(w.dirty, name)
		switch do {
		case remove:
			w.drop[name] = struct{}{}
		case later:
			w.gated[name] = n
		}
	}
	if len(items) == 0 && !w.answer {
		return nil
	}
	return st.send(w, items, false, now)
}

// expand turns "look at everything" into names.
func (st *stream) expand(w *watch) {
	if !w.all {
		return
	}
	w.all = false
	for name := range w.has {
		w.mark(name, changed)
	}
	for name := range w.names {
		w.mark(name, changed)
	}
	if w.url == virtualHostType && w.answer && st.watches[routeType] != nil {
		for routes := range st.watches[routeType].names {
			st.markHosts(routes, ask)
		}
	}
	if w.wildcard || w.url == virtualHostType {
		st.view(w).Range(w.url, func(r *snapshot.Resource) bool {
			if slices.Contains(st.variants, r.Variant) {
				w.mark(r.Name, changed)
			}
			return true
		})
	}
}

// clusterPending holds an endpoint set whose cluster is about to change: Envoy would need it again. It must not hold what
// a cluster in flight waits for (ask, force): Envoy acknowledges CDS only when its changed clusters are warm.
func (st *stream) clusterPending(w *watch, name string, now time.Time) bool {
	cds := st.watches[clusterType]
	if w.url != endpointType || cds == nil || (!st.deadline.IsZero() && !now.Before(st.deadline)) {
		return false
	}
	has, known := cds.has[name]
	_, blocked := cds.blocked[name]
	_, gated := cds.gated[name]
	r := snapshot.LookupIn(st.latest, st.variants, clusterType, name)
	return known && !blocked && !gated && r != nil && r.Hash != has.hash && st.wants(cds, name)
}

func (st *stream) view(w *watch) snapshot.Snapshot {
	if w.free {
		return st.latest
	}
	return st.snap
}

// choice is what decide says.
type choice uint8

const (
	skip   choice = iota // the client has it, or may not get it
	send                 // send it
	remove               // remove it when removals' turn comes
	absent               // say now that there is none
	later                // look again at the next snapshot
)

// decide compares what a client has of a name with what it should have.
func (st *stream) decide(w *watch, name string, n need, trial bool) (item, choice) {
	it := item{name: name, need: n}
	it.prev, it.known = w.has[name]
	if !st.wants(w, name) {
		return it, skip
	}
	view := st.view(w)
	res := snapshot.LookupIn(view, st.variants, w.url, name)
	behind := it.prev.position > view.Position() || (!it.known && w.wildcard && n != ask && st.floor > view.Position())
	if res == nil {
		do := st.decideGone(w, name, &it, behind)
		if do == absent {
			return st.substitute(w, it)
		}
		return it, do
	}
	same := it.known && it.prev.hash == res.Hash
	if same {
		st.adoptEntry(w, name, res)
		if n == changed {
			return it, skip
		}
	} else if behind {
		return it, later
	}
	it.res = res
	if !trial && !same {
		it.res, it.stub = st.allowed(w, &it)
		switch {
		case it.res == nil && n == ask && (!it.known || w.url != routeType):
			return st.substitute(w, it)
		case it.res == nil:
			return it, skip
		case it.known && it.prev.hash == it.res.Hash && n == changed:
			return it, skip
		}
	}
	return it, send
}

// decideGone is decide for a name that does not exist.
func (st *stream) decideGone(w *watch, name string, it *item, behind bool) choice {
	switch {
	case it.need == ask && w.url == virtualHostType && st.isRoutes(w, name):
		return skip
	case it.need == ask:
		return absent
	case !it.known, it.prev.stub && w.url == routeType:
		return skip
	case behind, w.free && snapshot.LookupIn(st.snap, st.variants, w.url, name) != nil:
		// The second case: gone in the newest snapshot, but the stream is not there yet, and routes still use it.
		return later
	}
	return remove
}

// isRoutes tells whether a VHDS subscription names a route configuration that has virtual hosts.
func (st *stream) isRoutes(w *watch, name string) bool {
	found := false
	st.view(w).Range(w.url, func(r *snapshot.Resource) bool {
		found = namespace(r.Name) == name && slices.Contains(st.variants, r.Variant)
		return !found
	})
	return found
}

// adoptEntry counts a client that had the present content before this stream.
func (st *stream) adoptEntry(w *watch, name string, res *snapshot.Resource) {
	e := w.has[name]
	if e.track != nil || w.inflight != nil {
		return
	}
	e.acked = true
	if e.track = st.srv.status.find(res); e.track != nil {
		e.track.sent.Add(1)
		e.track.acked.Add(1)
	}
	w.has[name] = e
}

// removals plans what a type removes.
func (st *stream) removals(w *watch, now time.Time) *discovery.DeltaDiscoveryResponse {
	var items []item
	for name := range w.drop {
		delete(w.drop, name)
		switch it, do := st.decide(w, name, changed, false); do {
		case remove:
			items = append(items, it)
		case later:
			w.gated[name] = changed
		case send:
			w.mark(name, changed)
		}
	}
	if len(items) == 0 {
		return nil
	}
	slices.SortFunc(items, func(a, b item) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return st.send(w, items, false, now)
}

// send puts a response in flight and notes what the client will have.
func (st *stream) send(w *watch, items []item, trial bool, now time.Time) *discovery.DeltaDiscoveryResponse {
	st.nonce++
	at := st.snapAt
	if w.free {
		at = st.latestAt
	}
	resp := &response{
		nonce: strconv.FormatUint(st.nonce, 10), items: items, trial: trial, sent: now, seq: st.view(w).Seq(),
		published: at, initial: w.responses == 0,
	}
	msg := &discovery.DeltaDiscoveryResponse{
		TypeUrl: w.url, Nonce: resp.nonce,
		SystemVersionInfo: strconv.FormatUint(resp.seq, 10),
		ControlPlane:      &core.ControlPlane{Identifier: st.srv.cfg.Identifier},
	}
	bytes := 0
	for i := range items {
		it := &items[i]
		if it.res == nil {
			resp.removals = resp.removals || it.known
			msg.RemovedResources = append(msg.RemovedResources, it.name)
			w.forget(it.name)
			continue
		}
		bytes += len(it.res.Body.GetValue())
		msg.Resources = append(msg.Resources, &discovery.Resource{Name: it.name, Version: it.res.Version(), Resource: it.res.Body})
		st.record(w, it)
	}
	w.answer, w.inflight, w.sentSeq, w.lastSent = false, resp, resp.seq, now
	w.responses++
	st.after(w, items)
	m, l := st.srv.metrics, label(w.url)
	m.responses.WithLabelValues(l).Inc()
	m.resources.WithLabelValues(l).Add(float64(len(items)))
	m.bytes.WithLabelValues(l).Add(float64(bytes))
	if !resp.initial {
		m.latency.WithLabelValues("sent", l).Observe(now.Sub(at).Seconds())
	}
	return msg
}

// record notes an item as the client's, not yet acknowledged.
func (st *stream) record(w *watch, it *item) {
	e := entry{hash: it.res.Hash, position: it.res.Position, stub: it.stub}
	if !it.stub {
		e.track = st.srv.status.find(it.res)
	}
	if e.track != nil {
		e.track.sent.Add(1)
	}
	it.prev.release()
	it.prev.track = nil
	w.has[it.name] = e
}
