package integration_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"

	"fairlead.io/fairlead/integration/loadclient"
	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	sourcekube "fairlead.io/fairlead/pkg/source/kube"
	"fairlead.io/fairlead/pkg/status"
)

// member is one of two replicas with a Lease, and the one client that it has.
type member struct {
	*server.Server
	name   string
	client *loadclient.Client
	// stop ends the replica and its client.
	stop func()
}

func newMember(t *testing.T, c *cluster, name string) *member {
	t.Helper()
	source, err := sourcekube.New(sourcekube.Config{REST: c.Config()})
	if err != nil {
		t.Fatal(err)
	}
	srv, err := server.New(server.Config{
		Mesh: resolve.DefaultConfig(), Source: source, XDS: "127.0.0.1:0", Admin: "127.0.0.1:0", Version: "test",
		Drain: time.Second, Grace: 3 * time.Second, Replica: name, Log: slog.New(slog.DiscardHandler),
		Conditions: &server.Conditions{REST: c.Config(), Lease: &status.Lease{Namespace: "default", Name: "fairlead-status", Identity: name}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	fleet, err := loadclient.Start(ctx, loadclient.Config{Addresses: []string{srv.XDS()}, Node: func(i int) *core.Node {
		n := loadclient.EnvoyNode(i)
		n.Id = "node-" + name
		return n
	}})
	if err != nil {
		t.Fatal(err)
	}
	m := &member{Server: srv, name: name, client: fleet.Clients()[0]}
	m.stop = func() {
		m.stop = func() {}
		fleet.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(func() { m.stop() })
	return m
}

// wait asks a replica for the VirtualService.
func (m *member) wait(t *testing.T, q barrier.Query, timeout time.Duration) barrier.Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	q.Kind, q.Namespace, q.Name = "VirtualService", "default", "reviews"
	return m.Barrier().Wait(ctx, q, nil)
}

const barrierService = `{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: default}, spec: {clusterIP: 10.96.7.7, ports: [{name: http, port: 80}]}}`

func reviewsWith(timeout string) string {
	return fmt.Sprintf(`{apiVersion: fairlead.io/v1alpha1, kind: VirtualService, metadata: {name: reviews, namespace: default},
  spec: {hosts: [reviews], http: [{timeout: %s, route: [{destination: {host: reviews}}]}]}}`, timeout)
}

func TestBarrierOverReplicas(t *testing.T) {
	c := newCluster(t)
	c.apply(barrierService + "\n---\n" + reviewsWith("1s"))
	a, b := newMember(t, c, "a"), newMember(t, c, "b")
	for _, m := range []*member{a, b} { // they find one another by their Leases
		eventuallyTrue(t, m.name+" knows both nodes", func() bool {
			got := m.wait(t, barrier.Query{}, time.Second)
			return got.Outcome == barrier.Passed && got.Nodes == 2
		})
	}
	vs := &barrierObject{t: t, c: c}
	vs.until("True/Programmed", 1)
	leader, other := a, b
	if vs.leader() == "b" {
		leader, other = b, a
	}

	// A client of the replica that does not write holds the condition.
	silent := make(chan struct{})
	other.client.Behave(loadclient.Behaviour{Reject: func(*loadclient.Response) error { <-silent; return nil }})
	c.apply(reviewsWith("2s"))
	got := leader.wait(t, barrier.Query{Generation: 2}, 4*time.Second)
	if got.Outcome != barrier.TimedOut || strings.Join(got.Behind, " ") != "node-"+other.name || got.Through != 1 {
		t.Errorf("with a client that does not answer: %+v", got)
	}
	vs.until("Unknown/Pending", 2)
	close(silent)
	vs.until("True/Programmed", 2)

	// So do its words.
	other.client.Behave(loadclient.Behaviour{Reject: func(r *loadclient.Response) error {
		if strings.HasSuffix(r.Type, "RouteConfiguration") || strings.HasSuffix(r.Type, "VirtualHost") {
			return errors.New("a route that nobody likes")
		}
		return nil
	}})
	c.apply(reviewsWith("3s"))
	if _, words := vs.until("False/Rejected", 3); !strings.Contains(words, "a route that nobody likes") {
		t.Errorf("the condition says %q", words)
	}
	if got := leader.wait(t, barrier.Query{Generation: 3}, 20*time.Second); got.Outcome != barrier.Rejected || got.Rejected[0].Node != "node-"+other.name {
		t.Errorf("rejected: %+v", got)
	}
	other.client.Behave(loadclient.Behaviour{})
	c.apply(reviewsWith("4s"))
	vs.until("True/Programmed", 4)

	// Made anew, it is another object.
	uid := string(vs.get().GetUID())
	c.delete(reviewsWith("4s"))
	c.apply(reviewsWith("5s"))
	if got := leader.wait(t, barrier.Query{UID: uid, Generation: 5}, 20*time.Second); got.Outcome != barrier.Replaced {
		t.Errorf("replaced: %+v", got)
	}
	vs.until("True/Programmed", 1)

	// A replica goes, and its node with it.
	other.stop()
	c.apply(reviewsWith("6s"))
	got = leader.wait(t, barrier.Query{Generation: 2}, 30*time.Second)
	if got.Outcome != barrier.Passed || got.Nodes != 1 || len(got.Absent) != 1 || got.Absent[0].Node != "node-"+other.name {
		t.Errorf("without the other replica: %+v", got)
	}
	vs.until("True/Programmed", 2)
	leases, err := vs.core().CoordinationV1().Leases("default").List(t.Context(), metav1.ListOptions{LabelSelector: "fairlead.io/replica=true"})
	if err != nil || len(leases.Items) != 1 {
		t.Errorf("leases: %v, %v", leases, err)
	}
}

// barrierObject is the VirtualService, as the API server has it.
type barrierObject struct {
	t *testing.T
	c *cluster
}

func (o *barrierObject) get() *unstructured.Unstructured {
	o.t.Helper()
	gvr := custom("fairlead.io", "v1alpha1", "VirtualService", "default", "reviews", nil).GroupVersionKind().GroupVersion().WithResource("virtualservices")
	u, err := o.c.dynamic.Resource(gvr).Namespace("default").Get(o.t.Context(), "reviews", metav1.GetOptions{})
	if err != nil {
		o.t.Fatal(err)
	}
	return u
}

// until polls until Programmed is such for a generation; it must not be true for it before it is to be.
func (o *barrierObject) until(want string, generation int64) (*unstructured.Unstructured, string) {
	o.t.Helper()
	var u *unstructured.Unstructured
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		u = o.get()
		got, whole := condition(statusOf(u)["conditions"], "Programmed")
		if whole == nil || whole["observedGeneration"] != generation {
			continue
		}
		if got == want {
			return u, fmt.Sprint(whole["message"])
		}
		if got == "True/Programmed" {
			o.t.Fatalf("Programmed is true of generation %d too early", generation)
		}
	}
	o.t.Fatalf("Programmed is never %s of generation %d: %v", want, generation, u.Object["status"])
	return nil, ""
}

func (o *barrierObject) core() *kubernetes.Clientset {
	o.t.Helper()
	client, err := kubernetes.NewForConfig(o.c.Config())
	if err != nil {
		o.t.Fatal(err)
	}
	return client
}

func (o *barrierObject) leader() string {
	o.t.Helper()
	l, err := o.core().CoordinationV1().Leases("default").Get(o.t.Context(), "fairlead-status", metav1.GetOptions{})
	if err != nil || l.Spec.HolderIdentity == nil {
		o.t.Fatalf("nobody leads: %v", err)
	}
	return *l.Spec.HolderIdentity
}

func eventuallyTrue(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}
