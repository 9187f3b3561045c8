// Package rotate replaces the authority of a trust domain without a failed handshake, in stages that everybody can see:
//
//	Stable ─► Distributing ─────────────► Retiring ──────────────► Stable
//	          the new one is trusted,     the new one signs,       the old one is
//	          the old one signs;          the old one is trusted   dropped
//	          all nodes acknowledge       until its certificates
//	               │ abort                have ended
//	               ▼                           │ abort
//	             Stable                        ▼
//	                                      Withdrawing: the same with the old one ─► Stable
//
// See package ca for the line on which it stands. The stage is part of the authority's State in its Store, so whichever replica
// leads goes on where another one stopped, and a command may be given to any replica.
package rotate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/model"
)

// Authority is what a Machine asks of the authority (*authority.Authority).
type Authority interface {
	// State is the newest one that this replica has read; Changed gives a channel that is closed at the next.
	State() authority.State
	Changed() <-chan struct{}
	// Update loads the state, has it made another, and saves that; again when another replica was faster. An error of fn
	// ends it.
	Update(ctx context.Context, fn func(authority.State) (authority.State, error)) (authority.State, error)
}

// Barrier tells who has acknowledged an object, over all replicas (*barrier.Barrier).
type Barrier interface {
	Census(refs []model.Ref, generation int64) barrier.Census
	Changed() <-chan struct{}
}

