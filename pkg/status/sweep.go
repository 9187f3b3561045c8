package status

import (
	"context"
	"reflect"
	"time"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/table"
)

// sweepShare bounds what sweeps cost: after one that took d, the next comes no sooner than sweepShare·d.
const sweepShare = 20

// sweep looks at all objects whenever resolve or a client has said something, until ctx ends. What a client says is not
// kept by object, so everything is looked at; it costs microseconds an object.
func (t *term) sweep(ctx context.Context) {
	for ctx.Err() == nil {
		changed := t.w.cfg.Push.Changed()
		snap := t.w.cfg.Engine.Snapshot()
		start := time.Now()
		t.look(snap, start)
		pause(ctx, max(t.w.cfg.Sweep, sweepShare*time.Since(start)))
		select {
		case <-ctx.Done():
		case <-changed:
		case <-snap.Next():
		}
	}
}

// look brings all rows up to date.
func (t *term) look(snap *table.Snapshot, now time.Time) {
	if snap.Seq == 0 {
		return // nothing is known yet, which is not the same as nothing to say
	}
	t.mu.Lock()
	t.round++
	round := t.round
	t.mu.Unlock()
	t.w.cfg.Statuses.Range(snap, func(_ string, s *model.ObjectStatus) bool {
		if kick, followed := t.kick[groupKind(s.Ref)]; followed {
			t.lookAt(s, round, now, kick)
		}
		return true
	})
	t.mu.Lock()
	defer t.mu.Unlock()
	for ref, r := range t.rows {
		if r.round == round {
			continue
		}
		if r.status != nil {
			r.want, r.status, r.fate, r.since = nil, nil, push.OriginStatus{}, time.Time{}
			t.decide(ref, r, now)
		} else if round == 1 {
			t.decide(ref, r, now)
		}
		t.tidy(ref, r)
	}
}

// lookAt brings one row up to date.
func (t *term) lookAt(s *model.ObjectStatus, round uint64, now time.Time, kick chan<- struct{}) {
	fate := t.w.cfg.Push.For(s.Ref) // after the snapshot was taken: its resources are counted in
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gvks[groupKind(s.Ref)] == nil {
		select {
		case kick <- struct{}{}:
		default:
		}
	}
	r := t.rows[s.Ref]
	if r == nil {
		r = &row{}
		t.rows[s.Ref] = r
	}
	r.round = round
	if r.status == s && reflect.DeepEqual(r.fate, fate) {
		return
	}
	want := Join(s, fate)
	r.status, r.fate = s, fate
	if reflect.DeepEqual(r.want, want) && round > 1 {
		return
	}
	if (r.want == nil) != (want == nil) {
		r.since = time.Time{}
	}
	r.want = want
	t.decide(s.Ref, r, now)
}
