package integration_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"fairlead.io/fairlead/integration/kube"
	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/status"
)

const statusController = "fairlead.io/gateway-controller"

// said stands for the barrier: what is to be said of each object, and how it fares.
type said struct {
	mu       sync.Mutex
	spoken   bool
	statuses map[model.Ref]*model.ObjectStatus
	fates    map[model.Ref]barrier.Fate
	watches  map[*saidWatch]struct{}
}

// saidWatch looks at everything whenever anything is said.
type saidWatch struct {
	*said
	changed chan struct{}
}

func newSaid() *said {
	return &said{statuses: map[model.Ref]*model.ObjectStatus{}, fates: map[model.Ref]barrier.Fate{}, watches: map[*saidWatch]struct{}{}}
}

// of says something of an object, or nothing any more.
func (s *said) of(u *unstructured.Unstructured, edit func(*model.ObjectStatus)) {
	o := &model.ObjectStatus{Ref: refOf(u), UID: string(u.GetUID()), Generation: u.GetGeneration()}
	s.mu.Lock()
	s.spoken = true
	if edit == nil {
		delete(s.statuses, o.Ref)
	} else {
		edit(o)
		s.statuses[o.Ref] = o
	}
	s.mu.Unlock()
	s.nudge()
}

func accepted(o *model.ObjectStatus) {
	o.Conditions = []model.Condition{{Type: "Accepted", Status: true, Reason: "Accepted", Message: "accepted"}}
}

// Ready, as all of status.View: something is said from the first word on.
func (s *said) Ready() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.spoken
}

func (s *said) Refs() []model.Ref {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.statuses))
}

func (s *said) Get(r model.Ref) (*model.ObjectStatus, barrier.Fate) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f, ok := s.fates[r]; ok {
		return s.statuses[r], f
	}
	return s.statuses[r], barrier.Fate{Resources: 1, Clients: 1}
}

// fares says how an object's resources fare.
func (s *said) fares(r model.Ref, f barrier.Fate) {
	s.mu.Lock()
	s.fates[r] = f
	s.mu.Unlock()
	s.nudge()
}

// nudge makes the writers look at everything again.
func (s *said) nudge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w := range s.watches {
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

func (s *said) watch() status.Watch {
	w := &saidWatch{s, make(chan struct{}, 1)}
	w.changed <- struct{}{}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watches[w] = struct{}{}
	return w
}

func (w *saidWatch) Changed() <-chan struct{} { return w.changed }

func (w *saidWatch) Take() ([]model.Ref, bool) { return nil, true }

func (w *saidWatch) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.watches, w)
}

func refOf(u *unstructured.Unstructured) model.Ref {
	return ref(u.GroupVersionKind().Group, u.GetKind(), u.GetNamespace(), u.GetName())
}

type statusKube struct {
	*said
	server  *kube.Server
	dynamic dynamic.Interface
	ns      string
	writers int // that run
}

// writer runs a writer, and gives its registry and what ends it. Ending is checked for goroutines that stay.
func (k *statusKube) writer(t *testing.T, edit func(*status.Config)) (*prometheus.Registry, *status.Writer, func()) {
	t.Helper()
	k.writers++
	before := goleak.IgnoreCurrent()
	registry := prometheus.NewRegistry()
	cfg := status.Config{
		REST: k.server.Config(), View: k.said, Watch: k.watch, Controller: statusController, Compat: true,
		Registry: registry, Gap: time.Millisecond, Settle: 50 * time.Millisecond, Absent: 50 * time.Millisecond, Rate: 1000,
	}
	if edit != nil {
		edit(&cfg)
	}
	w, err := status.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(30 * time.Second):
				t.Error("the writer does not end")
			}
			if k.writers--; k.writers > 0 {
				return // the other's goroutines came later too
			}
			// The connections of other clients come and go.
			if err := goleak.Find(before, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
				goleak.IgnoreAnyFunction("net/http.(*http2clientConnReadLoop).run"), goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*clientConnReadLoop).run"),
				goleak.IgnoreAnyFunction("fairlead.io/fairlead/pkg/process.Start.func1")); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return registry, w, stop
}

