package status

import (
	"strconv"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/table"
)

// fleet answers for every object alike.
type fleet struct{ status push.OriginStatus }

func (f *fleet) For(model.Ref) push.OriginStatus { return f.status }
func (f *fleet) Changed() <-chan struct{}        { return nil }

// world is a term over n objects that an API server has without any status. Nothing runs.
func world(t testing.TB, n int) (*term, *fleet, *table.Engine) {
	t.Helper()
	e := table.New(table.Options{})
	said := table.NewSource[*model.ObjectStatus](e, "said")
	out := table.Publish(table.NewDerived(e, "statuses", func(r *table.Reader, key string) (*model.ObjectStatus, bool) {
		return table.Get(r, said, key)
	}, []table.Trigger{said}))
	f := &fleet{acked}
	w, err := New(Config{REST: &rest.Config{Host: "127.0.0.1:1"}, Engine: e, Statuses: out, Push: f, Controller: controller, Settle: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	tm := newTerm(w)
	t.Cleanup(tm.queue.ShutDown)
	b := e.NewBatch()
	for i := range n {
		s := plain("fairlead.io", yes("Accepted"))
		s.Ref.Name = strconv.Itoa(i)
		said.Set(b, "fairlead.io/VirtualService/"+s.Ref.Key(), s)
		tm.observe(s.Ref, &seen{uid: "u", version: "1"})
	}
	e.Apply(b)
	return tm, f, e
}

func TestSweepQueuesWhatChanged(t *testing.T) {
	tm, f, e := world(t, 10)
	if tm.queue.Len() != 0 {
		t.Error("objects are queued before anything is known of them")
	}
	for _, step := range []struct {
		name   string
		status push.OriginStatus
		want   int
	}{
		{"at first", acked, 10},
		{"nothing new", acked, 0},
		{"other counts, the same verdict", push.OriginStatus{Resources: 3, Sent: 9, Acked: 9, Clients: 3}, 0},
		{"an answer is outstanding", unacked, 0}, // within Settle
		{"a rejection", rejected, 10},
	} {
		f.status = step.status
		tm.look(e.Snapshot(), time.Now())
		if got := tm.queue.Len(); got != step.want {
			t.Errorf("%s: %d objects are queued, want %d", step.name, got, step.want)
		}
		for tm.queue.Len() > 0 {
			ref, _ := tm.queue.Get()
			tm.queue.Done(ref)
		}
	}
}

// BenchmarkSweep looks at 5,000 objects after a client said something that concerns one of them at most.
func BenchmarkSweep(b *testing.B) {
	tm, _, e := world(b, 5000)
	snap := e.Snapshot()
	tm.look(snap, time.Now())
	b.ReportAllocs()
	for b.Loop() {
		tm.look(snap, time.Now())
	}
}
