package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// promised are conditions in which promises are judged.
func promised() Conditions { return Conditions{Services: promisedServices, Clients: promisedClients} }

func figures(p50, last, cpu float64) Figures {
	return Figures{Changes: map[string]Change{endpointKind: {Count: 5, P50: p50, Last: last, CPU: cpu}}}
}

func verdict(t *testing.T, r Run, c Conditions, what string) string {
	t.Helper()
	for _, line := range table(r, c) {
		if line[0] == what {
			return line[len(line)-1]
		}
	}
	t.Fatalf("no line %q", what)
	return ""
}

func TestVerdicts(t *testing.T) {
	const p50, cpu = endpointKind + ", p50", endpointKind + ", CPU"
	good := Run{Fairlead: figures(14, 40, 0.01), Istiod: figures(185, 232, 0.16), Floor: figures(6.3, 18, 0.01)}
	for _, test := range []struct {
		name, what, want string
		edit             func(*Run, *Conditions)
	}{
		{"all is kept", p50, "kept", func(*Run, *Conditions) {}},
		{"the goal in milliseconds", p50, "MISSED: goal", func(r *Run, _ *Conditions) { r.Fairlead = figures(15.5, 40, 0.01) }},
		{"the ratio", p50, "MISSED: ratio", func(r *Run, _ *Conditions) { r.Istiod = figures(100, 232, 0.16) }},
		{"the floor", p50, "MISSED: floor (2.8×)", func(r *Run, _ *Conditions) { r.Floor = figures(5, 18, 0.01) }},
		{"no istiod", p50, "goal kept; the rest not measured", func(r *Run, _ *Conditions) { r.Istiod = Figures{} }},
		{"no Fairlead", p50, "not measured", func(r *Run, _ *Conditions) { r.Fairlead = Figures{} }},
		{"another size", p50, "not judged", func(_ *Run, c *Conditions) { c.Services = 300 }},
		{"CPU has a goal only", cpu, "MISSED: goal", func(r *Run, _ *Conditions) { r.Fairlead = figures(14, 40, 0.03) }},
		{"receipts that never came", p50, "MISSED: 3 receipts", func(r *Run, _ *Conditions) {
			r.Fairlead.Changes = map[string]Change{endpointKind: {Count: 5, P50: 14, Last: 40, Missed: 3}}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, c := good, promised()
			test.edit(&r, &c)
			if got := verdict(t, r, c, test.what); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestMedianIsTakenValueByValue(t *testing.T) {
	got := medianRun([]Run{{Fairlead: figures(1, 30, 3)}, {Fairlead: figures(2, 10, 1)}, {Fairlead: figures(9, 20, 2)}})
	want := Change{Count: 15, P50: 2, Last: 20, CPU: 2}
	if got.Fairlead.Changes[endpointKind] != want {
		t.Errorf("got %+v, want %+v", got.Fairlead.Changes[endpointKind], want)
	}
	if got.Scoped != nil || len(got.Istiod.Changes) != 0 {
		t.Errorf("made up %+v", got)
	}
}

func TestWriteDocsReplacesOnlyWhatIsBetweenTheMarkers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.md")
	r := &Report{Conditions: promised(), Median: Run{Fairlead: figures(14, 40, 0.01)}}
	if err := os.WriteFile(path, []byte("before\n"+docBegin+"old\n"+docEnd+"after\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time replaces the first one's
		if err := r.writeDocs(path); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(page), "\n")
	if lines[0] != "before" || !slices.Contains(lines, "after") || slices.Contains(lines, "old") || strings.Count(string(page), "endpoint, p50") != 1 {
		t.Errorf("page:\n%s", page)
	}
	if err := os.WriteFile(path, []byte("no markers"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.writeDocs(path); err == nil || !strings.Contains(err.Error(), "markers") {
		t.Errorf("error %v, want one about the markers", err)
	}
}
