package kube

import (
	"context"
	"fmt"
	"log/slog"
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
	// refusedFor is how long a position that the API server has not reached is not asked for again.
	refusedFor = time.Minute
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

	mu      sync.Mutex
	wanted  uint64
	refused refusal
	kinds   map[string]*subject
}

// refusal is a position beyond all that there is: of another cluster, or from before its store was restored.
type refusal struct {
	position uint64
	until    time.Time
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
	return &prover{list: list, log: log, wake: make(chan struct{}, 1), kinds: map[string]*subject{}}
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

// want asks for proofs up to position.
func (p *prover) want(position uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if position <= p.wanted || position >= p.refused.position && time.Now().Before(p.refused.until) {
		return
	}
	p.wanted = position
	p.nudge()
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
	next := time.Hour
	for _, s := range p.kinds {
		at := s.store.reached()
		switch {
		case s.busy || at == 0 || at >= p.wanted:
		case now.Before(s.due):
			next = min(next, s.due.Sub(now))
		default:
			s.busy, s.due = true, now.Add(proofGap)
			wanted := p.wanted
			p.proofs.Go(func() { p.prove(ctx, s, wanted) })
		}
	}
	return next
}

// prove makes one proof. The list must have everything that there was when it was asked for.
func (p *prover) prove(ctx context.Context, s *subject, wanted uint64) {
	ctx, cancel := context.WithTimeout(ctx, proofTime)
	defer cancel()
	list, at, err := p.list(ctx, s.from)
	proven := err == nil && s.store.prove(list, at)
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.busy = false
	p.nudge()
	switch {
	case err != nil:
		if ctx.Err() == nil {
			p.log.Debug("cannot list a resource to see whether its watch is behind; trying again", "resource", s.name, "error", err)
		}
		return
	case at < wanted && p.wanted <= wanted:
		p.log.Warn("a client shows a position that the API server has not reached: it comes from another cluster, or from before a restore", "shown", wanted, "reached", at)
		p.refused, p.wanted = refusal{wanted, now.Add(refusedFor)}, at
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
