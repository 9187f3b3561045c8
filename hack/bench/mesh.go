package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"fairlead.io/fairlead/integration/kube"
)

// writers is how many objects are on their way to the API server while a mesh is written.
const writers = 32

// mesh is a synthetic mesh in an API server of its own, fresh for each server under test: neither finds what the other wrote.
type mesh struct {
	api        *kube.Server
	kubeconfig string
	client     dynamic.Interface
	services   int
	pods       int // 0, or as many as there are endpoints
}

// newMesh starts an API server and writes the mesh of the given size into it; the caller stops it.
func newMesh(ctx context.Context, crds []string, services int, pods bool) (*mesh, error) {
	api, err := kube.Run(kube.Options{APIServerArgs: []string{"--max-requests-inflight=2000", "--max-mutating-requests-inflight=1000"}})
	if err != nil {
		return nil, err
	}
	m := &mesh{api: api, services: services}
	if pods {
		m.pods = services * perService
	}
	if err := m.fill(ctx, crds); err != nil {
		return nil, fmt.Errorf("write the mesh: %w", errors.Join(err, api.Stop()))
	}
	return m, nil
}

func (m *mesh) fill(ctx context.Context, crds []string) (err error) {
	if err := m.api.InstallCRDs(ctx, crds...); err != nil {
		return err
	}
	if m.kubeconfig, err = m.api.Kubeconfig(); err != nil {
		return err
	}
	if m.client, err = dynamic.NewForConfig(m.api.Config()); err != nil {
		return err
	}
	names := []string{"istio-system", "fairlead-system"}
	for i := range namespaces {
		names = append(names, namespaceOf(i))
	}
	cert, _, err := newCertificate(0)
	if err != nil {
		return err
	}
	nodes := (m.pods + podsPerNode - 1) / podsPerNode
	for _, part := range []struct {
		what string
		n    int
		do   func(ctx context.Context, i int) error
	}{
		{"namespaces", len(names), func(ctx context.Context, i int) error {
			return m.create(ctx, namespaceGVR, object{"apiVersion": "v1", "kind": "Namespace", "metadata": meta("", names[i])})
		}},
		{"nodes", nodes, func(ctx context.Context, i int) error { return m.create(ctx, nodeGVR, node(fmt.Sprintf("node-%d", i))) }},
		{"pods", m.pods, func(ctx context.Context, i int) error {
			i, j := i/perService, i%perService
			return m.createPod(ctx, pod(namespaceOf(i), podName(i, j), serviceName(i), nodeOf(i, j), endpointAddress(i, j)))
		}},
		{"services", m.services, func(ctx context.Context, i int) error {
			return m.createService(ctx, service(namespaceOf(i), serviceName(i), clusterIP(i)), m.slice(i, ""))
		}},
		{"virtualservices", m.virtuals(), func(ctx context.Context, i int) error { return m.create(ctx, virtualGVR, virtualService(i, "base")) }},
		{"destinationrules", m.rules(), func(ctx context.Context, i int) error {
			return m.create(ctx, destinationGVR, destinationRule(m.ruled(i), "base"))
		}},
		{"gateway services", 1, func(ctx context.Context, _ int) error {
			s, slice := gatewayService()
			return m.createService(ctx, s, slice)
		}},
		{"secrets", 1, func(ctx context.Context, _ int) error { return m.create(ctx, secretGVR, cert) }},
		{"httproutes", m.routes(), func(ctx context.Context, i int) error { return m.create(ctx, routeGVR, httpRoute(i, "base")) }},
	} {
		if err := writeAll(ctx, part.what, part.n, part.do); err != nil {
			return err
		}
	}
	return nil
}

func (m *mesh) virtuals() int { return max(1, m.services/10) }
func (m *mesh) routes() int   { return max(1, m.services/5) }
func (m *mesh) rules() int    { return min(destinations, m.services/10) }

// ruled is the Service of the i-th DestinationRule; it has no VirtualService.
func (m *mesh) ruled(i int) int { return m.services - 1 - i }

// writeAll runs do(0) to do(n-1), some at a time, and says how far it is.
func writeAll(ctx context.Context, what string, n int, do func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(writers)
	start := time.Now()
	var done atomic.Int64
	for i := range n {
		group.Go(func() error {
			if err := do(ctx, i); err != nil {
				return fmt.Errorf("%s %d of %d: %w", what, i, n, err)
			}
			if k := done.Add(1); k%5000 == 0 && int(k) < n {
				progress("  %s: %d of %d", what, k, n)
			}
			return nil
		})
	}
	err := group.Wait()
	if n >= 100 {
		progress("  %d %s in %.1f s", n, what, time.Since(start).Seconds())
	}
	return err
}

func (m *mesh) create(ctx context.Context, r schema.GroupVersionResource, o object) error {
	u := &unstructured.Unstructured{Object: o}
	_, err := m.resource(r, u.GetNamespace()).Create(ctx, u, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil // a namespace or a class that somebody made before us
	}
	return err
}

func (m *mesh) createService(ctx context.Context, service, slice object) error {
	if err := m.create(ctx, serviceGVR, service); err != nil {
		return err
	}
	return m.create(ctx, sliceGVR, slice)
}

// replace writes an object over the one of its name, whatever version that has.
func (m *mesh) replace(ctx context.Context, r schema.GroupVersionResource, o object) error {
	u := &unstructured.Unstructured{Object: o}
	data, err := u.MarshalJSON()
	if err != nil {
		return err
	}
	_, err = m.resource(r, u.GetNamespace()).Patch(ctx, u.GetName(), types.MergePatchType, data, metav1.PatchOptions{})
	return err
}

func (m *mesh) remove(ctx context.Context, r schema.GroupVersionResource, namespace, name string) error {
	return m.resource(r, namespace).Delete(ctx, name, metav1.DeleteOptions{})
}

func (m *mesh) resource(r schema.GroupVersionResource, namespace string) dynamic.ResourceInterface {
	if namespace == "" {
		return m.client.Resource(r)
	}
	return m.client.Resource(r).Namespace(namespace)
}