// count sums a counter over its labels.
func count(t *testing.T, r *prometheus.Registry, name string) (n float64) {
	t.Helper()
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

var statusPlurals = map[string]string{"GatewayClass": "gatewayclasses", "HTTPRoute": "httproutes"}

func (k *statusKube) resource(u *unstructured.Unstructured) dynamic.ResourceInterface {
	plural := statusPlurals[u.GetKind()]
	if plural == "" {
		plural = plurals[u.GetKind()]
	}
	return k.dynamic.Resource(u.GroupVersionKind().GroupVersion().WithResource(plural)).Namespace(u.GetNamespace())
}

func (k *statusKube) create(t *testing.T, u *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	got, err := k.resource(u).Create(t.Context(), u, metav1.CreateOptions{FieldManager: "user"})
	if err != nil {
		t.Fatal(err)
	}
	// A writer gives up what it has written before and nothing is said of: the next test's would.
	t.Cleanup(func() { _ = k.resource(u).Delete(context.Background(), u.GetName(), metav1.DeleteOptions{}) })
	return got
}

func (k *statusKube) get(t *testing.T, u *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	got, err := k.resource(u).Get(t.Context(), u.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// until polls an object until ok accepts it.
func (k *statusKube) until(t *testing.T, u *unstructured.Unstructured, what string, ok func(*unstructured.Unstructured) bool) *unstructured.Unstructured {
	t.Helper()
	var got *unstructured.Unstructured
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got = k.get(t, u); ok(got) {
			return got
		}
	}
	t.Fatalf("never: %s; status is %v", what, got.Object["status"])
	return nil
}

func vsSpec(host string) map[string]any {
	return map[string]any{"hosts": []any{host}, "http": []any{map[string]any{"directResponse": map[string]any{"status": int64(200)}}}}
}

func (k *statusKube) virtualService(t *testing.T, name string) *unstructured.Unstructured {
	t.Helper()
	return k.create(t, custom("fairlead.io", "v1alpha1", "VirtualService", k.ns, name, vsSpec("a.com")))
}

// condition gives "Status/Reason" of a condition, and the whole.
func condition(list any, kind string) (string, map[string]any) {
	conditions, _ := list.([]any)
	for _, c := range conditions {
		if m := c.(map[string]any); m["type"] == kind {
			return fmt.Sprint(m["status"], "/", m["reason"]), m
		}
	}
	return "", nil
}

func statusOf(u *unstructured.Unstructured) map[string]any {
	m, _ := u.Object["status"].(map[string]any)
	return m
}

func is(kind, want string) func(*unstructured.Unstructured) bool {
	return func(u *unstructured.Unstructured) bool {
		got, _ := condition(statusOf(u)["conditions"], kind)
		return got == want
	}
}

// quiet proves that the writer has looked at everything again and written nothing: it is nudged, and a marker that is
// said after each nudge must come through while the object stays as it is.
func (k *statusKube) quiet(t *testing.T, u *unstructured.Unstructured) {
	t.Helper()
	before := k.get(t, u).GetResourceVersion()
	watch, err := k.resource(u).Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + u.GetName(), ResourceVersion: before})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Stop()
	marker := k.virtualService(t, "marker-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	for i := range 5 {
		k.nudge()
		// Each round has another message, so that the marker is written each time.
		k.of(marker, func(o *model.ObjectStatus) {
			accepted(o)
			o.Conditions[0].Message = "round " + strconv.Itoa(i)
		})
		k.until(t, marker, "a round of the marker", func(u *unstructured.Unstructured) bool {
			_, c := condition(statusOf(u)["conditions"], "Accepted")
			return c != nil && c["message"] == "round "+strconv.Itoa(i)
		})
	}
	if after := k.get(t, u); after.GetResourceVersion() != before {
		t.Errorf("written without need: version %s, then %s: %v", before, after.GetResourceVersion(), after.Object["status"])
	}
	select {
	case e := <-watch.ResultChan():
		t.Errorf("an event without a change: %v", e)
	default:
	}
	k.of(marker, nil)
}

// other writes the entry of another controller, as those do: the whole list, by an update.
func (k *statusKube) other(t *testing.T, u *unstructured.Unstructured, message string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		u = k.get(t, u)
		var list []any
		old, _ := statusOf(u)["parents"].([]any)
		for _, e := range old {
			if e.(map[string]any)["controllerName"] != "example.com/other" {
				list = append(list, e)
			}
		}
		list = append(list, map[string]any{
			"controllerName": "example.com/other", "parentRef": map[string]any{"name": "theirs", "group": "gateway.networking.k8s.io", "kind": "Gateway"},
			"conditions": []any{map[string]any{"type": "Accepted", "status": "True", "reason": "Accepted", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}},
		})
		u.Object["status"] = map[string]any{"parents": list}
		if _, err := k.resource(u).UpdateStatus(t.Context(), u, metav1.UpdateOptions{FieldManager: "other"}); err == nil {
			return
		}
	}
	t.Fatal("the other controller cannot write")
}

func parents(u *unstructured.Unstructured) map[string]string {
	out := map[string]string{}
	list, _ := statusOf(u)["parents"].([]any)
	for _, e := range list {
		m := e.(map[string]any)
		_, c := condition(m["conditions"], "Accepted")
		p, _ := condition(m["conditions"], "fairlead.io/Programmed")
		out[m["controllerName"].(string)] += fmt.Sprint(c["message"], p)
	}
	return out
}
