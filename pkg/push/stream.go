package push

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/snapshot"
)

// waitKey is a resource that later types wait for in a transition, beside what is pending of their own: one of a free
// type, or one that the client has yet to ask for.
type waitKey struct{ typeURL, name string }

// stream is one client. Its goroutine (run) is the only writer.
type stream struct {
	// read-only after creation or after the first request
	id        uint64
	srv       *Server
	out       discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	log       *slog.Logger
	connected time.Time
	address   string
	node      snapshot.Node
	variants  []string
	agent     string
	version   string

	settledSeq atomic.Uint64 // the snapshot whose transition is complete

	mu       sync.Mutex // guards what follows: run writes, Clients reads
	snap     snapshot.Snapshot
	snapAt   time.Time
	latest   snapshot.Snapshot // never older than snap; free types are served from it
	latestAt time.Time
	floor    uint64 // the highest position that the client showed
	watches  map[string]*watch
	ranked   []*watch // by rank
	names    int
	nonce    uint64
	// deadline ends the holding of a transition; zero when none is under way. await is what it still waits for.
	deadline time.Time
	await    map[waitKey]struct{}
	forced   bool // the transition went on without what it awaited
}

func newStream(s *Server, out discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) *stream {
	return &stream{
		srv: s, out: out, log: s.cfg.Log, connected: time.Now(), address: peerOf(out.Context()),
		watches: map[string]*watch{}, await: map[waitKey]struct{}{},
	}
}

// run owns the stream until the client goes, sends nonsense, or the server drains.
func (st *stream) run(ctx context.Context) error {
	requests, failed, done := make(chan *discovery.DeltaDiscoveryRequest), make(chan error, 1), make(chan struct{})
	defer close(done)
	go receive(st.out, requests, failed, done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	src := st.srv.cfg.Source
	for {
		ready, newer := src.Ready(), (<-chan struct{})(nil)
		if st.latest != nil {
			ready, newer = nil, st.latest.Newer()
		}
		lifted := st.srv.quarantine.wait()
		if err := st.flush(); err != nil {
			return err
		}
		timer.Reset(st.nap(time.Now()))
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-st.srv.closing:
			return status.Error(codes.Unavailable, "server is shutting down")
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case req := <-requests:
			if err := st.handle(ctx, req); err != nil {
				st.log.Info("ended stream of a client that broke the protocol", "error", err)
				return err
			}
		case <-ready:
		case <-newer:
		case <-lifted:
			st.unblock()
		case <-timer.C:
		}
	}
}

// receive hands requests over one by one: while run is sending, the client's own flow control holds them.
func receive(out discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
	requests chan<- *discovery.DeltaDiscoveryRequest, failed chan<- error, done <-chan struct{},
) {
	for {
		req, err := out.Recv()
		if err != nil {
			failed <- err
			return
		}
		select {
		case requests <- req:
		case <-done:
			return
		}
	}
}

// flush sends everything that may be sent now.
func (st *stream) flush() error {
	for {
		st.mu.Lock()
		msg := st.next(time.Now())
		st.mu.Unlock()
		if msg == nil {
			return nil
		}
		if err := st.out.Send(msg); err != nil {
			return err
		}
	}
}

// refresh picks up the newest snapshot: the free types move to it at once.
func (st *stream) refresh() {
	latest := st.srv.cfg.Source.Latest()
	if latest == nil || (st.latest != nil && latest.Seq() <= st.latest.Seq()) {
		return
	}
	old := st.latest
	st.latest, st.latestAt = latest, st.srv.observe(latest)
	if old == nil {
		st.snap, st.snapAt = latest, st.latestAt
		return
	}
	st.markChanges(old, latest, true, nil)
}

// adopt begins the transition to the newest snapshot.
func (st *stream) adopt() {
	old := st.snap
	st.snap, st.snapAt = st.latest, st.latestAt
	clear(st.await)
	st.forced = false
	st.markChanges(old, st.snap, false, func(w *watch, name string) {
		if w.carries(name) {
			st.await[waitKey{w.url, name}] = struct{}{}
		}
	})
}

// markChanges marks what changed between two snapshots for the free types or for the others. Free types' names go to
// seen when the others are marked.
func (st *stream) markChanges(from, to snapshot.Snapshot, free bool, seen func(*watch, string)) {
	for _, w := range st.ranked {
		if w.free == free || !free {
			w.ungate()
		}
	}
	keys, ok := to.ChangesSince(from.Seq())
	if !ok {
		for _, w := range st.ranked {
			w.all = w.all || w.free == free
		}
		return
	}
	for _, k := range keys {
		w := st.watches[k.Type]
		if w == nil || !slices.Contains(st.variants, k.Variant) || !st.wants(w, k.Name) {
			continue
		}
		switch {
		case w.free == free:
			w.mark(k.Name, changed)
		case w.free && seen != nil:
			seen(w, k.Name)
		}
	}
}

// settled tells whether the transition is complete, or has taken too long to wait for.
func (st *stream) settled(now time.Time) bool {
	if !st.deadline.IsZero() && !now.Before(st.deadline) {
		return true
	}
	return st.complete(now)
}

func (st *stream) complete(now time.Time) bool {
	for _, w := range st.ranked {
		if w.removing(now, st.srv.cfg.Hold) || (!w.free && w.busy(now, st.srv.cfg.Hold)) {
			return false
		}
	}
	return len(st.await) == 0
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
		if len(st.ranked) > 0 && st.acknowledged() && st.settledSeq.Swap(st.snap.Seq()) != st.snap.Seq() {
			st.srv.status.notify()
		}
	case st.deadline.IsZero():
		st.deadline = now.Add(st.srv.cfg.Hold)
	case !now.Before(st.deadline):
		st.forced = st.forced || len(st.await) > 0
		clear(st.await)
	}
}

// acknowledged tells whether the client is really through the transition, and not only past its deadline.
func (st *stream) acknowledged() bool {
	for _, w := range st.ranked {
		pending := w.inflight != nil || w.all || len(w.dirty)+len(w.drop)+len(w.probes) > 0
		if pending && (st.forced || !w.free) {
			return false
		}
	}
	return true
}

// nap is how long nothing can become due by itself.
func (st *stream) nap(now time.Time) time.Duration {
	next := now.Add(time.Hour)
	earlier := func(t time.Time) {
		if t.After(now) && t.Before(next) {
			next = t
		}
	}
	earlier(st.deadline)
	for _, w := range st.ranked {
		if w.inflight != nil {
			earlier(w.inflight.sent.Add(st.srv.cfg.Hold))
		}
		if w.inflight == nil && len(w.blocked) > 0 {
			due := st.nextTrial(w, now)
			if !due.After(now) {
				return 0
			}
			earlier(due)
		}
	}
	return next.Sub(now)
}

// unblock looks at all quarantined names again.
func (st *stream) unblock() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, w := range st.ranked {
		w.unblock()
	}
}

// release takes the client out of the status of everything it had.
func (st *stream) release() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, w := range st.ranked {
		for _, e := range w.has {
			e.release()
		}
	}
	st.srv.status.forget(st.id)
}
