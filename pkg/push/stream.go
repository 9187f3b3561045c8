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

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
)

// stream is one client. Its goroutine (run) is the only writer.
type stream struct {
	// read-only after creation or after the first request
	id        uint64
	srv       *Server
	out       transport
	log       *slog.Logger
	connected time.Time
	address   string
	node      snapshot.Node
	variants  []string
	agent     string
	version   string
	world     bool // speaks the state-of-the-world protocol

	settledSeq atomic.Uint64 // the snapshot whose transition is complete
	freeSeq    atomic.Uint64 // the snapshot up to which all free types are acknowledged

	mu       sync.Mutex // guards what follows: run writes, Clients reads
	snap     snapshot.Snapshot
	snapAt   time.Time
	latest   snapshot.Snapshot // never older than snap; free types are served from it
	latestAt time.Time
	scope    *model.NodeScope  // of snap
	floor    uint64            // the highest position that the client brought from elsewhere
	brought  map[string]string // versions of clusters, until the endpoints are asked for
	watches  map[string]*watch
	ranked   []*watch // by rank
	names    int
	nonce    uint64
	// deadline ends the holding of a transition; zero when none is under way.
	deadline time.Time
	forced   bool // the transition went on without what it awaited
}

func newStream(s *Server, out transport) *stream {
	_, world := out.(*sotw)
	return &stream{
		srv: s, out: out, world: world, log: s.cfg.Log, connected: time.Now(), address: peerOf(out.Context()), watches: map[string]*watch{},
	}
}

// watch gives the watch of a type, which is made when it is first spoken of.
func (st *stream) watch(url string) *watch {
	w := st.watches[url]
	if w == nil {
		w = newWatch(url, st.srv.bookOf(url), st.srv.metrics)
		st.watches[url] = w
		st.ranked = append(st.ranked, w)
		slices.SortStableFunc(st.ranked, func(a, b *watch) int { return a.rank - b.rank })
	}
	return w
}

// run owns the stream until the client goes, sends nonsense, or the server drains.
func (st *stream) run(ctx context.Context) error {
	admitted, err := st.srv.admission.enter(ctx, st.srv.cfg.Source, st.srv.closing)
	if err != nil {
		return err
	}
	defer admitted.leave()
	requests, failed, done := make(chan *discovery.DeltaDiscoveryRequest), make(chan error, 1), make(chan struct{})
	defer close(done)
	go receive(st.out, requests, failed, done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	settled := false
	for {
		lifted := st.srv.quarantine.wait()
		if err := st.flush(); err != nil {
			return err
		}
		if !settled && st.settledSeq.Load() > 0 {
			settled = true
			admitted.leave()
		}
		if !st.blocked() {
			lifted = nil // two hundred streams on one channel cost each of them
		}
		newer := (<-chan struct{})(nil)
		if st.latest != nil {
			newer = st.latest.Newer()
		}
		timer.Reset(st.nap(time.Now()))
		select {
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-st.srv.closing:
			return errShutdown
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
		case <-newer:
		case <-lifted:
			st.unblock()
		case <-timer.C:
		}
	}
}

var errShutdown = status.Error(codes.Unavailable, "server is shutting down")

// receive hands requests over one by one: while run is sending, the client's own flow control holds them.
func receive(out transport, requests chan<- *discovery.DeltaDiscoveryRequest, failed chan<- error, done <-chan struct{}) {
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

// refresh picks up the newest snapshot: the free types move to it at once. Until the client has said who it is, nothing is
// known of what it sees.
func (st *stream) refresh() {
	if st.variants == nil {
		return
	}
	latest := st.srv.cfg.Source.Latest()
	if latest == nil || (st.latest != nil && latest.Seq() <= st.latest.Seq()) {
		st.catchUp(latest)
		return
	}
	old := st.latest
	st.latest, st.latestAt = latest, st.srv.observe(latest)
	if st.floor <= latest.Complete() {
		st.floor = 0
	}
	if old == nil {
		st.snap, st.snapAt = latest, st.latestAt
		st.scope = latest.Scope(st.node.ID)
		return
	}
	st.markChanges(old, latest, true)
}

// catchUp takes up that the newest snapshot is known to be more complete than it was, for what waits for that.
func (st *stream) catchUp(latest snapshot.Snapshot) {
	if latest == nil || latest.Seq() != st.latest.Seq() || latest.Complete() <= st.latest.Complete() || !st.gating() {
		return
	}
	if st.snap.Seq() == latest.Seq() {
		st.snap = latest
	}
	if st.latest = latest; st.floor <= latest.Complete() {
		st.floor = 0
	}
	for _, w := range st.ranked {
		w.ungate()
	}
}

// gating tells whether anything waits for a more complete snapshot.
func (st *stream) gating() bool {
	for _, w := range st.ranked {
		if w.gated.n > 0 {
			return true
		}
	}
	return false
}

// adopt begins the transition to the newest snapshot.
func (st *stream) adopt() {
	old := st.snap
	st.snap, st.snapAt = st.latest, st.latestAt
	for _, w := range st.ranked {
		w.expected = false
		w.clear(&w.awaited)
	}
	st.forced = false
	st.rescope()
	st.markChanges(old, st.snap, false)
}

// markChanges marks what changed between two snapshots for the free types or for the others. The transition waits for
// what changed of free types and is on its way, since others may depend on it.
func (st *stream) markChanges(from, to snapshot.Snapshot, free bool) {
	for _, w := range st.ranked {
		if w.free == free || !free {
			w.ungate()
		}
	}
	keys, ok := st.srv.changes(from, to)
	if !ok {
		for _, w := range st.ranked {
			w.all = w.all || w.active && w.free == free
		}
		return
	}
	for _, k := range keys {
		w := st.watches[k.Type]
		if w == nil || !w.active || !slices.Contains(st.variants, k.Variant) || !st.wants(w, k.Name) {
			continue
		}
		switch {
		case w.free == free:
			w.mark(k.Name, changed)
		case w.free:
			if id, ok := w.lookup(k.Name); ok && (w.all || w.at(id)&(dirty|flying) != 0) {
				w.add(&w.awaited, id)
			}
		}
	}
}

// blocked tells whether anything is quarantined for this client.
func (st *stream) blocked() bool {
	for _, w := range st.ranked {
		if w.blocked.n > 0 {
			return true
		}
	}
	return false
}

// unblock looks at all quarantined names again.
func (st *stream) unblock() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, w := range st.ranked {
		w.unblock()
	}
}

// release forgets the client.
func (st *stream) release() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, w := range st.ranked {
		w.slots.release()
	}
	st.srv.status.forget(st.id)
}
