package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"time"

	apiextv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"fairlead.io/fairlead/pkg/source/convert"
)

const definitionsName = "CustomResourceDefinition.apiextensions.k8s.io"

func definitionsResource() schema.GroupVersionResource {
	return apiextv1.SchemeGroupVersion.WithResource("customresourcedefinitions")
}

// definitions follows the CustomResourceDefinitions by their metadata, and runs a reflector for each kind that is there.
// It is the store of the reflector of definitions.
type definitions struct {
	source *Source
	kinds  map[string]convert.Kind // by the name of their definition
	wake   chan struct{}

	mu     sync.Mutex
	listed bool
	seen   uint64            // all definitions up to this resourceVersion are in there
	there  map[string]string // resourceVersion of the definitions among kinds

	// Only run touches these.
	handled map[string]string
	readers map[string]*reader
}

// reader is a custom kind that is being read.
type reader struct {
	version string
	mirror  *mirror
	stop    context.CancelFunc
	stopped chan struct{}
}

func newDefinitions(s *Source) *definitions {
	d := &definitions{
		source: s, kinds: map[string]convert.Kind{}, wake: make(chan struct{}, 1),
		there: map[string]string{}, handled: map[string]string{}, readers: map[string]*reader{},
	}
	for _, k := range s.kinds() {
		d.kinds[k.CRD()] = k
	}
	return d
}

func (d *definitions) listWatch() *cache.ListWatch {
	client := d.source.metadata.Resource(definitionsResource())
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return client.Watch(ctx, o)
		},
	}
}

// Add implements cache.ReflectorStore.
func (d *definitions) Add(obj any) error { return d.change(obj, false) }

// Update implements cache.ReflectorStore.
func (d *definitions) Update(obj any) error { return d.change(obj, false) }

// Delete implements cache.ReflectorStore.
func (d *definitions) Delete(obj any) error { return d.change(obj, true) }

// Resync implements cache.ReflectorStore.
func (d *definitions) Resync() error { return nil }

func (d *definitions) change(obj any, gone bool) error {
	name, version, err := keyOf(obj)
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.seen = max(d.seen, position(version))
	if _, ours := d.kinds[name]; ours {
		if gone {
			delete(d.there, name)
		} else {
			d.there[name] = version
		}
	}
	d.mu.Unlock()
	d.notify()
	return nil
}

// Bookmark implements cache.ReflectorBookmarkStore: nothing changed up to this version.
func (d *definitions) Bookmark(version string) error {
	d.mu.Lock()
	d.seen = max(d.seen, position(version))
	d.mu.Unlock()
	d.notify()
	return nil
}

// Replace implements cache.ReflectorStore.
func (d *definitions) Replace(list []any, version string) error {
	there := map[string]string{}
	for _, obj := range list {
		name, version, err := keyOf(obj)
		if err != nil {
			return err
		}
		if _, ours := d.kinds[name]; ours {
			there[name] = version
		}
	}
	d.mu.Lock()
	d.there, d.listed, d.seen = there, true, position(version)
	d.mu.Unlock()
	d.notify()
	return nil
}

// reached implements provable.
func (d *definitions) reached() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen
}

// prove implements provable, as mirror.prove.
func (d *definitions) prove(list map[string]uint64, at uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.seen >= at {
		return true
	}
	for _, position := range list {
		if position > d.seen {
			return false
		}
	}
	for name := range d.there {
		if _, is := list[name]; !is {
			return false
		}
	}
	d.seen = at
	d.notify()
	return true
}

func (d *definitions) notify() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run starts and stops readers as definitions come and go.
func (d *definitions) run(ctx context.Context) {
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		case <-retry.C:
		}
		d.mu.Lock()
		there, listed, seen := maps.Clone(d.there), d.listed, d.seen
		d.mu.Unlock()
		complete := true
		for name, k := range d.kinds {
			if version, is := there[name]; is {
				complete = d.present(ctx, name, k, version) && complete
			} else {
				d.absent(name)
			}
		}
		if !complete {
			retry.Reset(time.Second)
		} else if listed {
			// Not before: the readers that these definitions ask for are expected by now.
			d.source.queue.push(progress{name: definitionsName, position: seen, listed: true})
		}
	}
}

