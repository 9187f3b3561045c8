package push

import (
	"slices"
	"strconv"
	"time"

	"fairlead.io/fairlead/pkg/snapshot"
)

// next gives the next response that may travel, or nil.
func (st *stream) next(now time.Time) *reply {
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
			st.cleanse()
			return nil
		}
	}
}

// plan gives a response of the present transition, or nil.
func (st *stream) plan(now time.Time) *reply {
	for _, w := range st.ranked {
		if w.inflight == nil {
			if msg := st.additions(w, now); msg != nil {
				return msg
			}
		}
	}
	for _, w := range slices.Backward(st.ranked) {
		if w.inflight == nil && w.drop.n > 0 && !st.keeps(w, now) {
			if msg := st.removals(w, now); msg != nil {
				return msg
			}
		}
	}
	return nil
}

// held tells whether additions of a type wait for the types before it.
func (st *stream) held(w *watch, now time.Time) bool {
	if w.free || w.rank == 0 || st.overdue(now) {
		return false
	}
	for _, o := range st.ranked {
		if o.rank < w.rank && (o.waiting() || !o.free && o.busy(now, st.srv.cfg.Hold)) {
			return true
		}
	}
	return false
}

// keeps tells whether removals of a type wait: for all additions, and for the removals of the types after it.
func (st *stream) keeps(w *watch, now time.Time) bool {
	if st.overdue(now) {
		return false
	}
	for _, o := range st.ranked {
		if o.waiting() || !o.free && o.busy(now, st.srv.cfg.Hold) || o.rank > w.rank && o.removing(now, st.srv.cfg.Hold) {
			return true
		}
	}
	return false
}

// additions plans what a type adds or changes, and answers to questions.
func (st *stream) additions(w *watch, now time.Time) *reply {
	if st.startTrials(w, now); len(w.probes) > 0 {
		if items, trial := st.nextProbe(w); len(items) > 0 {
			return st.send(w, items, trial, now)
		}
	}
	if (!w.all && !w.answer && w.dirty.n == 0) || st.held(w, now) {
		return nil
	}
	st.expand(w)
	items := st.collect(w, now)
	if len(items) == 0 && !w.answer {
		return nil
	}
	return st.send(w, items, false, now)
}

// collect takes what is to be looked at, as much as fits into one response.
func (st *stream) collect(w *watch, now time.Time) (items []item) {
	if w.dirty.n == 0 {
		return nil
	}
	queue := w.list(&w.dirty)
	items = make([]item, 0, len(queue))
	size := 0
	w.book.each(st.view(w), st.variants, queue, func(f found) bool {
		id, n := f.id, w.needOf(f.id)
		if n == changed && st.clusterPending(w, f.name, now) {
			return true
		}
		it, do := st.decide(w, f, n, false)
		if do == send || do == absent {
			if size += len(f.name) + it.res.Size(); size > st.srv.cfg.MaxResponse && len(items) > 0 && !(st.world && whole(w.url)) {
				return false
			}
			items = append(items, it)
			w.take(id)
			return true
		}
		w.take(id)
		w.remove(&w.awaited, id)
		switch do {
		case remove:
			w.add(&w.drop, id)
		case later:
			w.gate(id, n)
		}
		w.tidy(id)
		return true
	})
	return items
}

// expand turns "look at everything" into names.
func (st *stream) expand(w *watch) {
	if !w.all {
		return
	}
	w.all = false
	w.each(func(id uint32) {
		if w.has(id) != nil || w.at(id)&subscribed != 0 {
			w.markSlot(id, changed)
		}
	})
	if rds := st.watches[routeType]; w.url == virtualHostType && w.answer && rds != nil {
		rds.each(func(id uint32) {
			if r := rds.has(id); r.Discovers() {
				st.markHosts(r.Name, ask)
			}
		})
	}
	if !w.wildcard && w.url != virtualHostType {
		return
	}
	batch := newBatch(chunk, func(names []string) {
		var ids [chunk]uint32
		for _, id := range w.open(ids[:], names) {
			w.markSlot(id, changed)
		}
	})
	cut := scoped(w)
	st.view(w).Range(w.url, func(r *snapshot.Resource) bool {
		mine := r.Variant == "" || slices.Contains(st.variants, r.Variant)
		if mine && (!cut || r.Audience == nil || st.scope.Sees(r.Audience)) {
			batch.add(r.Name)
		}
		return true
	})
	batch.end()
}

// clusterPending holds an endpoint set whose cluster is about to change: Envoy would need it again. It must not hold what
// a cluster in flight waits for (ask, force): Envoy acknowledges CDS only when its changed clusters are warm.
func (st *stream) clusterPending(w *watch, name string, now time.Time) bool {
	cds := st.watches[clusterType]
	if w.url != endpointType || cds == nil || !cds.active || st.overdue(now) {
		return false
	}
	id, ok := cds.lookup(name)
	if !ok || cds.at(id)&(blocked|gated) != 0 {
		return false
	}
	has := cds.has(id)
	if has == nil {
		return false
	}
	r := st.latest.Lookup(st.variants, clusterType, name)
	return r != nil && r.Hash != has.Hash && st.wants(cds, name)
}

func (st *stream) view(w *watch) snapshot.Snapshot {
	if w.free {
		return st.latest
	}
	return st.snap
}

// removals plans what a type removes.
func (st *stream) removals(w *watch, now time.Time) *reply {
	var items []item
	w.book.each(st.view(w), st.variants, w.list(&w.drop), func(f found) bool {
		id := f.id
		w.remove(&w.drop, id)
		switch it, do := st.decide(w, f, changed, false); do {
		case remove:
			items = append(items, it)
			return true
		case later:
			w.gate(id, changed)
		case send:
			w.markSlot(id, changed)
		}
		w.tidy(id)
		return true
	})
	if len(items) == 0 {
		return nil
	}
	return st.send(w, items, false, now)
}

// send puts a response in flight and notes what the client will have.
func (st *stream) send(w *watch, items []item, trial bool, now time.Time) *reply {
	st.nonce++
	at := st.snapAt
	if w.free {
		at = st.latestAt
	}
	resp := &response{
		nonce: strconv.FormatUint(st.nonce, 10), items: items, trial: trial, sent: now, seq: st.view(w).Seq(),
		published: at, initial: w.responses == 0, whole: w.dirty.n+w.drop.n+len(w.probes) == 0 && !w.all,
	}
	msg := &reply{typeURL: w.url, nonce: resp.nonce, seq: resp.seq, resources: make([]*snapshot.Resource, 0, len(items))}
	bytes := 0
	for i := range items {
		it := &items[i]
		if it.res == nil {
			resp.removals = resp.removals || it.prev != nil
			msg.removed = append(msg.removed, w.book.name(it.id))
			w.forget(it.id)
			continue
		}
		bytes += it.res.Size()
		msg.resources = append(msg.resources, it.res)
		w.set(it.id, it.res)
		w.raise(it.id, flying)
	}
	w.answer, w.inflight, w.sentSeq, w.lastSent = false, resp, resp.seq, now
	w.responses++
	st.after(w, items)
	w.metrics.responses.Inc()
	w.metrics.resources.Add(float64(len(items)))
	w.metrics.bytes.Add(float64(bytes))
	if !resp.initial {
		w.metrics.sent.Observe(now.Sub(at).Seconds())
	}
	return msg
}
