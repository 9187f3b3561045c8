package integration_test

import (
	"reflect"
	"strconv"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"fairlead.io/fairlead/integration/kube"
	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/status"
)

func TestStatusKube(t *testing.T) {
	server := kube.Start(t, kube.Options{})
	gateways, err := kube.GatewayAPICRDs("standard")
	if err != nil {
		t.Fatal(err)
	}
	if err := server.InstallCRDs(t.Context(), "../crds", "../crds/compat", gateways); err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name string
		run  func(*testing.T, *statusKube)
	}{
		{"written once, and again for what changes", written},
		{"every kind", everyKind},
		{"parents of other controllers stay", othersParents},
		{"cleared or changed by a user", cleared},
		{"versions of the Istio group", istioVersions},
		{"made anew, deleted, given up", lives},
		{"what is acknowledged soon is one write", patience},
		{"one of two replicas writes", replicas},
		{"a storm starves nobody", storm},
		{"an outage", outage},
	} {
		t.Run(step.name, func(t *testing.T) {
			k := &statusKube{said: newSaid(), server: server, dynamic: client, ns: server.Namespace(t)}
			step.run(t, k)
		})
	}
}

func written(t *testing.T, k *statusKube) {
	vs := k.virtualService(t, "reviews")
	k.of(vs, accepted)
	registry, _, _ := k.writer(t, nil)
	got := k.until(t, vs, "Programmed", is("Programmed", "True/Programmed"))
	if g, _, _ := unstructured.NestedInt64(got.Object, "status", "observedGeneration"); g != 1 || got.GetGeneration() != 1 {
		t.Errorf("observedGeneration %d, generation %d", g, got.GetGeneration())
	}
	_, first := condition(statusOf(got)["conditions"], "Accepted")
	k.quiet(t, vs)
	if n := count(t, registry, "fairlead_status_writes_total"); n != 1+5 { // and the marker's
		t.Errorf("%v writes", n)
	}

	// Envoy's words; Accepted does not move.
	k.fares(refOf(vs), barrier.Fate{Resources: 1, Clients: 1, Rejected: []barrier.Rejection{{Type: "x.Cluster", Resource: "svc/a", Version: "1.40.0", Message: "no such thing"}}})
	got = k.until(t, vs, "Rejected", is("Programmed", "False/Rejected"))
	if _, c := condition(statusOf(got)["conditions"], "Accepted"); !reflect.DeepEqual(c, first) {
		t.Errorf("Accepted moved from %v to %v", first, c)
	}
	_, rejected := condition(statusOf(got)["conditions"], "Programmed")

	// A new generation is judged alike: the transition time stays, the generation moves. A warning comes, and goes.
	got.Object["spec"] = vsSpec("b.com")
	got, err := k.resource(got).Update(t.Context(), got, metav1.UpdateOptions{FieldManager: "user"})
	if err != nil {
		t.Fatal(err)
	}
	k.of(got, func(o *model.ObjectStatus) {
		accepted(o)
		o.Conditions = append(o.Conditions, model.Condition{Type: "Accepted", Status: true, Warning: true, Reason: "UnsupportedField", Message: "spec.x"})
	})
	got = k.until(t, vs, "a warning", is("fairlead.io/Warnings", "True/UnsupportedField"))
	_, c := condition(statusOf(got)["conditions"], "Programmed")
	if c["observedGeneration"] != int64(2) || c["lastTransitionTime"] != rejected["lastTransitionTime"] || statusOf(got)["observedGeneration"] != int64(2) {
		t.Errorf("got %v after %v", statusOf(got), rejected)
	}
	k.of(got, accepted)
	k.until(t, vs, "no warning", is("fairlead.io/Warnings", ""))
	k.quiet(t, vs)
}

