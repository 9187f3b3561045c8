package push

import "time"

// settled tells whether the transition is complete, or has taken too long to wait for.
func (st *stream) settled(now time.Time) bool {
	return st.overdue(now) || st.complete(now)
}

// overdue tells whether the transition has taken too long for anything to be held.
func (st *stream) overdue(now time.Time) bool {
	return !st.deadline.IsZero() && !now.Before(st.deadline)
}

func (st *stream) complete(now time.Time) bool {
	for _, w := range st.ranked {
		if w.waiting() || w.removing(now, st.srv.cfg.Hold) || (!w.free && w.busy(now, st.srv.cfg.Hold)) {
			return false
		}
	}
	return true
}

// step advances the transition.
func (st *stream) step(now time.Time) {
	st.refresh()
	if st.snap == nil {
		return
	}
	if st.settled(now) && st.snap.Seq() < st.latest.Seq() {
		st.adopt()
		st.deadline = time.Time{}
	}
	switch {
	case st.complete(now):
		st.deadline = time.Time{}
		if st.asked() && st.acknowledged() && st.settledSeq.Swap(st.snap.Seq()) != st.snap.Seq() {
			st.srv.status.notify()
		}
	case st.deadline.IsZero():
		st.deadline = now.Add(st.srv.cfg.Hold)
	case !now.Before(st.deadline):
		for _, w := range st.ranked {
			st.forced = st.forced || w.waiting()
			w.expected = false
			w.clear(&w.awaited)
		}
	}
}

// asked tells whether the client has asked for anything.
func (st *stream) asked() bool {
	for _, w := range st.ranked {
		if w.active {
			return true
		}
	}
	return false
}

// acknowledged tells whether the client is really through the transition, and not only past its deadline.
func (st *stream) acknowledged() bool {
	for _, w := range st.ranked {
		if w.pending() && (st.forced || !w.free) {
			return false
		}
	}
	return true
}

// cleanse notes how far the client has acknowledged the free types, which have no transitions.
func (st *stream) cleanse() {
	if st.latest == nil || !st.asked() {
		return
	}
	seq := st.latest.Seq()
	for _, w := range st.ranked {
		if w.free && w.pending() {
			seq = min(seq, w.clean)
		} else {
			w.clean = st.latest.Seq()
		}
	}
	if st.freeSeq.Swap(seq) != seq {
		st.srv.status.notify()
	}
}

// regate is how often a stream looks whether the snapshot has become more complete, while something waits for that.
const regate = 20 * time.Millisecond

// nap is how long nothing can become due by itself.
func (st *stream) nap(now time.Time) time.Duration {
	next := now.Add(time.Hour)
	earlier := func(t time.Time) {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	earlier(st.deadline)
	if st.gating() {
		earlier(now.Add(regate))
	}
	for _, w := range st.ranked {
		if w.inflight != nil {
			earlier(w.inflight.sent.Add(st.srv.cfg.Hold))
		}
		if w.inflight == nil && w.blocked.n > 0 {
			due := st.nextTrial(w, now)
			if !due.After(now) {
				return 0
			}
			earlier(due)
		}
	}
	return next.Sub(now)
}
