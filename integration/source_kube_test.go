package integration_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/integration/kube"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/source"
	sourcekube "fairlead.io/fairlead/pkg/source/kube"
)

// mirror is a sink that keeps what there is, and what was wrong with how it was told.
type mirror struct {
	mu       sync.Mutex
	objects  map[model.Ref]any
	position uint64
	complete uint64
	synced   bool
	faults   []string
	deletes  int
}

func (m *mirror) Apply(updates []source.Update, at source.Position) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if at.Seen < m.position || at.Complete < m.complete || at.Complete > at.Seen {
		m.faults = append(m.faults, fmt.Sprintf("position %v after %d and %d", at, m.position, m.complete))
	}
	m.position, m.complete = at.Seen, at.Complete
	for _, u := range updates {
		if u.Object == nil {
			if _, had := m.objects[u.Ref]; !had && m.synced {
				m.faults = append(m.faults, "deleted without having been: "+u.Ref.String())
			}
			m.deletes++
			delete(m.objects, u.Ref)
			continue
		}
		m.objects[u.Ref] = u.Object
	}
}

func (m *mirror) Synced() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.synced {
		m.faults = append(m.faults, "synced twice")
	}
	m.synced = true
}

func (m *mirror) Report(p source.Problem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, "problem: "+p.Message)
}

func (m *mirror) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		m.mu.Lock()
		ok := f()
		m.mu.Unlock()
		if ok {
			return
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	t.Fatalf("never: %s; synced %v, position %d, faults %v", what, m.synced, m.position, m.faults)
}

// watch runs the source until the test ends.
func watch(t *testing.T, s *kube.Server, compat ...string) *mirror {
	t.Helper()
	src, err := sourcekube.New(sourcekube.Config{REST: s.Config(), Compat: compat})
	if err != nil {
		t.Fatal(err)
	}
	m := &mirror{objects: map[model.Ref]any{}}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- src.Run(ctx, m) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the source does not end")
		}
		for _, f := range m.faults {
			t.Error(f)
		}
	})
	return m
}

func ref(group, kind, namespace, name string) model.Ref {
	return model.Ref{Group: group, Kind: kind, Namespace: namespace, Name: name}
}

func custom(group, version, kind, namespace, name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group + "/" + version, "kind": kind,
		"metadata": map[string]any{"namespace": namespace, "name": name}, "spec": spec,
	}}
}

// One server, whose definitions come and go in the order of the steps.
func TestSourceKube(t *testing.T) {
	server := kube.Start(t, kube.Options{})
	k := &sourceKube{server: server, ns: server.Namespace(t)}
	var err error
	if k.core, err = kubernetes.NewForConfig(server.Config()); err != nil {
		t.Fatal(err)
	}
	if k.dynamic, err = dynamic.NewForConfig(server.Config()); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"core kinds, without any definition", k.coreKinds},
		{"a definition that appears is read, and dropped when it goes", k.definitions},
		{"versions of the Istio group", k.istio},
		{"everything is there when synced", k.gate},
		{"restart", k.restart},
	} {
		if !t.Run(step.name, step.run) {
			return
		}
	}
}

type sourceKube struct {
	server  *kube.Server
	core    kubernetes.Interface
	dynamic dynamic.Interface
	ns      string
}

