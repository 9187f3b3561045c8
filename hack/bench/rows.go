package main

import (
	"fmt"
	"strings"
)

// The size that the promises are for.
const (
	promisedServices = 5000
	promisedClients  = 200
)

// row is one figure of the comparison, and what is promised for it.
type row struct {
	what    string
	unit    string
	of      func(Figures) (float64, bool)
	missed  func(Figures) int // receipts that never came; nil where there are none
	atLeast float64           // so many times less than istiod's; 0 promises nothing
	atMost  float64           // in unit; 0 promises nothing
	floor   float64           // at most so many times the floor's; 0 promises nothing
}

func rows() []row {
	cold := func(of func(Cold) float64) func(Figures) (float64, bool) {
		return func(f Figures) (float64, bool) { return of(f.Cold), f.Cold.Last > 0 }
	}
	out := []row{
		{what: "start to ready", unit: "s", of: func(f Figures) (float64, bool) { return f.ReadySeconds, f.ReadySeconds > 0 }},
		{what: "cold, first client", unit: "ms", of: cold(func(c Cold) float64 { return c.First })},
		{what: "cold, p50", unit: "ms", of: cold(func(c Cold) float64 { return c.P50 })},
		{what: "cold, last client", unit: "ms", of: cold(func(c Cold) float64 { return c.Last }), atLeast: 5, atMost: 8000},
		{what: "cold, CPU", unit: "s", of: cold(func(c Cold) float64 { return c.CPU }), atLeast: 15, atMost: 4},
		{what: "cold, CPU until at rest", unit: "s", of: cold(func(c Cold) float64 { return c.RestCPU })},
		{what: "cold, peak memory", unit: "MB", of: cold(func(c Cold) float64 { return c.PeakMB }), atLeast: 5, atMost: 500},
		{what: "cold, bytes a client", unit: "kB", of: cold(func(c Cold) float64 { return c.BytesPerClient / 1000 })},
	}
	promised := map[string][3]row{ // p50, last, CPU
		endpointKind:   {{atLeast: 8, atMost: 15, floor: 2.5}, {atLeast: 4, atMost: 45, floor: 2.5}, {atMost: 0.02}},
		virtualKind:    {{atLeast: 100, atMost: 20}, {atMost: 60}, {atLeast: 100, atMost: 0.03}},
		newServiceKind: {{atLeast: 50, atMost: 30}, {atMost: 90}, {atMost: 0.04}},
	}
	for _, kind := range changeKinds() {
		p := promised[kind]
		add := func(p row, what, unit string, of func(Change) float64) {
			p.what, p.unit = kind+", "+what, unit
			p.missed = func(f Figures) int { return f.Changes[kind].Missed }
			p.of = func(f Figures) (float64, bool) {
				c, ok := f.Changes[kind]
				return of(c), ok
			}
			out = append(out, p)
		}
		add(p[0], "p50", "ms", func(c Change) float64 { return c.P50 })
		add(row{}, "p99", "ms", func(c Change) float64 { return c.P99 })
		add(p[1], "last client", "ms", func(c Change) float64 { return c.Last })
		add(p[2], "CPU", "s", func(c Change) float64 { return c.CPU })
		add(row{}, "bytes a client", "kB", func(c Change) float64 { return c.BytesPerClient / 1000 })
	}
	return append(out, row{what: "peak memory, all in all", unit: "MB", of: func(f Figures) (float64, bool) { return f.PeakMB, f.PeakMB > 0 }})
}

// scopedRows are of clients that see a tenth of the services.
func scopedRows() []row {
	last := func(f Figures) (float64, bool) { return f.Cold.Last, f.Cold.Last > 0 }
	return []row{
		{what: "scoped cold, last client", unit: "ms", of: last, atMost: 1500},
		{what: "scoped cold, CPU", unit: "s", of: func(f Figures) (float64, bool) { return f.Cold.CPU, f.Cold.Last > 0 }},
		{what: "scoped cold, bytes a client", unit: "kB", of: func(f Figures) (float64, bool) { return f.Cold.BytesPerClient / 1000, f.Cold.Last > 0 }},
	}
}

// table is the comparison as cells; the first line is the heading.
func table(r Run, c Conditions) [][]string {
	judged := c.Services == promisedServices && c.Clients == promisedClients
	out := [][]string{{"", "istiod", "Fairlead", "ratio", "required", "floor", "goal", "verdict"}}
	for _, row := range rows() {
		out = append(out, row.line(r.Istiod, r.Fairlead, r.Floor, judged))
	}
	scoped := Figures{}
	if r.Scoped != nil {
		scoped = *r.Scoped
	}
	for _, row := range scopedRows() {
		out = append(out, row.line(Figures{}, scoped, Figures{}, judged))
	}
	return out
}

func (r row) line(istiod, fairlead, floor Figures, judged bool) []string {
	i, hasI := r.of(istiod)
	f, hasF := r.of(fairlead)
	l, hasL := r.of(floor)
	out := []string{r.what, r.number(i, hasI), r.number(f, hasF), "", "", r.number(l, hasL), "", ""}
	if hasI && hasF && f > 0 {
		out[3] = fmt.Sprintf("%.3g×", i/f)
	}
	var required, broken []string
	if r.atLeast > 0 {
		required = append(required, fmt.Sprintf("≥ %g×", r.atLeast))
		if hasI && f*r.atLeast > i {
			broken = append(broken, "ratio")
		}
	}
	if r.floor > 0 {
		required = append(required, fmt.Sprintf("≤ %g× floor", r.floor))
		if hasL && f > r.floor*l {
			broken = append(broken, fmt.Sprintf("floor (%.2g×)", f/l))
		}
	}
	out[4] = strings.Join(required, ", ")
	if r.atMost > 0 {
		out[6] = r.number(r.atMost, true)
		if f > r.atMost {
			broken = append(broken, "goal")
		}
	}
	if r.missed != nil && r.missed(fairlead) > 0 {
		broken = append(broken, fmt.Sprintf("%d receipts", r.missed(fairlead)))
	}
	switch {
	case len(required) == 0 && r.atMost == 0:
	case !hasF:
		out[7] = "not measured"
	case !judged:
		out[7] = "not judged"
	case len(broken) > 0:
		out[7] = "MISSED: " + strings.Join(broken, ", ")
	case r.atLeast > 0 && !hasI, r.floor > 0 && !hasL:
		out[7] = "goal kept; the rest not measured"
	default:
		out[7] = "kept"
	}
	return out
}

func (r row) number(v float64, has bool) string {
	if !has {
		return ""
	}
	return number(v, r.unit)
}

// number is a value with as many digits as it deserves.
func number(v float64, unit string) string {
	switch {
	case unit == "s" && v < 0.1:
		return fmt.Sprintf("%.4f s", v)
	case unit == "s" && v < 10:
		return fmt.Sprintf("%.3f s", v)
	case v < 10:
		return fmt.Sprintf("%.2f %s", v, unit)
	case v < 100:
		return fmt.Sprintf("%.1f %s", v, unit)
	}
	return fmt.Sprintf("%.0f %s", v, unit)
}
