package authority

import (
	"context"
	"time"
)

const (
	// settleAfter is longer than kubelets take, one after the other, to bring a changed Secret into the pods that mount it: a sync
	// period of a minute, and a cache of up to a minute.
	settleAfter = 3 * time.Minute
	// retryAfter is how long a store that cannot be reached is left alone.
	retryAfter = 5 * time.Second
	// jwtLook is how often it is looked whether the keys of JWT-SVIDs want to be rotated.
	jwtLook = 10 * time.Minute
)

// begin makes sure that there is a first state: that which is mounted, or a generated one. It waits for what cannot be had yet.
func (a *Authority) begin(ctx context.Context) {
	for a.logged(ctx, "begin", a.first(ctx)) != nil {
		var changed <-chan struct{}
		if o, ok := a.cfg.Store.(Offerer); ok {
			_, changed, _ = o.Offered()
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(retryAfter):
		}
	}
}

// first makes the first state where there is none.
func (a *Authority) first(ctx context.Context) error {
	_, err := a.Update(ctx, func(s State) (State, error) {
		if len(s.Generations) > 0 {
			return s, nil
		}
		g, err := a.newGeneration()
		if err != nil {
			return s, err
		}
		return First(g, a.cfg.Now())
	})
	return err
}

func (a *Authority) newGeneration() (Generation, error) {
	if o, ok := a.cfg.Store.(Offerer); ok {
		g, _, err := o.Offered()
		return g, err
	}
	return Generate(a.cfg.TrustDomain, a.cfg.Now())
}

// logged says what went wrong, once, and gives it back.
func (a *Authority) logged(ctx context.Context, what string, err error) error {
	if err != nil && ctx.Err() == nil {
		a.cfg.Log.Error("cannot "+what+" with the authority: it is tried again", "error", err)
	}
	return err
}

// offers merges what is mounted whenever it, or the state, is another.
func (a *Authority) offers(ctx context.Context, from Offerer) {
	var since time.Time // when the difference that wants to be settled was first seen
	for {
		g, offered, err := from.Offered()
		changed := a.Changed()
		var wait <-chan time.Time
		if err == nil && len(a.State().Generations) > 0 {
			now := a.cfg.Now()
			due := since.IsZero() || now.Sub(since) < settleAfter
			err = a.offer(ctx, g, !due)
			switch settled, e := Offer(a.State(), g, true, now); {
			case err != nil:
				wait = time.After(retryAfter)
			case e != nil || Equal(settled, a.State()):
				since = time.Time{}
			case since.IsZero():
				since = now
				fallthrough
			default:
				wait = time.After(max(since.Add(settleAfter).Sub(now), retryAfter))
			}
			_ = a.logged(ctx, "merge what is mounted", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-offered:
			since = time.Time{}
		case <-changed:
		case <-wait:
		}
	}
}

// offer merges g, and asks the store only when that makes a difference.
func (a *Authority) offer(ctx context.Context, g Generation, settled bool) error {
	merge := func(s State) (State, error) { return Offer(s, g, settled, a.cfg.Now()) }
	if s, err := merge(a.State()); err != nil || Equal(s, a.State()) {
		return err
	}
	s, err := a.Update(ctx, merge)
	if err == nil {
		a.cfg.Log.Info("what is mounted was merged", "generation", g, "signing", s.Signing)
	}
	return err
}

// jwtKeys rotates the keys of JWT-SVIDs when it is time. All replicas look, and the first one saves.
func (a *Authority) jwtKeys(ctx context.Context) {
	for {
		rotate := func(s State) (State, error) { return RotateJWT(s, a.cfg.Now()) }
		if s, err := rotate(a.State()); err != nil || !Equal(s, a.State()) {
			if err == nil {
				_, err = a.Update(ctx, rotate)
			}
			_ = a.logged(ctx, "rotate JWT keys", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(jwtLook):
		}
	}
}
