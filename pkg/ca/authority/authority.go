package authority

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// DefaultBackdate is how long before now a certificate begins to be valid, unless Config says otherwise: see Config.Backdate.
const DefaultBackdate = time.Minute

// Config is what an Authority is made of.
type Config struct {
	TrustDomain spiffeid.TrustDomain
	// Aliases are further names of the trust domain: what was made as an authority of one signs for the trust domain too.
	Aliases []spiffeid.TrustDomain
	Store   Store
	// Backdate is how long before now a certificate begins, so that a peer whose clock is behind takes it: nodes with working
	// time synchronisation differ by less than a second, and a minute forgives those that have just booted or been resumed.
	// More would tell an auditor less. DefaultBackdate when zero.
	Backdate time.Duration
	// RefreshHint is how often those who federate with us should look for a new bundle; 5 minutes when zero.
	RefreshHint time.Duration
	// Now is the clock; time.Now when nil.
	Now func() time.Time
	Log *slog.Logger
}

// Authority signs with the state that its Store has. It is safe for concurrent use.
type Authority struct {
	cfg     Config
	current atomic.Pointer[prepared]
	ready   chan struct{}

	mu sync.Mutex // guards the order in which current is replaced, and goes with Update's load and save
}

// New makes an Authority. It has nothing to sign with until Run, or Update, has found a state.
func New(cfg Config) *Authority {
	if cfg.Backdate == 0 {
		cfg.Backdate = DefaultBackdate
	}
	if cfg.RefreshHint == 0 {
		cfg.RefreshHint = 5 * time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	a := &Authority{cfg: cfg, ready: make(chan struct{})}
	a.current.Store(prepare(&a.cfg, State{}))
	return a
}

// Run follows the Store until ctx ends, which is no error. When the Store has no state, Run makes the first one: of many who
// do so at once, one wins, and the others take what it has made. A Store that cannot be reached is tried again.
func (a *Authority) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wg.Go(func() {
		a.begin(ctx)
		wg.Go(func() { a.jwtKeys(ctx) })
		if o, ok := a.cfg.Store.(Offerer); ok {
			a.offers(ctx, o)
		}
	})
	return a.cfg.Store.Watch(ctx, func(s State, _ Version) {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.adopt(s)
	})
}

// Ready is closed when there is a state to sign with.
func (a *Authority) Ready() <-chan struct{} { return a.ready }

// State gives what is known now; the zero State before there is any. It is shared: do not change what it refers to.
func (a *Authority) State() State { return a.current.Load().state }

// Changed gives a channel that is closed when State is another.
func (a *Authority) Changed() <-chan struct{} { return a.current.Load().changed }

// Bundle gives what verifies the SVIDs of the trust domain: the roots and the JWT keys of all generations, with their sequence
// number and refresh hint. It is the caller's own.
func (a *Authority) Bundle() *spiffebundle.Bundle { return a.current.Load().bundle.Clone() }

// Update loads the state, has fn decide, and saves what it says; again when another one has saved meanwhile, so fn may be
// called several times. A state equal to the one loaded is not saved. It gives the state that is stored now.
func (a *Authority) Update(ctx context.Context, fn func(State) (State, error)) (State, error) {
	for {
		s, err := a.update(ctx, fn)
		if !errors.Is(err, ErrConflict) {
			return s, err
		}
		if ctx.Err() != nil {
			return State{}, fmt.Errorf("update authority: %w", ctx.Err())
		}
	}
}

func (a *Authority) update(ctx context.Context, fn func(State) (State, error)) (State, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old, version, err := a.cfg.Store.Load(ctx)
	if err != nil && !errors.Is(err, ErrNone) {
		return State{}, fmt.Errorf("update authority: %w", err)
	}
	s, err := fn(old.Clone())
	if err != nil {
		return State{}, err
	}
	if !Equal(old, s) {
		s.Revision = old.Revision + 1
		if _, err := a.cfg.Store.Save(ctx, s, version); err != nil {
			return State{}, fmt.Errorf("update authority: %w", err)
		}
	}
	a.adopt(s)
	return s, nil
}

// adopt makes s current; mu is held. A watch may still tell of a state that Update has already replaced: that is no news.
func (a *Authority) adopt(s State) {
	old := a.current.Load()
	if Equal(old.state, s) || s.Revision < old.state.Revision {
		return
	}
	p := prepare(&a.cfg, s)
	a.current.Store(p)
	close(old.changed)
	if len(s.Generations) > 0 {
		select {
		case <-a.ready:
		default:
			close(a.ready)
		}
	}
	if p.x509Err != nil {
		a.cfg.Log.Error("X.509-SVIDs cannot be signed here", "error", p.x509Err)
	}
	a.cfg.Log.Info("authority", "state", s)
}
