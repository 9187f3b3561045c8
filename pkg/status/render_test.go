package status

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"fairlead.io/fairlead/pkg/model"
)

const controller = "fairlead.io/gateway-controller"

var (
	before = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	after  = before.Add(time.Hour)
)

// applied makes what an API server would have after a status was applied by us, with more managed fields if told.
func applied(t *testing.T, status map[string]any, owned string) *seen {
	t.Helper()
	raw, err := json.Marshal(status)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON([]byte(`{"apiVersion":"a/v1","kind":"K","metadata":{"name":"n","uid":"u","resourceVersion":"5"},"status":` + string(raw) + `}`)); err != nil {
		t.Fatal(err)
	}
	u.SetManagedFields([]metav1.ManagedFieldsEntry{
		{Manager: "user", Subresource: "status", FieldsV1: metav1.NewFieldsV1(`{"f:status":{"f:other":{}}}`)},
		{Manager: FieldManager, Subresource: "status", FieldsV1: metav1.NewFieldsV1(owned)},
	})
	return look(u)
}

func finals() map[shape]*Final {
	ok := []Condition{{Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted"}, {Type: "Programmed", Status: metav1.ConditionUnknown, Reason: "Pending"}}
	gw := model.Ref{Group: gatewayGroup, Kind: "Gateway", Namespace: "edge", Name: "gw"}
	return map[shape]*Final{
		plainShape: {Ref: model.Ref{Group: "fairlead.io", Kind: "VirtualService", Namespace: "a", Name: "b"}, Generation: 4, Conditions: ok},
		gatewayShape: {
			Ref: gw, Conditions: ok, Addresses: []string{"10.0.0.1"},
			Listeners: []Listener{{Name: "http", AttachedRoutes: 2, Conditions: ok}, {Name: "tcp", Conditions: ok}},
		},
		routeShape: {
			Ref: model.Ref{Group: gatewayGroup, Kind: "HTTPRoute", Namespace: "a", Name: "b"}, Generation: 4,
			Parents: []Parent{{Ref: gw, Section: "http", Port: 80, Conditions: ok}, {Ref: gw, Conditions: ok}},
		},
		policyShape: {Ref: model.Ref{Group: model.NetworkPolicyGroup, Kind: "ClusterNetworkPolicy", Name: "p"}, Generation: 4, Conditions: ok},
		classShape:  {Ref: model.Ref{Group: gatewayGroup, Kind: "GatewayClass", Name: "c"}, Conditions: ok[:1]},
	}
}

// What was applied needs no second writing, at whatever time; each change does.
func TestWrittenOnce(t *testing.T) {
	for kind, f := range finals() {
		first := render(f, &seen{}, controller, before)
		if !differs(kind, first, &seen{}, controller) {
			t.Errorf("shape %d: nothing to write on an empty status", kind)
		}
		have := applied(t, first, `{}`)
		second := render(f, have, controller, after)
		if diff := cmp.Diff(first, second); diff != "" {
			t.Errorf("shape %d: (-first +second)\n%s", kind, diff)
		}
		if differs(kind, second, have, controller) {
			t.Errorf("shape %d is written twice", kind)
		}
		f.Generation++
		if !differs(kind, render(f, have, controller, after), have, controller) {
			t.Errorf("shape %d: a new generation is not written", kind)
		}
	}
}

func TestTransitionTime(t *testing.T) {
	f := finals()[plainShape]
	have := applied(t, render(f, &seen{}, controller, before), `{}`)
	f.Conditions[0].Message = "another"
	f.Conditions[1].Status = metav1.ConditionTrue
	want := []string{before.Format(time.RFC3339), after.Format(time.RFC3339)}
	for i, c := range render(f, have, controller, after)["conditions"].([]any) {
		if got := c.(map[string]any)["lastTransitionTime"]; got != want[i] {
			t.Errorf("condition %d: %v, want %s", i, got, want[i])
		}
	}
}

// What others wrote beside ours is no reason to write; what is ours and no longer wanted is.
func TestLeftovers(t *testing.T) {
	f := finals()[plainShape]
	status := render(f, &seen{}, controller, before)
	more := map[string]any{
		"observedGeneration": status["observedGeneration"], "validationMessages": []any{},
		"conditions": append(status["conditions"].([]any), map[string]any{"type": "Other", "status": "True"}),
	}
	for owned, want := range map[string]bool{
		`{}`: false,
		`{"f:status":{"f:observedGeneration":{},"f:conditions":{"k:{\"type\":\"Accepted\"}":{".":{},"f:status":{}}}}}`: false,
		`{"f:status":{"f:conditions":{"k:{\"type\":\"Other\"}":{".":{}}}}}`:                                            true,
		`{"f:status":{"f:conditions":{"k:{\"type\":\"Accepted\"}":{"f:gone":{}}}}}`:                                    true,
		`{"f:status":{"f:validationMessages":{}}}`:                                                                     true,
		`{"f:status":{"f:conditions":{}}}`:                                                                             true, // a definition in which the list is one value
	} {
		have := applied(t, more, owned)
		if got := differs(plainShape, render(f, have, controller, after), have, controller); got != want {
			t.Errorf("owned %s: differs is %v", owned, got)
		}
	}
}

// Entries of other controllers stay as they are, wherever they stand; the list has room for 32.
func TestOtherParents(t *testing.T) {
	f := finals()[routeShape]
	other := func(name string) any {
		return map[string]any{"controllerName": "example.com/other", "parentRef": map[string]any{"name": name}, "conditions": []any{}}
	}
	ours := render(f, &seen{}, controller, before)["parents"].([]any)
	have := applied(t, map[string]any{"parents": []any{other("a"), ours[0], other("b"), ours[1]}}, `{}`)
	got := render(f, have, controller, after)
	if diff := cmp.Diff([]any{other("a"), other("b"), ours[0], ours[1]}, got["parents"]); diff != "" {
		t.Error(diff)
	}
	if differs(routeShape, got, have, controller) {
		t.Error("the order of others' entries makes us write")
	}
	f.Parents = f.Parents[:1]
	if !differs(routeShape, render(f, have, controller, after), have, controller) {
		t.Error("an entry that is no longer wanted stays")
	}
	var full []any
	for range 31 {
		full = append(full, other("x"))
	}
	f = finals()[routeShape]
	have = applied(t, map[string]any{"parents": full}, `{}`)
	if n := len(render(f, have, controller, after)["parents"].([]any)); n != maxParents {
		t.Errorf("%d entries", n)
	}
}