func (k *sourceKube) coreKinds(t *testing.T) {
	ctx := t.Context()
	m := watch(t, k.server)
	m.until(t, "synced", func() bool { return m.synced })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	opts := metav1.CreateOptions{}
	_, err := k.core.CoreV1().Services(k.ns).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
	}, opts)
	must(err)
	_, err = k.core.CoreV1().Secrets(k.ns).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "tls"}, Type: corev1.SecretTypeOpaque,
		Data: map[string][]byte{"tls.crt": []byte("c"), "tls.key": []byte("k"), "password": []byte("p")},
	}, opts)
	must(err)
	secret, err := k.core.CoreV1().Secrets(k.ns).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "other"}, Data: map[string][]byte{"password": []byte("p")},
	}, opts)
	must(err)
	pod, err := k.core.CoreV1().Pods(k.ns).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}, opts)
	must(err)
	web := intstr.FromString("web")
	_, err = k.core.NetworkingV1().NetworkPolicies(k.ns).Create(ctx, &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "np"}, Spec: networkingv1.NetworkPolicySpec{
			Egress: []networkingv1.NetworkPolicyEgressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: &web}}}},
		},
	}, opts)
	must(err)
	policy := ref("networking.k8s.io", "NetworkPolicy", k.ns, "np")
	m.until(t, "policy", func() bool { return m.objects[policy] != nil })
	// The API server says which types there are by default.
	if s := m.objects[policy].(*model.Object[networkingv1.NetworkPolicySpec]); len(s.Spec.PolicyTypes) != 2 || s.Spec.Egress[0].Ports[0].Port.StrVal != "web" {
		t.Errorf("policy %+v", s)
	}
	service, tls := ref("", "Service", k.ns, "a"), ref("", "Secret", k.ns, "tls")
	podRef := ref("", "Pod", k.ns, "p")
	m.until(t, "service, secret and pod", func() bool {
		return m.objects[service] != nil && m.objects[tls] != nil && m.objects[podRef] != nil
	})
	if s := m.objects[service].(*model.Service); len(s.Addresses) != 1 || s.Ports[0].Target != "80" || s.UID == "" {
		t.Errorf("service %+v", s)
	}
	if d := m.objects[tls].(*model.Secret).Data; len(d) != 2 {
		t.Errorf("the secret is kept with %v, want tls.crt and tls.key", d)
	}
	if m.objects[ref("", "Secret", k.ns, "other")] != nil {
		t.Error("a secret without TLS material is kept")
	}
	// A secret becomes one to keep, and stops being one.
	secret.Data["ca.crt"] = []byte("ca")
	secret, err = k.core.CoreV1().Secrets(k.ns).Update(ctx, secret, metav1.UpdateOptions{})
	must(err)
	m.until(t, "secret with a CA", func() bool { return m.objects[ref("", "Secret", k.ns, "other")] != nil })
	delete(secret.Data, "ca.crt")
	_, err = k.core.CoreV1().Secrets(k.ns).Update(ctx, secret, metav1.UpdateOptions{})
	must(err)
	m.until(t, "secret without", func() bool { return m.objects[ref("", "Secret", k.ns, "other")] == nil })
	// A finished pod is gone, although its object is still there.
	pod.Status.Phase = corev1.PodSucceeded
	_, err = k.core.CoreV1().Pods(k.ns).UpdateStatus(ctx, pod, metav1.UpdateOptions{})
	must(err)
	m.until(t, "finished pod is gone", func() bool { return m.objects[podRef] == nil })
	must(k.core.CoreV1().Services(k.ns).Delete(ctx, "a", metav1.DeleteOptions{}))
	m.until(t, "service is gone", func() bool { return m.objects[service] == nil })
}

