package integration_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

const (
	soakServices = 100
	soakEvery    = 20 * time.Millisecond // between two changes
)

// soakWorld is a namespace of Services, each with an EndpointSlice and a VirtualService, that changes. Its endpoints are
// nowhere.
type soakWorld struct {
	t                       *testing.T
	namespace               string
	services, slices, rules dynamic.ResourceInterface
	changes                 atomic.Int64
	fences                  int

	mu    sync.Mutex // guards what follows
	extra []string   // Services that come and go, oldest first
	made  int
}

func newSoakWorld(t *testing.T, c *cluster) *soakWorld {
	t.Helper()
	w := &soakWorld{t: t, namespace: c.Namespace(t)}
	place := func(group, version, resource string) dynamic.ResourceInterface {
		return c.dynamic.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: resource}).Namespace(w.namespace)
	}
	w.services, w.slices = place("", "v1", "services"), place("discovery.k8s.io", "v1", "endpointslices")
	w.rules = place("networking.istio.io", "v1", "virtualservices")
	g, ctx := errgroup.WithContext(t.Context())
	g.SetLimit(8)
	for i := range soakServices + 1 { // the last one is the fence
		g.Go(func() error {
			if err := w.create(ctx, fmt.Sprintf("s%d", i)); err != nil {
				return err
			}
			return w.make(ctx, w.rules, "networking.istio.io/v1", "VirtualService", fmt.Sprintf("s%d", i), w.rule(i, "first"))
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *soakWorld) host(i int) string {
	return fmt.Sprintf("s%d.%s.svc.cluster.local", i, w.namespace)
}

func (w *soakWorld) make(ctx context.Context, place dynamic.ResourceInterface, apiVersion, kind, name string, rest map[string]any) error {
	u := &unstructured.Unstructured{Object: rest}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	u.SetName(name)
	if kind == "EndpointSlice" {
		u.SetLabels(map[string]string{"kubernetes.io/service-name": name})
	}
	_, err := place.Create(ctx, u, metav1.CreateOptions{})
	return err
}

// create makes a Service and its EndpointSlice.
func (w *soakWorld) create(ctx context.Context, name string) error {
	err := w.make(ctx, w.services, "v1", "Service", name, map[string]any{"spec": map[string]any{
		"ports": []any{map[string]any{"name": "http", "port": int64(80)}},
	}})
	if err != nil {
		return err
	}
	return w.make(ctx, w.slices, "discovery.k8s.io/v1", "EndpointSlice", name, map[string]any{
		"addressType": "IPv4", "ports": []any{map[string]any{"name": "http", "port": int64(8080)}}, "endpoints": endpointsAt(0),
	})
}

// endpointsAt are ten endpoints; the first one depends on n.
func endpointsAt(n int64) []any {
	out := []any{}
	for i := range 10 {
		address := fmt.Sprintf("198.18.0.%d", i)
		if i == 0 {
			address = soakAddress(n)
		}
		out = append(out, map[string]any{"addresses": []any{address}, "conditions": map[string]any{"ready": true}})
	}
	return out
}

func soakAddress(n int64) string { return fmt.Sprintf("198.19.%d.%d", n/250%250, n%250) }

func (w *soakWorld) rule(i int, mark string) map[string]any {
	to := []any{map[string]any{"destination": map[string]any{"host": w.host(i)}}}
	return map[string]any{"spec": map[string]any{"hosts": []any{w.host(i)}, "http": []any{
		map[string]any{
			"match": []any{map[string]any{"uri": map[string]any{"prefix": "/api"}}}, "route": to,
			"headers": map[string]any{"request": map[string]any{"set": map[string]any{"x-mark": mark}}},
		},
		map[string]any{"route": to},
	}}}
}

// change changes something every 20 ms, or less often when the API server is slower: until the end of a time and so many
// changes in all, or of ctx.
func (w *soakWorld) change(ctx context.Context, over <-chan time.Time, atLeast int64) error {
	var g errgroup.Group
	g.SetLimit(8)
	tick := time.NewTicker(soakEvery)
	defer tick.Stop()
	for late := false; !late || w.changes.Load() < atLeast; {
		select {
		case <-ctx.Done():
			return g.Wait()
		case <-over:
			late = true
		case <-tick.C:
			g.Go(func() error { return w.one(w.changes.Add(1)) })
		}
	}
	return g.Wait()
}

// one makes the n-th change: of 20, 12 are endpoints, 5 rules and 3 Services that come and go.
func (w *soakWorld) one(n int64) error {
	ctx := w.t.Context()
	i := int(n*37) % soakServices
	name := fmt.Sprintf("s%d", i)
	switch kind := n % 20; {
	case kind < 12:
		return w.patch(ctx, w.slices, name, map[string]any{"endpoints": endpointsAt(n)})
	case kind < 17:
		if n%200 == 12 {
			i, name = 0, "s0" // which one client refuses
		}
		return w.patch(ctx, w.rules, name, w.rule(i, fmt.Sprint(soakMark, n)))
	}
	return w.comeOrGo(ctx)
}

func (w *soakWorld) patch(ctx context.Context, place dynamic.ResourceInterface, name string, patch map[string]any) error {
	_, err := place.Patch(ctx, name, types.MergePatchType, jsonOf(patch), metav1.PatchOptions{})
	return err
}

// comeOrGo makes a Service, or deletes the oldest one that it made when there are ten.
func (w *soakWorld) comeOrGo(ctx context.Context) error {
	w.mu.Lock()
	var oldest string
	if len(w.extra) >= 10 {
		oldest, w.extra = w.extra[0], w.extra[1:]
	}
	w.made++
	name := fmt.Sprintf("extra%d", w.made)
	w.mu.Unlock()
	if oldest != "" {
		if err := w.services.Delete(ctx, oldest, metav1.DeleteOptions{}); err != nil {
			return err
		}
		return w.slices.Delete(ctx, oldest, metav1.DeleteOptions{})
	}
	if err := w.create(ctx, name); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.extra = append(w.extra, name)
	return nil
}

// soakFence is one change of each kind, and what clients receive of it.
type soakFence struct {
	cluster, address, mark string
	write                  func() error
}

func (w *soakWorld) fence() soakFence {
	w.fences++
	port := int64(1000 + w.fences)
	n := 60_000 + int64(w.fences) // no other change has such an address
	name := fmt.Sprintf("s%d", soakServices)
	f := soakFence{
		cluster: fmt.Sprintf("svc/%s/%s/%d", w.namespace, w.host(soakServices), port),
		address: soakAddress(n), mark: fmt.Sprint(soakMark, "fence-", w.fences),
	}
	f.write = func() error {
		ctx := w.t.Context()
		if err := w.patch(ctx, w.rules, name, w.rule(soakServices, f.mark)); err != nil {
			return err
		}
		if err := w.patch(ctx, w.slices, name, map[string]any{"endpoints": endpointsAt(n)}); err != nil {
			return err
		}
		return w.patch(ctx, w.services, name, map[string]any{"spec": map[string]any{
			"ports": []any{map[string]any{"name": "http", "port": int64(80)}, map[string]any{"name": "http-fence", "port": port}},
		}})
	}
	return f
}
