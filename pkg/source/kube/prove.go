package kube

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/pkg/model"
)

const (
	// proofGap is the least time between two proofs of one kind.
	proofGap = time.Second
	// proofTime bounds one proof: the lists of a large kind are many pages.
	proofTime = 30 * time.Second
	// proofPage is how many objects one answer of the API server has.
	proofPage = 1000
	// stuckAfter is how long a watch may withhold what a list shows, without telling anything, before it is made anew.
	stuckAfter = 10 * time.Second
)

// provable is a reflector's store that can be compared with a list.
type provable interface {
	// reached is up to where the kind has been read; 0 before the first list.
	reached() uint64
	// prove compares what the store knows with a list of all objects, their positions by key, that was true at position
	// at. When nothing is between, the kind has been read up to at, and prove gives true.
	prove(list map[string]uint64, at uint64) bool
}

// prover shows that kinds whose watches tell nothing are as far as somebody waits for. An idle watch tells how far it is
// about once a minute; a list tells at once.
type prover struct {
	list   func(context.Context, listed) (list map[string]uint64, at uint64, err error)
	log    *slog.Logger
	wake   chan struct{}
	proofs sync.WaitGroup

	mu    sync.Mutex
	asks  asks
	kinds map[string]*subject
}

// subject is a kind as the prover sees it.
type subject struct {
	name  string
	from  listed
	store provable
	// restart makes the kind's watch anew.
	restart context.CancelFunc

	// The prover's mu guards these.
	busy bool
	due  time.Time
	// held is since when, and heldAt where, the watch has stood still although there is more.
	held   time.Time
	heldAt uint64
}

func newProver(list func(context.Context, listed) (map[string]uint64, uint64, error), log *slog.Logger) *prover {
	return &prover{list: list, log: log, wake: make(chan struct{}, 1), asks: newAsks(), kinds: map[string]*subject{}}
}

// watching begins with a kind, or with a new watch of it.
func (p *prover) watching(name string, from listed, store provable, restart context.CancelFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kinds[name] = &subject{name: name, from: from, store: store, restart: restart}
}

// forget ends with a kind.
func (p *prover) forget(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.kinds, name)
}

// want asks for proofs up to position. It gives false when there is no such position.
func (p *prover) want(position uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	news, real := p.asks.add(position, time.Now())
	if news {
		p.nudge()
	}
	return real
}

func (p *prover) nudge() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// run makes proofs until ctx ends.
func (p *prover) run(ctx context.Context) {
	defer p.proofs.Wait()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(p.begin(ctx, time.Now()))
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
		case <-timer.C:
		}
	}
}

// begin starts the proofs that are due, and says when the next are.
func (p *prover) begin(ctx context.Context, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	next, lowest, count := time.Hour, uint64(math.MaxUint64), p.asks.count
	for _, s := range p.kinds {
		at := s.store.reached()
		lowest = min(lowest, at)
		switch {
		case s.busy || at == 0 || at >= p.asks.highest:
		case now.Before(s.due):
			next = min(next, s.due.Sub(now))
		default:
			s.busy, s.due = true, now.Add(proofGap)
			p.proofs.Go(func() { p.prove(ctx, s, count) })
		}
	}
	p.asks.met(lowest)
	return next
}

// prove makes one proof, when so many asks had been made. The list must have everything that there was when it was asked for.
func (p *prover) prove(ctx context.Context, s *subject, asked uint64) {
	ctx, cancel := context.WithTimeout(ctx, proofTime)
	defer cancel()
	list, at, err := p.list(ctx, s.from)
	proven := err == nil && s.store.prove(list, at)
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.busy = false
	p.nudge()
	if err != nil {
		if ctx.Err() == nil {
			p.log.Debug("cannot list a resource to see whether its watch is behind; trying again", "resource", s.name, "error", err)
		}
		return
	}
	if shown := p.asks.refuse(at, asked, now); shown > 0 {
		p.log.Warn("a client shows a position that the API server has not reached: it comes from another cluster, or from before a restore; it is not waited for", "shown", shown, "reached", at)
	}
	switch {
	case proven:
		s.held = time.Time{}
	case s.held.IsZero() || s.heldAt != s.store.reached():
		s.held, s.heldAt = now, s.store.reached()
	case now.Sub(s.held) >= stuckAfter:
		p.log.Warn("a watch withholds what a list shows; watching anew", "resource", s.name, "position", s.heldAt, "list", at)
		s.held = time.Time{}
		s.restart()
	}
}

// positions lists a kind: the positions of all its objects by key, and the list's own.
func (s *Source) positions(ctx context.Context, from listed) (list map[string]uint64, at uint64, err error) {
	list = map[string]uint64{}
	// Without a resourceVersion the list is a consistent read, and all its pages are of one state.
	options := metav1.ListOptions{FieldSelector: from.selector.String(), Limit: proofPage}
	for {
		page, err := s.metadata.Resource(from.resource).List(ctx, options)
		if err != nil {
			return nil, 0, fmt.Errorf("list %s: %w", from.resource.Resource, err)
		}
		for i := range page.Items {
			o := &page.Items[i]
			list[model.Key(o.Namespace, o.Name)] = position(o.ResourceVersion)
		}
		if at == 0 {
			at = position(page.ResourceVersion)
		}
		if options.Continue = page.Continue; options.Continue == "" {
			return list, at, nil
		}
	}
}
