package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"fairlead.io/fairlead/pkg/model"
)

// Edit is what a series of edits of one manifest under load showed.
type Edit struct {
	What  string `json:"what"`
	Count int    `json:"count"`
	// Seen is from the write of the file to the first response with the new behaviour, Acked to Envoy's acknowledgement; the
	// middle and the worst of the series, in milliseconds.
	SeenMedian  float64 `json:"seenMedianMs"`
	SeenWorst   float64 `json:"seenWorstMs"`
	AckedMedian float64 `json:"ackedMedianMs"`
	AckedWorst  float64 `json:"ackedWorstMs"`
	Requests    int64   `json:"requests"`
	Failed      int64   `json:"failed"`
	Fault       string  `json:"fault,omitempty"` // of the first request that failed
	Pass        bool    `json:"pass"`
}

// between is how many requests are answered between two edits.
const between = 100

// change is a manifest that can be edited, and how its new behaviour is seen.
type change struct {
	what, file string
	ref        model.Ref
	// edit gives the text of revision n; shows tells whether an answer is of that revision.
	edit  func(text string, n int) string
	shows func(a answer, n int) bool
}

// changes are the two kinds of edit: a route, and the endpoints behind it.
func changes() []change {
	header := `x-revision: "`
	return []change{
		{
			"VirtualService edited", "live.yaml",
			model.Ref{Group: "fairlead.io", Kind: "VirtualService", Namespace: "shop", Name: "live"},
			func(text string, n int) string {
				return strings.Replace(text, header+`0"`, header+strconv.Itoa(n)+`"`, 1)
			},
			func(a answer, n int) bool { return a.header.Get("x-revision") == strconv.Itoa(n) },
		},
		{
			// The Service catalog moves between two backends; the route stays as it is.
			"EndpointSlice edited", "services.yaml",
			model.Ref{Group: "discovery.k8s.io", Kind: "EndpointSlice", Namespace: "shop", Name: "catalog-1"},
			func(text string, n int) string {
				if n%2 == 1 {
					return strings.Replace(text, "{name: http, port: 18101}", "{name: http, port: 18102}", 1)
				}
				return text
			},
			func(a answer, n int) bool {
				return a.backend == map[bool]string{true: "cart", false: "catalog"}[n%2 == 1]
			},
		},
	}
}

func (d *demo) editAll(ctx context.Context) ([]Edit, error) {
	var out []Edit
	for _, c := range changes() {
		d.progress("%d times %s, under load", d.cfg.Edits, c.what)
		e, err := d.edit(ctx, c)
		if err != nil {
			return nil, err
		}
		out = append(out, e)
	}
	return out, nil
}

// edit runs a series of edits of one manifest under load.
func (d *demo) edit(ctx context.Context, c change) (Edit, error) {
	text, err := fs.ReadFile(d.cfg.Manifests, "manifests/"+c.file)
	if err != nil {
		return Edit{}, fmt.Errorf("read manifest: %w", err)
	}
	l := startLoad(ctx, d.client, d.ports[18081], "live.example.com")
	defer l.stop()
	var seen, acked []time.Duration
	for n := 1; n <= d.cfg.Edits; n++ {
		// The series is worth nothing without requests between the edits.
		if err := l.more(ctx, between); err != nil {
			return Edit{}, err
		}
		s, a, err := d.once(ctx, c, l, string(text), n)
		if err != nil {
			return Edit{}, err
		}
		seen, acked = append(seen, s), append(acked, a)
	}
	requests, failed, fault := l.stop()
	e := Edit{What: c.what, Count: d.cfg.Edits, Requests: requests, Failed: failed, Fault: fault, Pass: failed == 0 && requests > 0}
	e.SeenMedian, e.SeenWorst = spread(seen)
	e.AckedMedian, e.AckedWorst = spread(acked)
	return e, nil
}

// once writes revision n and measures until it is seen, and until it is acknowledged.
func (d *demo) once(ctx context.Context, c change, l *load, text string, n int) (seen, acked time.Duration, err error) {
	first := l.expect(func(a answer) bool { return c.shows(a, n) })
	before := d.control.Seq()
	start := time.Now()
	if err := d.put(c.file, c.edit(text, n)); err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 20*time.Second, fmt.Errorf("revision %d of %s has not reached Envoy in 20 s", n, c.file))
	defer cancel()
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for seen == 0 || acked == 0 {
		select {
		case at := <-first:
			seen, first = at.Sub(start), nil
		case <-tick.C:
			if acked == 0 && d.control.Seq() > before && d.control.Acked(c.ref) {
				acked = time.Since(start)
			}
		case err := <-d.done:
			return 0, 0, errors.Join(errors.New("the server stopped"), err)
		case <-ctx.Done():
			return 0, 0, context.Cause(ctx)
		}
	}
	return seen, acked, nil
}

// spread gives the middle and the largest, in milliseconds.
func spread(list []time.Duration) (median, worst float64) {
	if len(list) == 0 {
		return 0, 0
	}
	slices.Sort(list)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return ms(list[len(list)/2]), ms(list[len(list)-1])
}
