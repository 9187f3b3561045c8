package status

import (
	"context"
	"reflect"
	"time"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/model"
)

// follow looks at whatever changes, and at everything first, until ctx ends.
func (t *term) follow(ctx context.Context) {
	w := t.w.cfg.Watch()
	defer w.Close()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.Changed():
		}
		if !t.w.cfg.View.Ready() {
			continue // nothing is known yet, which is not the same as nothing to say
		}
		refs, all := w.Take()
		if all {
			refs = t.everything()
		}
		for _, ref := range refs {
			t.look(ref, time.Now())
		}
		if all {
			t.first(time.Now())
		}
		pause(ctx, t.w.cfg.Gap)
	}
}

// everything lists the objects that something is said of, or was.
func (t *term) everything() []model.Ref {
	refs := t.w.cfg.View.Refs()
	there := make(map[model.Ref]struct{}, len(refs))
	for _, ref := range refs {
		there[ref] = struct{}{}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for ref, r := range t.rows {
		if _, ok := there[ref]; !ok && r.status != nil {
			refs = append(refs, ref)
		}
	}
	return refs
}

// first, after the first look at everything, gives up what the API server has of us and nothing is said of.
func (t *term) first(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.looked {
		return
	}
	t.looked = true
	for ref, r := range t.rows {
		if r.want == nil {
			t.decide(ref, r, now)
		}
	}
}

// look brings one row up to date.
func (t *term) look(ref model.Ref, now time.Time) {
	kick, followed := t.kick[groupKind(ref)]
	if !followed {
		return
	}
	s, fate := t.w.cfg.View.Get(ref)
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rows[ref]
	if s == nil {
		if r != nil && r.status != nil {
			r.want, r.status, r.fate, r.since = nil, nil, barrier.Fate{}, time.Time{}
			t.decide(ref, r, now)
			t.tidy(ref, r)
		}
		return
	}
	if t.gvks[groupKind(ref)] == nil {
		select {
		case kick <- struct{}{}:
		default:
		}
	}
	if r == nil {
		r = &row{}
		t.rows[ref] = r
	}
	if r.status == s && reflect.DeepEqual(r.fate, fate) {
		return
	}
	want := Join(s, fate)
	r.status, r.fate = s, fate
	if reflect.DeepEqual(r.want, want) {
		return
	}
	if (r.want == nil) != (want == nil) {
		r.since = time.Time{}
	}
	r.want = want
	t.decide(ref, r, now)
}
