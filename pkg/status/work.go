package status

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"fairlead.io/fairlead/pkg/model"
)

// writeTimeout bounds one request.
const writeTimeout = 30 * time.Second

// work takes objects from the queue until it is shut down. The queue is in order of arrival and has each object once, so a
// storm over some objects delays the others, and never beyond one turn.
func (t *term) work(ctx context.Context) {
	for {
		ref, shutdown := t.queue.Get()
		if shutdown {
			return
		}
		t.w.metrics.queue.Set(float64(t.queue.Len()))
		t.write(ctx, ref)
		t.queue.Done(ref)
	}
}

// write brings one object's status up to date, if it is not.
func (t *term) write(ctx context.Context, ref model.Ref) {
	j := t.due(ref)
	if j == nil {
		t.queue.Forget(ref)
		return
	}
	if t.rate.Wait(ctx) != nil {
		return // the term ends
	}
	if j = t.due(ref); j == nil { // what has changed during the wait is written too
		t.queue.Forget(ref)
		return
	}
	request, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	o := metav1.ApplyOptions{FieldManager: FieldManager, Force: j.force}
	got, err := j.to.client.Namespace(ref.Namespace).ApplyStatus(request, ref.Name, j.patch, o)
	switch {
	case err == nil:
		t.w.metrics.writes.WithLabelValues(ref.Kind).Inc()
		t.queue.Forget(ref)
		t.observe(ref, look(got))
	case ctx.Err() == nil:
		t.failed(ref, j, err)
	}
}

// job is one write: what is applied to an object that was seen as have.
type job struct {
	to    *served
	have  *seen
	patch *unstructured.Unstructured
	force bool
}

// due gives what is to be applied to an object; nil when nothing is.
func (t *term) due(ref model.Ref) *job {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	r, s := t.rows[ref], t.gvks[groupKind(ref)]
	if r == nil || s == nil || r.have == nil || r.want == nil && !t.looked {
		return nil
	}
	if left := t.remaining(r, now); left > 0 {
		t.decide(ref, r, now)
		return nil
	}
	// Ours by its class, its group, or its controllerName; others may write the rest, and what they wrote stands.
	j := &job{to: s, have: r.have, force: !foreign(ref)}
	kind, version := shapeOf(ref), ""
	var status map[string]any
	switch {
	case r.want != nil:
		if r.want.UID != "" && r.want.UID != r.have.uid {
			return nil // one side has not seen yet that the object was made anew
		}
		status = render(r.want, r.have, t.w.cfg.Controller, now)
		if !differs(kind, status, r.have, t.w.cfg.Controller) {
			return nil
		}
	case !t.ours(ref, r.have):
		return nil
	case kind == routeShape:
		_, others := r.have.parents(t.w.cfg.Controller)
		status = map[string]any{"parents": append([]any{}, others...)}
	}
	if kind == routeShape {
		version = r.have.version // the list of parents is one value, and not ours alone
	}
	j.patch = patch(s.gvk, ref, r.have.uid, version, status)
	return j
}

// failed plans what to do about a write that the API server did not take.
func (t *term) failed(ref model.Ref, j *job, err error) {
	reason := string(apierrors.ReasonForError(err))
	defer func() { t.w.metrics.errors.WithLabelValues(ref.Kind, reason).Inc() }()
	switch {
	case apierrors.IsNotFound(err):
		t.queue.Forget(ref)
		t.forget(ref, j.have)
		return
	case apierrors.HasStatusCause(err, metav1.CauseTypeFieldManagerConflict):
		reason = string(metav1.CauseTypeFieldManagerConflict)
		t.queue.Forget(ref) // until either side changes
		t.tell(ref, err)
		return
	case apierrors.IsConflict(err):
		// It has changed meanwhile, and the watch brings the change.
	case utilnet.IsConnectionRefused(err) || reason == "":
		reason = "Unreachable"
		t.w.cfg.Log.Debug("cannot write a status: the API server is away; trying again", "object", ref.String(), "error", err)
	default:
		t.w.cfg.Log.Warn("cannot write a status; trying again", "object", ref.String(), "group", ref.Group, "error", err)
	}
	if seconds, ok := apierrors.SuggestsClientDelay(err); ok && seconds > 0 {
		t.queue.AddAfter(ref, time.Duration(seconds)*time.Second)
		return
	}
	t.queue.AddRateLimited(ref)
}

// forget drops an object that is not there; a namesake that was made meanwhile has another seen.
func (t *term) forget(ref model.Ref, have *seen) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if r := t.rows[ref]; r != nil && r.have == have {
		r.have = nil
		t.tidy(ref, r)
	}
}

// tell logs once that a status is another controller's.
func (t *term) tell(ref model.Ref, err error) {
	t.mu.Lock()
	again := t.told[ref] == err.Error()
	t.told[ref] = err.Error()
	t.mu.Unlock()
	if !again {
		t.w.cfg.Log.Warn("left a status to the controller that wrote it", "object", ref.String(), "group", ref.Group, "error", err)
	}
}
