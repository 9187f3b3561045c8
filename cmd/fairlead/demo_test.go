package main

import (
	"encoding/json"
	"testing"

	"fairlead.io/fairlead/pkg/demo"
)

func TestDemo(t *testing.T) {
	code, out, errs := fairlead(t, "", "demo", "--edits", "5", "-o", "json")
	if code != 0 {
		t.Fatalf("exit code %d\n%s%s", code, out, errs)
	}
	var r demo.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Rows) < 10 || len(r.Edits) != 2 || r.Failed() {
		t.Errorf("result %+v", r)
	}
	for _, e := range r.Edits {
		if e.Requests < 500 || e.Failed != 0 || e.SeenMedian <= 0 || e.AckedMedian <= 0 {
			t.Errorf("edit %+v", e)
		}
	}
}