func (k *sourceKube) definitions(t *testing.T) {
	ctx := t.Context()
	m := watch(t, k.server)
	m.until(t, "synced", func() bool { return m.synced })
	channel, err := kube.GatewayAPICRDs("experimental")
	if err != nil {
		t.Fatal(err)
	}
	route := filepath.Join(channel, "gateway.networking.k8s.io_httproutes.yaml")
	if err := k.server.InstallCRDs(ctx, route); err != nil {
		t.Fatal(err)
	}
	res := k.dynamic.Resource(schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"})
	u := custom("gateway.networking.k8s.io", "v1", "HTTPRoute", k.ns, "r", map[string]any{"hostnames": []any{"a.example"}})
	if _, err := res.Namespace(k.ns).Create(ctx, u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r := ref("gateway.networking.k8s.io", "HTTPRoute", k.ns, "r")
	m.until(t, "route", func() bool { return m.objects[r] != nil })
	if o := m.objects[r].(*model.Object[gatewayv1.HTTPRouteSpec]); o.Spec.Hostnames[0] != "a.example" || o.Version != "v1" || o.Generation != 1 || len(o.Issues) > 0 {
		t.Errorf("route %+v", o)
	}
	crds := k.dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	if err := crds.Delete(ctx, "httproutes.gateway.networking.k8s.io", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	m.until(t, "route is gone with its definition", func() bool { return m.objects[r] == nil })
	if err := k.server.InstallCRDs(ctx, channel); err != nil {
		t.Fatal(err)
	}
	if _, err := res.Namespace(k.ns).Create(ctx, u, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	m.until(t, "route is back with its definition", func() bool { return m.objects[r] != nil })
}

func (k *sourceKube) istio(t *testing.T) {
	ctx := t.Context()
	if err := k.server.InstallCRDs(ctx, "../crds", "../crds/compat"); err != nil {
		t.Fatal(err)
	}
	without, with := watch(t, k.server), watch(t, k.server, "istio")
	for _, version := range []string{"v1", "v1beta1", "v1alpha3"} {
		res := k.dynamic.Resource(schema.GroupVersionResource{Group: "networking.istio.io", Version: version, Resource: "virtualservices"})
		u := custom("networking.istio.io", version, "VirtualService", k.ns, "from-"+version, map[string]any{
			"hosts": []any{"a"}, "http": []any{map[string]any{
				"route": []any{map[string]any{"destination": map[string]any{"host": "a"}}}, "tiemout": "1s",
			}},
		})
		if _, err := res.Namespace(k.ns).Create(ctx, u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		r := ref("networking.istio.io", "VirtualService", k.ns, "from-"+version)
		with.until(t, "virtual service of "+version, func() bool { return with.objects[r] != nil })
		o := with.objects[r].(*model.Object[v1alpha1.VirtualServiceSpec])
		if o.Version != "v1" || o.Spec.Hosts[0] != "a" {
			t.Errorf("written in %s: %+v", version, o)
		}
		if len(o.Issues) != 1 || !o.Issues[0].Unknown || o.Issues[0].Path != "spec.http[0].tiemout" {
			t.Errorf("issues %+v, want the unknown field", o.Issues)
		}
	}
	without.until(t, "synced and as far", func() bool { return without.synced && without.position > 0 })
	for r := range without.objects {
		if r.Group == "networking.istio.io" {
			t.Errorf("%s is read without being asked for", r)
		}
	}
}

// gate makes sure that Synced waits for all that was there, custom kinds included.
func (k *sourceKube) gate(t *testing.T) {
	ctx := t.Context()
	for i := range 300 {
		_, err := k.core.CoreV1().ConfigMaps(k.ns).Create(ctx, &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("ca-%d", i)}, Data: map[string]string{"ca.crt": "x"},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	m := watch(t, k.server, "istio")
	m.until(t, "synced", func() bool { return m.synced })
	m.mu.Lock()
	defer m.mu.Unlock()
	maps, routes := 0, 0
	for r := range m.objects {
		switch {
		case r.Kind == "ConfigMap" && r.Namespace == k.ns:
			maps++
		case r.Kind == "VirtualService", r.Kind == "HTTPRoute":
			routes++
		}
	}
	if maps != 300 || routes != 4 || m.position == 0 {
		t.Errorf("synced with %d config maps, %d routes, position %d; want 300, 4 and more than 0", maps, routes, m.position)
	}
}

func (k *sourceKube) restart(t *testing.T) {
	ctx := t.Context()
	m := watch(t, k.server, "istio")
	m.until(t, "synced", func() bool { return m.synced })
	m.mu.Lock()
	before, at, deletes := len(m.objects), m.position, m.deletes
	m.mu.Unlock()
	if err := k.server.Restart(); err != nil {
		t.Fatal(err)
	}
	_, err := k.core.CoreV1().Services(k.ns).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "late"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	m.until(t, "the service made after the restart", func() bool { return m.objects[ref("", "Service", k.ns, "late")] != nil })
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.deletes != deletes || len(m.objects) < before || m.position <= at {
		t.Errorf("%d deletions, %d objects of %d, position %d of %d", m.deletes-deletes, len(m.objects), before, m.position, at)
	}
}
