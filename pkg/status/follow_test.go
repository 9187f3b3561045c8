package status

import (
	"strconv"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/model"
)

// fleet says the same of n objects.
type fleet struct {
	statuses map[model.Ref]*model.ObjectStatus
	fate     barrier.Fate
}

func (f *fleet) Ready() bool { return true }
func (f *fleet) Refs() (out []model.Ref) {
	for ref := range f.statuses {
		out = append(out, ref)
	}
	return out
}

func (f *fleet) Get(ref model.Ref) (*model.ObjectStatus, barrier.Fate) {
	return f.statuses[ref], f.fate
}

// world is a term over n objects that an API server has without any status. Nothing runs.
func world(t testing.TB, n int) (*term, *fleet) {
	t.Helper()
	f := &fleet{map[model.Ref]*model.ObjectStatus{}, acked}
	w, err := New(Config{
		REST: &rest.Config{Host: "127.0.0.1:1"}, View: f, Watch: func() Watch { return nil }, Controller: controller, Settle: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	tm := newTerm(w)
	t.Cleanup(tm.queue.ShutDown)
	for i := range n {
		s := plain("fairlead.io", yes("Accepted"))
		s.Ref.Name = strconv.Itoa(i)
		f.statuses[s.Ref] = s
		tm.observe(s.Ref, &seen{uid: "u", version: "1"})
	}
	return tm, f
}

func (t *term) lookAtAll() {
	for _, ref := range t.everything() {
		t.look(ref, time.Now())
	}
	t.first(time.Now())
}

func drain(t *term) {
	for t.queue.Len() > 0 {
		ref, _ := t.queue.Get()
		t.queue.Done(ref)
	}
}

// queued waits until that many are queued, as some are after a moment.
func queued(t *term, want int) int {
	for end := time.Now().Add(5 * time.Second); t.queue.Len() < want && time.Now().Before(end); time.Sleep(time.Millisecond) {
	}
	return t.queue.Len()
}

func TestWhatChangedIsQueued(t *testing.T) {
	tm, f := world(t, 10)
	if tm.queue.Len() != 0 {
		t.Error("objects are queued before anything is known of them")
	}
	for _, step := range []struct {
		name string
		fate barrier.Fate
		want int
	}{
		{"at first", acked, 10},
		{"nothing new", acked, 0},
		{"other counts, the same verdict", barrier.Fate{Resources: 3, Clients: 3}, 0},
		{"an answer is outstanding", behind, 0}, // within Settle
		{"a rejection", rejected, 10},
	} {
		f.fate = step.fate
		tm.lookAtAll()
		if got := tm.queue.Len(); got != step.want {
			t.Errorf("%s: %d objects are queued, want %d", step.name, got, step.want)
		}
		drain(tm)
	}
	clear(f.statuses)
	tm.lookAtAll()
	if tm.queue.Len() != 0 || len(tm.rows) != 10 {
		t.Errorf("deleted: %d queued, %d rows", tm.queue.Len(), len(tm.rows))
	}
}

// What the API server has of us and nobody speaks of is given up, and not before everything has been looked at.
func TestWhatNobodySpeaksOfIsGivenUp(t *testing.T) {
	tm, _ := world(t, 1)
	left := plain("fairlead.io").Ref
	left.Name = "left"
	tm.observe(left, &seen{uid: "u", version: "1", owned: []byte(`{"f:status":{"f:conditions":{}}}`)})
	tm.w.cfg.Settle = time.Nanosecond
	if tm.queue.Len() != 0 {
		t.Error("given up too early")
	}
	tm.lookAtAll()
	if got := queued(tm, 2); got != 2 {
		t.Errorf("%d are queued, want 2", got)
	}
}

// A verdict of the same generation is not taken back because nodes connect: they may well have it from before.
func TestAVerdictStandsWhileNodesJoin(t *testing.T) {
	tm, f := world(t, 1)
	tm.w.cfg.Settle, tm.w.cfg.Absent = time.Nanosecond, time.Hour
	ref := tm.everything()[0]
	judged := map[string]any{"conditions": []any{map[string]any{"type": "Programmed", "status": "True", "observedGeneration": f.statuses[ref].Generation}}}
	for _, c := range []struct {
		name   string
		status map[string]any
		want   int
	}{
		{"judged", judged, 0},
		{"not judged", map[string]any{}, 1},
	} {
		f.fate = acked
		tm.lookAtAll()
		drain(tm)
		tm.rows[ref].have = &seen{uid: "u", version: "2", status: c.status}
		f.fate = joining
		tm.lookAtAll()
		if got := queued(tm, c.want); got != c.want {
			t.Errorf("%s: %d are queued, want %d", c.name, got, c.want)
		}
		drain(tm)
	}
}

// BenchmarkLook looks at one of 5,000 objects after a client said something of it.
func BenchmarkLook(b *testing.B) {
	tm, f := world(b, 5000)
	tm.lookAtAll()
	ref := tm.everything()[0]
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		f.fate.Resources = i
		tm.look(ref, time.Now())
	}
}
