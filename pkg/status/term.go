package status

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/model"
)

// workers write at once; what bounds the load on the API server is the rate.
const workers = 4

// term is one leadership. What is known of an object comes from two sides: the barrier brings what is to be said, the
// watches bring what the API server has. Whichever changes puts the object into the queue.
type term struct {
	w     *Writer
	queue workqueue.TypedRateLimitingInterface[model.Ref]
	rate  *rate.Limiter
	kick  map[schema.GroupKind]chan struct{} // an object of a kind that is not watched yet

	mu     sync.Mutex // guards what follows
	rows   map[model.Ref]*row
	gvks   map[schema.GroupKind]*served
	looked bool                 // at everything, once
	told   map[model.Ref]string // conflicts that were logged
}

// row is one object.
type row struct {
	have *seen
	want *Final

	// What want was made of.
	status *model.ObjectStatus
	fate   barrier.Fate

	// since is when want was first found not to be final; zero when it is.
	since time.Time
}

func newTerm(w *Writer) *term {
	t := &term{
		w: w, rate: rate.NewLimiter(rate.Limit(w.cfg.Rate), w.cfg.Burst),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[model.Ref](w.cfg.RetryMin, w.cfg.RetryMax)),
		kick:  map[schema.GroupKind]chan struct{}{}, rows: map[model.Ref]*row{}, gvks: map[schema.GroupKind]*served{}, told: map[model.Ref]string{},
	}
	for _, gk := range kinds(w.cfg.Compat, w.cfg.Cilium) {
		t.kick[gk] = make(chan struct{}, 1)
	}
	return t
}

func (t *term) run(ctx context.Context) {
	var running sync.WaitGroup
	for gk, kick := range t.kick {
		running.Go(func() { t.watch(ctx, gk, kick) })
	}
	for range workers {
		running.Go(func() { t.work(ctx) })
	}
	t.follow(ctx)
	t.queue.ShutDown()
	running.Wait()
}

func groupKind(r model.Ref) schema.GroupKind { return schema.GroupKind{Group: r.Group, Kind: r.Kind} }

// observe notes what the API server has of an object; nil when it has none.
func (t *term) observe(ref model.Ref, s *seen) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.rows[ref]
	if s == nil {
		if r != nil {
			r.have = nil
			delete(t.told, ref)
			t.tidy(ref, r)
		}
		return
	}
	if r == nil {
		r = &row{}
		t.rows[ref] = r
	}
	if !s.newer(r.have) {
		return
	}
	was := r.have
	r.have = s
	if s.same(was) || r.want == nil && !t.looked {
		return // nothing new, or nobody knows yet what is to be said
	}
	t.decide(ref, r, time.Now())
}

// tidy forgets a row of which neither side knows.
func (t *term) tidy(ref model.Ref, r *row) {
	if r.have == nil && r.want == nil && r.status == nil {
		delete(t.rows, ref)
	}
}

// decide puts an object into the queue, at once or when its grace has passed. The caller holds mu.
func (t *term) decide(ref model.Ref, r *row, now time.Time) {
	left := t.remaining(r, now)
	if r.have == nil || r.want == nil && !t.ours(ref, r.have) {
		return
	}
	if left > 0 {
		t.queue.AddAfter(ref, left)
	} else {
		t.queue.Add(ref)
	}
}

// remaining is how long an object is not written yet because something better may come. The caller holds mu.
func (t *term) remaining(r *row, now time.Time) time.Duration {
	grace := t.grace(r)
	if grace == 0 {
		r.since = time.Time{}
		return 0
	}
	if r.since.IsZero() {
		r.since = now
	}
	return max(0, r.since.Add(grace).Sub(now))
}

// grace is how long the present verdict may still be replaced by a better one.
func (t *term) grace(r *row) time.Duration {
	switch {
	case r.want != nil && r.want.Wait == Settled:
		return 0
	case r.want != nil && r.want.Wait >= Joining && judged(r.have, r.want.Generation):
		return t.w.cfg.Absent
	}
	return t.w.cfg.Settle
}

// ours tells whether a status that nothing is to be said in still has something of ours.
func (t *term) ours(ref model.Ref, have *seen) bool {
	if shapeOf(ref) == routeShape {
		ours, _ := have.parents(t.w.cfg.Controller)
		return len(ours) > 0
	}
	return len(have.fields()) > 0
}

// judged tells whether the status says already, of this generation, if the Envoys took it.
func judged(s *seen, generation int64) bool {
	if s == nil {
		return false
	}
	lists := [][]any{s.conditions()}
	parents, _ := s.status["parents"].([]any)
	for _, p := range parents {
		if m, ok := p.(map[string]any); ok {
			list, _ := m["conditions"].([]any)
			lists = append(lists, list)
		}
	}
	for _, list := range lists {
		for _, kind := range []string{ConditionProgrammed, ConditionRouteProgrammed} {
			if c, ok := item(list, "type", kind); ok && c["status"] != "Unknown" && c["observedGeneration"] == generation {
				return true
			}
		}
	}
	return false
}