// present reads a definition that is new or has changed, and starts a reader of the best version that it serves. It gives
// false when the definition could not be read.
func (d *definitions) present(ctx context.Context, name string, k convert.Kind, resourceVersion string) bool {
	if d.handled[name] == resourceVersion {
		return true
	}
	version, err := d.served(ctx, name, k)
	if apierrors.IsNotFound(err) {
		return true // its deletion is on the way
	}
	if err != nil {
		if ctx.Err() == nil {
			d.source.log.Warn("cannot read a definition; trying again", "definition", name, "error", err)
		}
		return false
	}
	d.handled[name] = resourceVersion
	switch r := d.readers[name]; {
	case version == "":
		d.absent(name)
		d.handled[name] = resourceVersion
	case r == nil:
		d.start(ctx, name, k, version, newMirror(k.Group, k.Kind, d.source.queue, converter(k, version)))
	case r.version != version:
		r.stop()
		<-r.stopped
		r.mirror.convert = converter(k, version)
		d.start(ctx, name, k, version, r.mirror)
	}
	return true
}

// served gives the version to read: the first of the kind's that is served, or "" when there is none yet.
func (d *definitions) served(ctx context.Context, name string, k convert.Kind) (string, error) {
	u, err := d.source.dynamic.Resource(definitionsResource()).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	data, err := json.Marshal(u.Object)
	if err != nil {
		return "", fmt.Errorf("write definition as JSON: %w", err)
	}
	// Not the whole type: its schemas are large, and not read.
	var crd struct {
		Spec struct {
			Versions []struct {
				Name   string
				Served bool
			}
		}
		Status struct {
			Conditions []apiextv1.CustomResourceDefinitionCondition
		}
	}
	if err := json.Unmarshal(data, &crd); err != nil {
		return "", fmt.Errorf("read definition: %w", err)
	}
	established := false
	for _, c := range crd.Status.Conditions {
		established = established || c.Type == apiextv1.Established && c.Status == apiextv1.ConditionTrue
	}
	if !established {
		return "", nil // its status will change, and come by here
	}
	for _, want := range k.Versions {
		for _, v := range crd.Spec.Versions {
			if v.Name == want && v.Served {
				return want, nil
			}
		}
	}
	d.source.log.Warn("a definition serves no version that is known; its objects are not read", "definition", name, "known", k.Versions)
	return "", nil
}

func (d *definitions) start(ctx context.Context, name string, k convert.Kind, version string, m *mirror) {
	ctx, cancel := context.WithCancel(ctx)
	r := &reader{version: version, mirror: m, stop: cancel, stopped: make(chan struct{})}
	d.readers[name] = r
	d.source.queue.expect(m.name())
	from := listed{schema.GroupVersionResource{Group: k.Group, Version: version, Resource: k.Resource}, fields.Everything()}
	client := d.source.dynamic.Resource(from.resource)
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return client.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return client.Watch(ctx, o)
		},
	}
	d.source.log.Info("read custom kind", "definition", name, "version", version)
	d.source.running.Go(func() {
		defer close(r.stopped)
		d.source.reflect(ctx, name, from, lw, &unstructured.Unstructured{}, m)
	})
}

// absent ends the reader of a kind and deletes its objects.
func (d *definitions) absent(name string) {
	delete(d.handled, name)
	r := d.readers[name]
	if r == nil {
		return
	}
	delete(d.readers, name)
	r.stop()
	<-r.stopped
	r.mirror.drop()
	d.source.log.Info("custom kind is gone", "definition", name)
}

func converter(k convert.Kind, version string) func(any) (any, error) {
	return func(obj any) (any, error) {
		u, ok := obj.(*unstructured.Unstructured)
		if !ok {
			return nil, fmt.Errorf("convert object: it is a %T", obj)
		}
		delete(u.Object, "status")
		unstructured.RemoveNestedField(u.Object, "metadata", "managedFields")
		data, err := json.Marshal(u.Object)
		if err != nil {
			return nil, fmt.Errorf("convert object: %w", err)
		}
		out, _ := k.Object(version, data)
		return out, nil
	}
}