// Config is what a Machine needs. Authority, Barrier, TrustDomain and LongestTTL are required.
type Config struct {
	Authority Authority
	Barrier   Barrier
	// TrustDomain and its Aliases are those whose bundles are waited for.
	TrustDomain spiffeid.TrustDomain
	Aliases     []spiffeid.TrustDomain
	// Generate makes a new authority; authority.Generate when nil.
	Generate func(now time.Time) (authority.Generation, error)
	// Leads tells whether this replica is the one that takes steps; nil is always.
	Leads func() bool
	// LongestTTL is the longest that a certificate is valid, LongestJWT a token (default 1 h), Skew how far clocks are apart
	// (default 5 min): an authority is trusted for that long after it has signed for the last time, and so is a key of
	// JWT-SVIDs.
	LongestTTL, LongestJWT, Skew time.Duration
	// Away is how long a node that has gone is waited for. Default 1 h.
	Away time.Duration
	// Remains is the part of an authority's life at whose beginning it is replaced by itself: 0.2 when not set; negative is
	// never. What is mounted is not replaced.
	Remains float64
	// Roster remembers over restarts which nodes there are; nil forgets them, and after a start no node is known to be
	// away, so a rotation waits for Away first.
	Roster Roster
	// StoreErr is why the authority's store could not be read or written when that was last tried; nil is never.
	StoreErr func() error
	// Tell is called for each transition that this replica makes, with its reason; nil is nobody.
	Tell func(reason, message string)
	// Poll is how often Leads, the clock and the barrier are looked at. Default 1 s.
	Poll time.Duration

	Now      func() time.Time
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// Machine is one replica's hand on the rotation. It is safe for concurrent use.
type Machine struct {
	cfg     Config
	log     *slog.Logger
	metrics *metrics
	refs    []model.Ref
	seen    *seen
}

// New makes a Machine. It takes no step until Run.
func New(cfg Config) *Machine {
	setDefault(&cfg.Skew, 5*time.Minute)
	setDefault(&cfg.LongestJWT, time.Hour)
	setDefault(&cfg.Away, time.Hour)
	setDefault(&cfg.Remains, 0.2)
	setDefault(&cfg.Poll, time.Second)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Generate == nil {
		cfg.Generate = func(now time.Time) (authority.Generation, error) { return authority.Generate(cfg.TrustDomain, now) }
	}
	if cfg.StoreErr == nil {
		cfg.StoreErr = func() error { return nil }
	}
	if cfg.Leads == nil {
		cfg.Leads = func() bool { return true }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Machine{cfg: cfg, log: cfg.Log.With("part", "rotate"), metrics: newMetrics(cfg.Registry)}
	for _, td := range append([]spiffeid.TrustDomain{cfg.TrustDomain}, cfg.Aliases...) {
		m.refs = append(m.refs, model.TrustBundleRef(td.Name()))
	}
	m.seen = newSeen(cfg.Away, cfg.Now())
	return m
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// errMoved says that the state is not the one that a step was decided on.
var errMoved = errors.New("the rotation has moved on meanwhile")

// Run takes steps, whenever this replica leads, until ctx ends, which is no error.
func (m *Machine) Run(ctx context.Context) error {
	m.recallFirst(ctx)
	for ctx.Err() == nil {
		changed, moved := m.cfg.Authority.Changed(), m.cfg.Barrier.Changed()
		took, err := m.step(ctx)
		if err != nil && !errors.Is(err, errMoved) && ctx.Err() == nil {
			m.log.Warn("cannot go on with the rotation; trying again", "error", err)
		}
		if took {
			continue
		}
		// The barrier moves with every acknowledgement of anything.
		pauseFor(ctx, min(m.cfg.Poll, 50*time.Millisecond))
		t := time.NewTimer(m.cfg.Poll)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-moved:
		case <-t.C:
		}
		t.Stop()
	}
	return nil
}

func pauseFor(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// step looks once, and takes at most one step.
func (m *Machine) step(ctx context.Context) (took bool, err error) {
	now, s := m.cfg.Now(), m.cfg.Authority.State()
	census := m.cfg.Barrier.Census(m.refs, int64(s.Sequence))
	waits := m.waits(&s, &census, now)
	m.metrics.set(&s, waits, now, m.cfg.StoreErr())
	if !m.cfg.Leads() {
		return false, m.remember(ctx, now, false)
	}
	next, reason, message := m.decide(&s, &census, waits, now)
	if err := m.remember(ctx, now, next != nil); err != nil || next == nil {
		return false, err // who is away must be known to whoever goes on
	}
	return m.take(ctx, &s, next, reason, message)
}

// transition is one step of a state.
type transition func(authority.State) (authority.State, error)

// decide finds the step that is due; nil when there is none.
func (m *Machine) decide(s *authority.State, census *barrier.Census, waits []Waiting, now time.Time) (next transition, reason, message string) {
	r := s.Rotation
	switch r.Stage {
	case authority.Stable:
		return m.due(s, now)
	case authority.Distributing:
		if r.Paused || len(waits) > 0 {
			return nil, "", ""
		}
		message = fmt.Sprintf("every node trusts authority %s: it signs from now on", r.To)
		return func(s authority.State) (authority.State, error) { return switchOver(s, now) }, ReasonAcknowledged, message
	case authority.Retiring, authority.Withdrawing:
		if r.Retire.IsZero() {
			if len(census.Replicas) > 0 || !census.Known {
				return nil, "", ""
			}
			hold := m.cfg.LongestTTL + m.cfg.Skew
			message = fmt.Sprintf("no replica signs with authority %s any more: it is dropped in %s", r.From, hold)
			return func(s authority.State) (authority.State, error) {
				return settle(s, m.cfg.Now(), hold, m.cfg.LongestJWT+m.cfg.Skew)
			}, ReasonSwitched, message
		}
		if r.Paused || now.Before(r.Retire) {
			return nil, "", ""
		}
		reason, message = ReasonRetired, fmt.Sprintf("authority %s is dropped: its last certificate has ended", r.From)
		if r.Stage == authority.Withdrawing {
			reason = ReasonWithdrawn
		}
		return func(s authority.State) (authority.State, error) { return retire(s, now) }, reason, message
	}
	return nil, "", ""
}

// due begins a rotation by itself: to what was mounted, or because the authority nears its end.
func (m *Machine) due(s *authority.State, now time.Time) (next transition, reason, message string) {
	signing := generation(s, s.Signing)
	if signing == nil {
		return nil, "", "" // the first authority is not ours to make
	}
	if g := mounted(s, now); g != nil {
		return m.beginning(*g, nil, now), ReasonMounted, fmt.Sprintf("authority %s was mounted, and replaces %s", g.ID, s.Signing)
	}
	if !m.nearsEnd(signing, now) {
		return nil, "", ""
	}
	if signing.Source != authority.Generated {
		m.metrics.ends.Set(1)
		return nil, "", ""
	}
	g, err := m.cfg.Generate(now)
	if err != nil {
		m.log.Error("cannot make a new authority", "error", err)
		return nil, "", ""
	}
	return m.beginning(g, nil, now), ReasonNearsEnd,
		fmt.Sprintf("authority %s ends at %s; %s replaces it", s.Signing, signing.Issuer.NotAfter.UTC().Format(time.RFC3339), g.ID)
}

// mounted is the newest authority that was mounted and does not sign; nil when there is none that could.
func mounted(s *authority.State, now time.Time) *authority.Generation {
	for i := range slices.Backward(s.Generations) {
		g := &s.Generations[i]
		if g.Source == authority.Mounted && g.ID != s.Signing && !slices.Contains(s.Declined, g.ID) && signs(s, g.ID, now) == nil {
			return g
		}
	}
	return nil
}

// nearsEnd tells whether an authority is in the last part of its life.
func (m *Machine) nearsEnd(g *authority.Generation, now time.Time) bool {
	life := g.Issuer.NotAfter.Sub(g.Issuer.NotBefore)
	return m.cfg.Remains > 0 && g.Issuer.NotAfter.Sub(now) < time.Duration(float64(life)*m.cfg.Remains)
}

// beginning is the step that begins a rotation. JWT-SVIDs get a new key with it.
func (m *Machine) beginning(g authority.Generation, without []string, now time.Time) transition {
	return func(s authority.State) (authority.State, error) {
		var jwt *authority.JWTKey
		if len(s.JWT) > 0 {
			k, err := authority.GenerateJWTKey(now)
			if err != nil {
				return s, err
			}
			jwt = &k
		}
		return begin(s, g, jwt, without, now)
	}
}

// take makes a step of the state that it was decided on, and of no other.
func (m *Machine) take(ctx context.Context, on *authority.State, next transition, reason, message string) (bool, error) {
	_, err := m.cfg.Authority.Update(ctx, func(s authority.State) (authority.State, error) {
		if s.Sequence != on.Sequence || s.Signing != on.Signing || !sameRotation(s.Rotation, on.Rotation) || !m.cfg.Leads() {
			return s, errMoved
		}
		return next(s)
	})
	if err != nil {
		return false, err
	}
	m.told(reason, message)
	return true, nil
}

func sameRotation(a, b authority.Rotation) bool {
	return a.Stage == b.Stage && a.From == b.From && a.To == b.To && a.Paused == b.Paused && a.Since.Equal(b.Since) &&
		a.Retire.Equal(b.Retire) && slices.Equal(a.Without, b.Without)
}

func (m *Machine) told(reason, message string) {
	m.log.Info(message, "reason", reason)
	m.metrics.transitions.WithLabelValues(reason).Inc()
	if m.cfg.Tell != nil {
		m.cfg.Tell(reason, message)
	}
}