func everyKind(t *testing.T, k *statusKube) {
	class := k.create(t, custom("gateway.networking.k8s.io", "v1", "GatewayClass", "", "fairlead", map[string]any{"controllerName": statusController}))
	gw := k.create(t, custom("gateway.networking.k8s.io", "v1", "Gateway", k.ns, "gw", map[string]any{
		"gatewayClassName": "fairlead", "listeners": []any{
			map[string]any{"name": "http", "port": int64(80), "protocol": "HTTP"}, map[string]any{"name": "alt", "port": int64(81), "protocol": "HTTP"},
		},
	}))
	k.of(class, accepted)
	listener := func(name string, routes int) model.ListenerStatus {
		return model.ListenerStatus{
			Name: name, AttachedRoutes: routes, SupportedKinds: []model.Ref{{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute"}},
			Conditions: []model.Condition{{Type: "Accepted", Status: true, Reason: "Accepted"}, {Type: "Conflicted", Reason: "NoConflicts"}},
		}
	}
	k.of(gw, func(o *model.ObjectStatus) {
		accepted(o)
		o.Addresses = []string{"10.0.0.1", "fd00::1"}
		o.Listeners = []model.ListenerStatus{listener("http", 3), listener("alt", 0)}
	})
	meshKinds := map[string]map[string]any{
		"DestinationRule": {"host": "a.com"}, "Gateway": {"selector": map[string]any{"a": "b"}, "servers": []any{map[string]any{
			"hosts": []any{"*"}, "port": map[string]any{"name": "http", "number": int64(80), "protocol": "HTTP"},
		}}},
		"ServiceEntry":  {"hosts": []any{"a.com"}, "ports": []any{map[string]any{"name": "http", "number": int64(80), "protocol": "HTTP"}}, "resolution": "DNS"},
		"WorkloadEntry": {"address": "10.0.0.1"}, "VirtualService": vsSpec("a.com"),
	}
	var all []*unstructured.Unstructured
	for kind, spec := range meshKinds {
		for group, version := range map[string]string{"fairlead.io": "v1alpha1", "networking.istio.io": "v1"} {
			u := k.create(t, custom(group, version, kind, k.ns, "all", spec))
			k.of(u, accepted)
			all = append(all, u)
		}
	}
	k.writer(t, nil)
	for _, u := range all {
		k.until(t, u, "Programmed "+u.GetKind(), is("Programmed", "True/Programmed"))
	}
	k.until(t, class, "an accepted class", is("Accepted", "True/Accepted"))
	got := k.until(t, gw, "a programmed Gateway", is("Programmed", "True/Programmed"))
	listeners := statusOf(got)["listeners"].([]any)
	one := listeners[0].(map[string]any)
	if c, _ := condition(one["conditions"], "Programmed"); c != "True/Programmed" || len(listeners) != 2 || one["attachedRoutes"] != int64(3) {
		t.Errorf("got %v", listeners)
	}
	if a := statusOf(got)["addresses"].([]any); len(a) != 2 || a[1].(map[string]any)["value"] != "fd00::1" {
		t.Errorf("got %v", a)
	}
	k.quiet(t, gw)
	k.quiet(t, class)
	// A listener that is no more loses its entry.
	k.of(gw, func(o *model.ObjectStatus) {
		accepted(o)
		o.Listeners = []model.ListenerStatus{listener("alt", 0)}
	})
	k.until(t, gw, "one listener and no address", func(u *unstructured.Unstructured) bool {
		l, _ := statusOf(u)["listeners"].([]any)
		return len(l) == 1 && statusOf(u)["addresses"] == nil
	})
	k.quiet(t, gw)
}

func (k *statusKube) routeStatus(o *model.ObjectStatus) {
	o.Parents = []model.ParentStatus{{
		Parent: ref("gateway.networking.k8s.io", "Gateway", k.ns, "gw"), Section: "http", Port: 80,
		Conditions: []model.Condition{{Type: "Accepted", Status: true, Reason: "Accepted"}, {Type: "ResolvedRefs", Status: true, Reason: "ResolvedRefs"}},
	}}
}

func othersParents(t *testing.T, k *statusKube) {
	route := k.create(t, custom("gateway.networking.k8s.io", "v1", "HTTPRoute", k.ns, "route", map[string]any{"parentRefs": []any{map[string]any{"name": "gw"}}}))
	has := func(want map[string]string) func(*unstructured.Unstructured) bool {
		return func(u *unstructured.Unstructured) bool { return reflect.DeepEqual(parents(u), want) }
	}
	k.other(t, route, "first")
	k.of(route, k.routeStatus)
	k.writer(t, nil)
	k.until(t, route, "both", has(map[string]string{statusController: "True/Programmed", "example.com/other": "first"}))
	k.quiet(t, route)
	for i := range 10 { // both write at once
		message := "round " + strconv.Itoa(i)
		programmed := []string{"True/Programmed", "Unknown/Pending"}[i%2]
		k.fares(refOf(route), barrier.Fate{Resources: 1, Clients: 1, Progress: barrier.Behind * barrier.Progress(i%2)})
		k.other(t, route, message)
		k.until(t, route, message, has(map[string]string{statusController: programmed, "example.com/other": message}))
	}
	k.quiet(t, route)
	// The route leaves our Gateways.
	k.of(route, func(*model.ObjectStatus) {})
	k.until(t, route, "theirs alone", has(map[string]string{"example.com/other": "round 9"}))
	k.quiet(t, route)
}

func cleared(t *testing.T, k *statusKube) {
	vs := k.virtualService(t, "cleared")
	k.of(vs, accepted)
	k.writer(t, nil)
	for name, edit := range map[string]func(map[string]any){
		"cleared":          func(u map[string]any) { u["status"] = map[string]any{} },
		"conditions empty": func(u map[string]any) { u["status"].(map[string]any)["conditions"] = []any{} },
		"changed": func(u map[string]any) {
			_, c := condition(u["status"].(map[string]any)["conditions"], "Programmed")
			c["status"], c["message"] = "False", "by hand"
		},
	} {
		got := k.until(t, vs, "Programmed before "+name, is("Programmed", "True/Programmed"))
		edit(got.Object)
		got, err := k.resource(got).UpdateStatus(t.Context(), got, metav1.UpdateOptions{FieldManager: "user"})
		if err != nil {
			t.Fatal(err)
		}
		if is("Programmed", "True/Programmed")(got) {
			t.Fatalf("%s: the edit did nothing", name)
		}
		k.until(t, vs, "Programmed after "+name, is("Programmed", "True/Programmed"))
		k.quiet(t, vs)
	}
	// A condition of somebody else stays.
	mine := map[string]any{"type": "example.com/Mine", "status": "True", "reason": "So", "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
	got := k.get(t, vs)
	statusOf(got)["conditions"] = append(statusOf(got)["conditions"].([]any), mine)
	if _, err := k.resource(got).UpdateStatus(t.Context(), got, metav1.UpdateOptions{FieldManager: "user"}); err != nil {
		t.Fatal(err)
	}
	k.of(vs, func(o *model.ObjectStatus) {
		o.Conditions = []model.Condition{{Type: "Accepted", Reason: "Conflict", Message: "no"}}
	})
	got = k.until(t, vs, "Invalid", is("Programmed", "False/Invalid"))
	if !is("example.com/Mine", "True/So")(got) {
		t.Errorf("got %v", statusOf(got))
	}
	k.quiet(t, vs)
}

func istioVersions(t *testing.T, k *statusKube) {
	old := k.create(t, custom("networking.istio.io", "v1alpha3", "VirtualService", k.ns, "old", vsSpec("a.com")))
	theirs := k.create(t, custom("networking.istio.io", "v1beta1", "VirtualService", k.ns, "theirs", vsSpec("a.com")))
	theirs.Object["status"] = map[string]any{"observedGeneration": int64(7), "conditions": []any{
		map[string]any{"type": "Accepted", "status": "Unknown", "reason": "Theirs", "message": "istiod's", "lastTransitionTime": "2026-01-01T00:00:00Z"},
	}}
	theirs, err := k.resource(theirs).UpdateStatus(t.Context(), theirs, metav1.UpdateOptions{FieldManager: "pilot-discovery"})
	if err != nil {
		t.Fatal(err)
	}
	k.of(old, accepted)
	k.of(theirs, accepted)

	_, _, stop := k.writer(t, func(c *status.Config) { c.Compat = false })
	k.quiet(t, old) // nobody asked for the Istio group
	stop()

	registry, _, _ := k.writer(t, nil)
	got := k.until(t, old, "Programmed", is("Programmed", "True/Programmed"))
	through := ""
	for _, m := range got.GetManagedFields() {
		if m.Manager == status.FieldManager {
			through = m.APIVersion + " " + string(m.Operation) + " " + m.Subresource
		}
	}
	if through != "networking.istio.io/v1 Apply status" {
		t.Errorf("written as %q", through)
	}
	k.quiet(t, old)
	for end := time.Now().Add(30 * time.Second); count(t, registry, "fairlead_status_errors_total") < 1; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the conflict is not counted")
		}
	}
	k.quiet(t, theirs)
	if !is("Accepted", "Unknown/Theirs")(k.get(t, theirs)) {
		t.Error("another controller's status was overwritten")
	}
}

func lives(t *testing.T, k *statusKube) {
	vs := k.virtualService(t, "again")
	k.of(vs, accepted)
	registry, _, _ := k.writer(t, nil)
	k.until(t, vs, "Programmed", is("Programmed", "True/Programmed"))
	if err := k.resource(vs).Delete(t.Context(), vs.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	vs = k.virtualService(t, "again")
	k.quiet(t, vs) // what is said is about its predecessor
	k.of(vs, accepted)
	k.until(t, vs, "Programmed again", is("Programmed", "True/Programmed"))
	// Nothing is said of it any more: our part goes.
	k.of(vs, nil)
	k.until(t, vs, "an empty status", func(u *unstructured.Unstructured) bool {
		c, _ := statusOf(u)["conditions"].([]any)
		return len(c) == 0
	})
	k.quiet(t, vs)
	k.of(vs, accepted)
	k.until(t, vs, "Programmed once more", is("Programmed", "True/Programmed"))
	if err := k.resource(vs).Delete(t.Context(), vs.GetName(), metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	k.quiet(t, k.virtualService(t, "bystander"))
	if n := count(t, registry, "fairlead_status_errors_total"); n != 0 {
		t.Errorf("%v errors over an object that is gone", n)
	}
}

func patience(t *testing.T, k *statusKube) {
	vs := k.virtualService(t, "patience")
	k.fares(refOf(vs), barrier.Fate{Resources: 1, Clients: 2, Progress: barrier.Behind})
	k.of(vs, accepted)
	registry, _, stop := k.writer(t, func(c *status.Config) { c.Settle = time.Hour })
	k.quiet(t, vs) // an answer is awaited
	k.fares(refOf(vs), barrier.Fate{Resources: 1, Clients: 2})
	k.until(t, vs, "Programmed", is("Programmed", "True/Programmed"))
	k.fares(refOf(vs), barrier.Fate{Resources: 1}) // all Envoys restart, or this replica is new
	stop()
	if n := count(t, registry, "fairlead_status_writes_total"); n != 1+5 {
		t.Errorf("%v writes", n)
	}
	_, _, stop = k.writer(t, func(c *status.Config) { c.Absent = time.Hour })
	k.quiet(t, vs)
	stop()
	k.writer(t, nil)
	k.until(t, vs, "Pending when they do not come back", is("Programmed", "Unknown/Pending"))
	k.quiet(t, vs)
}

func replicas(t *testing.T, k *statusKube) {
	lease := func(identity string) func(*status.Config) {
		return func(c *status.Config) {
			c.Lease = &status.Lease{
				Namespace: k.ns, Name: "fairlead-status", Identity: identity,
				Duration: 5 * time.Minute, RenewDeadline: 10 * time.Second, RetryPeriod: 100 * time.Millisecond,
			}
		}
	}
	vs := k.virtualService(t, "shared")
	k.of(vs, accepted)
	one, first, stop := k.writer(t, lease("one"))
	k.until(t, vs, "Programmed", is("Programmed", "True/Programmed"))
	two, second, _ := k.writer(t, lease("two"))
	k.quiet(t, vs)
	if !first.Leading() || second.Leading() || count(t, two, "fairlead_status_writes_total") != 0 || count(t, one, "fairlead_status_writes_total") < 1+5 {
		t.Errorf("one leads: %v, two leads: %v; writes %v and %v", first.Leading(), second.Leading(),
			count(t, one, "fairlead_status_writes_total"), count(t, two, "fairlead_status_writes_total"))
	}
	stop() // gives up the Lease, so nobody waits for the 5 minutes
	k.of(vs, func(o *model.ObjectStatus) {
		o.Conditions = []model.Condition{{Type: "Accepted", Reason: "Conflict", Message: "no"}}
	})
	k.until(t, vs, "the second's word", is("Programmed", "False/Invalid"))
	if first.Leading() || !second.Leading() {
		t.Errorf("one leads: %v, two leads: %v", first.Leading(), second.Leading())
	}
	k.quiet(t, vs)
	l, err := k.dynamic.Resource(schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}).
		Namespace(k.ns).Get(t.Context(), "fairlead-status", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if holder, _, _ := unstructured.NestedString(l.Object, "spec", "holderIdentity"); holder != "two" {
		t.Errorf("the Lease is held by %q", holder)
	}
}

// While a few objects change without end and the rate is far below that, all others get their turn, and so do they.
func storm(t *testing.T, k *statusKube) {
	var noisy, calm []*unstructured.Unstructured
	for i := range 5 {
		noisy = append(noisy, k.virtualService(t, "noisy-"+strconv.Itoa(i)))
	}
	for i := range 40 {
		calm = append(calm, k.virtualService(t, "zcalm-"+strconv.Itoa(i))) // behind the noisy ones in every order
	}
	start := time.Now()
	registry, _, _ := k.writer(t, func(c *status.Config) { c.Rate, c.Burst = 40, 1 })
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			k.of(noisy[i%len(noisy)], func(o *model.ObjectStatus) {
				accepted(o)
				o.Conditions[0].Message = strconv.Itoa(i)
			})
		}
	}()
	for _, u := range calm {
		k.of(u, accepted)
	}
	for _, u := range append(calm, noisy...) {
		k.until(t, u, "Programmed "+u.GetName(), is("Programmed", "True/Programmed"))
	}
	n, took := count(t, registry, "fairlead_status_writes_total"), time.Since(start)
	close(stop)
	<-stopped
	t.Logf("%v writes in %v", n, took)
	if most := 40*took.Seconds() + 2; n > most {
		t.Errorf("%v writes in %v are above the rate", n, took)
	}
}

func outage(t *testing.T, k *statusKube) {
	vs := k.virtualService(t, "outage")
	k.of(vs, accepted)
	k.writer(t, func(c *status.Config) { c.RetryMax = time.Second })
	k.until(t, vs, "Programmed", is("Programmed", "True/Programmed"))
	if err := k.server.Down(); err != nil {
		t.Fatal(err)
	}
	k.of(vs, func(o *model.ObjectStatus) {
		o.Conditions = []model.Condition{{Type: "Accepted", Reason: "Conflict", Message: "no"}}
	})
	if err := k.server.Up(); err != nil {
		t.Fatal(err)
	}
	k.until(t, vs, "what was said during the outage", is("Programmed", "False/Invalid"))
	k.quiet(t, vs)
}
