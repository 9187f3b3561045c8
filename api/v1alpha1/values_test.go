package v1alpha1_test

import (
	"encoding/json"
	"testing"
	"time"

	"fairlead.io/fairlead/api/v1alpha1"
)

func TestDurationParse(t *testing.T) {
	for in, want := range map[v1alpha1.Duration]time.Duration{
		"5s": 5 * time.Second, "1.5s": 1500 * time.Millisecond, "1h30m": 90 * time.Minute,
		"250ms": 250 * time.Millisecond, "0s": 0, "0": 0,
	} {
		if got, err := in.Parse(); err != nil || got != want {
			t.Errorf("%q: got %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []v1alpha1.Duration{"", "5", "-5s", "+5s", ".5s", "5 s", "1d", "s", "9999999h"} {
		if got, err := in.Parse(); err == nil {
			t.Errorf("%q: got %v, want an error", in, got)
		}
	}
}

// Zero and absent stay apart where they mean different things.
func TestPresence(t *testing.T) {
	var set, unset v1alpha1.HTTPRoute
	if err := json.Unmarshal([]byte(`{"timeout":"0s","retries":{"attempts":0},"route":[{"weight":0}],"mirrorPercent":0}`), &set); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(`{"retries":{},"route":[{}]}`), &unset); err != nil {
		t.Fatal(err)
	}
	if set.Timeout == "" || set.Retries.Attempts == nil || set.Route[0].Weight == nil || set.MirrorPercent == nil {
		t.Errorf("a written zero was lost: %+v", set)
	}
	if unset.Timeout != "" || unset.Retries.Attempts != nil || unset.Route[0].Weight != nil || unset.MirrorPercent != nil {
		t.Errorf("an absent field appeared: %+v", unset)
	}
}

// An Istio status (protobuf JSON: generations are strings; other fields) must not
// keep an object from being read.
func TestStatusOfAnotherController(t *testing.T) {
	for name, in := range map[string]string{
		"istio": `{"observedGeneration":"7","validationMessages":[{"level":"INFO"}],"addresses":[{"value":"240.240.0.1"}],
		  "conditions":[{"type":"Reconciled","status":"True","observedGeneration":"7","lastProbeTime":null,"lastTransitionTime":"2026-01-02T03:04:05.678Z"}]}`,
		"numbers": `{"observedGeneration":7,"conditions":[{"type":"Reconciled","status":"True","observedGeneration":7}]}`,
		"mixed":   `{"observedGeneration":7,"conditions":["odd",{"type":"Reconciled","status":"True","observedGeneration":"7"}]}`,
	} {
		var vs v1alpha1.VirtualService
		if err := json.Unmarshal([]byte(`{"spec":{"hosts":["a"]},"status":`+in+`}`), &vs); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if vs.Status.ObservedGeneration != 7 || len(vs.Status.Conditions) != 1 || vs.Status.Conditions[0].ObservedGeneration != 7 {
			t.Errorf("%s: got %+v", name, vs.Status)
		}
	}
	for _, in := range []string{`"odd"`, `[]`, `{"conditions":{}}`, `{"observedGeneration":true}`} {
		var vs v1alpha1.VirtualService
		if err := json.Unmarshal([]byte(`{"spec":{"hosts":["a"]},"status":`+in+`}`), &vs); err != nil || len(vs.Spec.Hosts) != 1 {
			t.Errorf("status %s lost the object: %v, %+v", in, err, vs)
		}
	}
}
