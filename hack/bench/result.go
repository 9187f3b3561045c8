package main

import (
	"cmp"
	"slices"
)

// Report is what a run of the bench writes as JSON. Times are in milliseconds unless the name says otherwise.
type Report struct {
	Conditions Conditions
	// Runs has one entry a run: what each server did. Median is taken value by value over them.
	Runs   []Run
	Median Run
	// Pods is the mesh with a Pod behind each endpoint, once; nil when it was not asked for.
	Pods *Run `json:",omitempty"`
}

// Conditions are what the figures depend on.
type Conditions struct {
	Date, CPU, Kernel, Go            string
	Cores                            int
	Fairlead, Istiod, Kubernetes     string
	Flags                            string
	Services, Clients, Changes, Runs int
	Profiled                         bool `json:",omitempty"`
}

// Run is every server measured once on a mesh of its own, and the floor.
type Run struct {
	Fairlead, Istiod, Floor Figures
	// Scoped is Fairlead with clients that are scoped to a tenth of the services.
	Scoped *Figures `json:",omitempty"`
	// CSR is what comes of asking for certificates; nil when it was not measured.
	CSR *CSR `json:",omitempty"`
	// IstiodFailed is why istiod was not measured to the end.
	IstiodFailed string `json:",omitempty"`
}

// Figures are one server's. The floor has no ReadySeconds, and the two kinds of bytes that it sends.
type Figures struct {
	ReadySeconds, ReadyCPU float64 // from the start of the process until it is ready; CPU in seconds
	Cold                   Cold
	Changes                map[string]Change
	PeakMB                 float64 // resident memory at most, all in all
}

// Cold is N clients that connect at once and want everything.
type Cold struct {
	First, P50, Last float64
	BytesPerClient   float64
	CPU              float64 // seconds, until the last client has everything
	RestCPU          float64 // seconds, until the server has also ended what that caused: it writes conditions
	PeakMB           float64
}

// Change is one kind of change.
type Change struct {
	Count          int
	P50, P99       float64 // from just before the write to the receipt, all clients and changes
	Last           float64 // the median over the changes of the slowest client
	BytesPerClient float64 // a change
	CPU            float64 // seconds a change
	MB             float64 // resident memory afterwards
	Missed         int     // clients and changes that never met
}

// medianRun takes every value's own median: no single run is the median in everything.
func medianRun(runs []Run) Run {
	pick := func(of func(Run) Figures) Figures {
		figures := make([]Figures, len(runs))
		for i, r := range runs {
			figures[i] = of(r)
		}
		return medianFigures(figures)
	}
	out := Run{
		Fairlead: pick(func(r Run) Figures { return r.Fairlead }),
		Istiod:   pick(func(r Run) Figures { return r.Istiod }),
		Floor:    pick(func(r Run) Figures { return r.Floor }),
	}
	var scoped []Figures
	for _, r := range runs {
		out.IstiodFailed = cmp.Or(out.IstiodFailed, r.IstiodFailed)
		if r.Scoped != nil {
			scoped = append(scoped, *r.Scoped)
		}
	}
	out.CSR = medianCSR(runs)
	if len(scoped) > 0 {
		m := medianFigures(scoped)
		out.Scoped = &m
	}
	return out
}

func medianFigures(figures []Figures) Figures {
	out := Figures{Changes: map[string]Change{}}
	mid := func(of func(Figures) float64) float64 { return median(figures, of) }
	out.ReadySeconds = mid(func(f Figures) float64 { return f.ReadySeconds })
	out.ReadyCPU = mid(func(f Figures) float64 { return f.ReadyCPU })
	out.PeakMB = mid(func(f Figures) float64 { return f.PeakMB })
	out.Cold = Cold{
		First: mid(func(f Figures) float64 { return f.Cold.First }), P50: mid(func(f Figures) float64 { return f.Cold.P50 }),
		Last: mid(func(f Figures) float64 { return f.Cold.Last }), CPU: mid(func(f Figures) float64 { return f.Cold.CPU }),
		RestCPU:        mid(func(f Figures) float64 { return f.Cold.RestCPU }),
		BytesPerClient: mid(func(f Figures) float64 { return f.Cold.BytesPerClient }), PeakMB: mid(func(f Figures) float64 { return f.Cold.PeakMB }),
	}
	for _, kind := range changeKinds() {
		var changes []Change
		for _, f := range figures {
			if c, ok := f.Changes[kind]; ok {
				changes = append(changes, c)
			}
		}
		if len(changes) > 0 {
			out.Changes[kind] = medianChange(changes)
		}
	}
	return out
}

// medianChange adds up the counts.
func medianChange(changes []Change) Change {
	mid := func(of func(Change) float64) float64 { return median(changes, of) }
	out := Change{
		P50: mid(func(c Change) float64 { return c.P50 }), P99: mid(func(c Change) float64 { return c.P99 }),
		Last: mid(func(c Change) float64 { return c.Last }), CPU: mid(func(c Change) float64 { return c.CPU }),
		BytesPerClient: mid(func(c Change) float64 { return c.BytesPerClient }), MB: mid(func(c Change) float64 { return c.MB }),
	}
	for _, c := range changes {
		out.Count += c.Count
		out.Missed += c.Missed
	}
	return out
}

// median of an even number of values is the mean of the two in the middle.
func median[T any](values []T, of func(T) float64) float64 {
	numbers := make([]float64, len(values))
	for i, v := range values {
		numbers[i] = of(v)
	}
	slices.Sort(numbers)
	n := len(numbers)
	switch {
	case n == 0:
		return 0
	case n%2 == 0:
		return (numbers[n/2-1] + numbers[n/2]) / 2
	}
	return numbers[n/2]
}
