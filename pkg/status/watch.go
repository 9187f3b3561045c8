package status

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"

	"fairlead.io/fairlead/pkg/model"
)

// unserved is how long a kind that no API server knew is left alone, unless an object of it turns up.
const unserved = 30 * time.Second

// served is a kind as the API server serves it.
type served struct {
	gvk    schema.GroupVersionKind
	client dynamic.NamespaceableResourceInterface
}

// watch follows one kind until ctx ends, in the version that the API server prefers.
func (t *term) watch(ctx context.Context, gk schema.GroupKind, kick <-chan struct{}) {
	for ctx.Err() == nil {
		mapping, err := t.w.mapper.RESTMapping(gk)
		if err != nil {
			if !meta.IsNoMatchError(err) {
				t.w.cfg.Log.Warn("cannot find the version of a kind; trying again", "kind", gk, "error", err)
			}
			t.absent(ctx, kick)
			continue
		}
		s := &served{gvk: mapping.GroupVersionKind, client: t.w.dynamic.Resource(mapping.Resource)}
		t.serve(gk, s)
		t.reflect(ctx, s)
		t.serve(gk, nil)
		if ctx.Err() == nil {
			t.w.mapper.Reset()
			pause(ctx, time.Second)
		}
	}
}

// absent waits until a kind may have appeared.
func (t *term) absent(ctx context.Context, kick <-chan struct{}) {
	timer := time.NewTimer(unserved)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-kick:
		pause(ctx, time.Second) // objects of it are seen many times before its discovery has caught up
	case <-timer.C:
	}
	t.w.mapper.Reset()
}

func (t *term) serve(gk schema.GroupKind, s *served) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.gvks[gk] = s
}

// reflect keeps the rows of a kind up to date until ctx ends or the version is gone.
func (t *term) reflect(ctx context.Context, s *served) {
	ctx, gone := context.WithCancel(ctx)
	defer gone()
	check := func(err error) {
		switch {
		case err == nil || ctx.Err() != nil:
		case apierrors.IsNotFound(err):
			gone()
		default:
			t.w.cfg.Log.Warn("cannot read statuses; trying again", "kind", s.gvk.Kind, "group", s.gvk.Group, "error", err)
		}
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			l, err := s.client.List(ctx, o)
			check(err)
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := s.client.Watch(ctx, o)
			check(err)
			return w, err
		},
	}
	logger := logr.FromSlogHandler(t.w.cfg.Log.Handler())
	store := &store{term: t, gk: s.gvk.GroupKind(), known: map[model.Ref]struct{}{}}
	cache.NewReflectorWithOptions(lw, &unstructured.Unstructured{}, store, cache.ReflectorOptions{
		Logger: &logger, Name: "status of " + s.gvk.Kind + "." + s.gvk.Group,
		Backoff: &wait.Backoff{Duration: 200 * time.Millisecond, Cap: 5 * time.Second, Steps: 6, Factor: 2, Jitter: 0.5},
	}).RunWithContext(ctx)
	_ = store.Replace(nil, "")
}

// store is what a reflector fills. Only its reflector calls it.
type store struct {
	term  *term
	gk    schema.GroupKind
	known map[model.Ref]struct{}
}

func (s *store) ref(obj any) (model.Ref, *unstructured.Unstructured, error) {
	u, ok := obj.(*unstructured.Unstructured)
	if !ok {
		return model.Ref{}, nil, fmt.Errorf("read status: it is a %T", obj)
	}
	return model.Ref{Group: s.gk.Group, Kind: s.gk.Kind, Namespace: u.GetNamespace(), Name: u.GetName()}, u, nil
}

// Add implements cache.ReflectorStore.
func (s *store) Add(obj any) error {
	ref, u, err := s.ref(obj)
	if err == nil {
		s.known[ref] = struct{}{}
		s.term.observe(ref, look(u))
	}
	return err
}

// Update implements cache.ReflectorStore.
func (s *store) Update(obj any) error { return s.Add(obj) }

// Delete implements cache.ReflectorStore.
func (s *store) Delete(obj any) error {
	ref, _, err := s.ref(obj)
	if err == nil {
		delete(s.known, ref)
		s.term.observe(ref, nil)
	}
	return err
}

// Replace implements cache.ReflectorStore.
func (s *store) Replace(list []any, _ string) error {
	there := make(map[model.Ref]struct{}, len(list))
	for _, obj := range list {
		ref, _, err := s.ref(obj)
		if err != nil {
			return err
		}
		there[ref] = struct{}{}
		if err := s.Add(obj); err != nil {
			return err
		}
	}
	for ref := range s.known {
		if _, ok := there[ref]; !ok {
			delete(s.known, ref)
			s.term.observe(ref, nil)
		}
	}
	return nil
}

// Resync implements cache.ReflectorStore.
func (s *store) Resync() error { return nil }
