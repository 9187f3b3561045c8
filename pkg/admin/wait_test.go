package admin

import (
	"context"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/barrier"
)

// waits answers what a test tells it to, and remembers what it was asked.
type waits struct {
	asked   barrier.Query
	until   time.Duration
	answers []barrier.Answer
	block   bool
}

func (w *waits) Absent() []barrier.Absent {
	return []barrier.Absent{{Node: "node-x", Reason: "not connected"}}
}

func (w *waits) Wait(ctx context.Context, q barrier.Query, tell func(barrier.Answer)) barrier.Answer {
	w.asked = q
	if end, ok := ctx.Deadline(); ok {
		w.until = time.Until(end)
	}
	last := len(w.answers) - 1
	for _, a := range w.answers[:last] {
		tell(a)
	}
	if w.block {
		<-ctx.Done()
	}
	return w.answers[last]
}

func TestWait(t *testing.T) {
	r := newRig(t)
	server := httptest.NewServer(r.Handler())
	defer server.Close()
	client := NewClient(strings.TrimPrefix(server.URL, "http://"))
	r.barrier.answers = []barrier.Answer{{Outcome: barrier.Waiting, Through: 1}, {Outcome: barrier.Waiting, Through: 2}, {Outcome: barrier.Passed, Nodes: 3}}
	q := barrier.Query{Group: "g", Kind: "VirtualService", Namespace: "shop", Name: "reviews", UID: "u", Generation: 7}
	var told []int
	got, err := client.Wait(t.Context(), q, 5*time.Second, func(a barrier.Answer) { told = append(told, a.Through) })
	if err != nil || got.Outcome != barrier.Passed || got.Nodes != 3 {
		t.Errorf("got %+v, %v", got, err)
	}
	if len(told) != 2 || told[1] != 2 {
		t.Errorf("told %v", told)
	}
	if r.barrier.asked != q || r.barrier.until > 5*time.Second {
		t.Errorf("asked %+v within %v", r.barrier.asked, r.barrier.until)
	}

	r.barrier.answers, r.barrier.block = []barrier.Answer{{Outcome: barrier.TimedOut}}, true
	if got, err := client.Wait(t.Context(), q, time.Millisecond, nil); err != nil || got.Outcome != barrier.TimedOut {
		t.Errorf("got %+v, %v", got, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.Wait(ctx, q, time.Hour, nil); err == nil {
		t.Error("a wait outlives its context")
	}
}

func TestWaitRefusesNonsense(t *testing.T) {
	r := newRig(t)
	for query, words := range map[string]string{
		"name=x":                             "kind and name are required",
		"kind=VirtualService":                "kind and name are required",
		"kind=a&name=b&generation=0":         "neither a number from 1 nor latest",
		"kind=a&name=b&generation=new":       "neither a number from 1 nor latest",
		"kind=a&name=b&timeout=never":        "is not a duration",
		"kind=a&name=b&timeout=-1s":          "is not a duration",
		"kind=a&name=b&timeout=100000h":      "is not a duration",
		"kind=a&name=b&timeout=1s&uid=x&x=y": "",
	} {
		r.barrier.answers = []barrier.Answer{{Outcome: barrier.Passed}}
		w := httptest.NewRecorder()
		req := httptest.NewRequest("GET", "http://127.0.0.1/api/wait?"+query, nil)
		r.Handler().ServeHTTP(w, req)
		if words != "" && (w.Code != 400 || !strings.Contains(w.Body.String(), words)) || words == "" && w.Code != 200 {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}
