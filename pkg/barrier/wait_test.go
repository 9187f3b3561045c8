package barrier

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// waiting runs a Wait beside a test: steps look, and the answer comes when there is one.
func waiting(t *testing.T, g *rig, q Query) (answer func() (Answer, bool)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan Answer, 1)
	q.Kind, q.Namespace = "virtualservice", "shop"
	if q.Name == "" {
		q.Name = "x"
	}
	go func() { defer cancel(); done <- g.Wait(ctx, q, nil) }()
	t.Cleanup(func() { cancel(); synctest.Wait() })
	return func() (Answer, bool) {
		g.look()
		synctest.Wait()
		select {
		case a := <-done:
			return a, true
		default:
			return Answer{}, false
		}
	}
}

func wantAnswer(t *testing.T, answer func() (Answer, bool), outcome Outcome, words string) Answer {
	t.Helper()
	a, ok := answer()
	if !ok {
		t.Fatalf("no answer, want %s", outcome)
	}
	if a.Outcome != outcome || !strings.Contains(a.Message, words) {
		t.Errorf("answer %+v, want %s with %q", a, outcome, words)
	}
	return a
}

func wantNone(t *testing.T, answer func() (Answer, bool)) {
	t.Helper()
	if a, ok := answer(); ok {
		t.Fatalf("answered too early: %+v", a)
	}
}

func TestWaitPasses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		w := waiting(t, a, Query{Generation: 2})
		wantNone(t, w)
		a.edit("x", "u1", 2, "two")
		a.ack("node-1")
		wantNone(t, w)
		b.edit("x", "u1", 2, "two")
		b.sync()
		wantNone(t, w)
		b.ack("node-2")
		b.sync()
		if got := wantAnswer(t, w, Passed, "generation 2 is acknowledged by all 2 nodes"); got.Nodes != 2 || got.Through != 2 || got.UID != "u1" {
			t.Errorf("got %+v", got)
		}
	})
}

// What an object refers to may change all the time; that does not put off the answer about the object.
func TestWaitIsNotPutOffByOtherChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRig(t, "a")
		a.edit("x", "u1", 1, "one")
		a.connect("node-1")
		a.ack("node-1")
		a.edit("x", "u1", 2, "two")
		w := waiting(t, a, Query{})
		wantNone(t, w)
		a.ack("node-1")
		a.edit("x", "u1", 2, "endpoints have moved")
		wantAnswer(t, w, Passed, "generation 2")
		a.want("x", Behind, []string{"node-1"})
	})
}

func TestWaitForWhatIsToCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, _ := two(t)
		w := waiting(t, a, Query{Name: "later"})
		wantNone(t, w)
		a.edit("later", "u9", 1, "at last")
		wantNone(t, w)
		time.Sleep(time.Minute)
		got := wantAnswer(t, w, TimedOut, "of 2 nodes")
		if strings.Join(got.Behind, " ") != "node-1 node-2" {
			t.Errorf("got %+v", got)
		}
		w = waiting(t, a, Query{Name: "never"})
		wantNone(t, w)
		time.Sleep(time.Minute)
		wantAnswer(t, w, TimedOut, "does not exist")
	})
}

func TestWaitOfAnObjectThatIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		a.edit("x", "u1", 2, "two")
		pinned := waiting(t, a, Query{UID: "u1"})
		free := waiting(t, a, Query{})
		wantNone(t, pinned)
		a.edit("x", "u2", 1, "new")
		a.ack("node-1")
		wantAnswer(t, pinned, Replaced, "object was replaced: VirtualService shop/x now has UID u2, not u1")
		wantNone(t, free) // the acknowledgements of the old one are not for this
		b.edit("x", "u2", 1, "new")
		b.ack("node-2")
		b.sync()
		wantAnswer(t, free, Passed, "generation 1")
	})
}

func TestWaitFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		b.refusing = []Refusal{{Origins: vsList("x"), Rejection: Rejection{Type: clusterType, Resource: "x", Node: "node-2", Message: "no such thing\n"}}}
		b.sync()
		wantAnswer(t, waiting(t, a, Query{}), Rejected, "node node-2 rejected the Cluster x: no such thing")

		a.says("x", false, "InvalidRegex", "spec.http[0]: bad")
		a.refusing, b.refusing = nil, nil
		b.sync()
		wantAnswer(t, waiting(t, a, Query{}), NotAccepted, "Accepted is false, InvalidRegex: spec.http[0]: bad")

		a.also("x", "networking.istio.io")
		wantAnswer(t, waiting(t, a, Query{}), Ambiguous, "VirtualService.fairlead.io, VirtualService.networking.istio.io")
		wantAnswer(t, waiting(t, a, Query{Group: "networking.istio.io"}), NotAccepted, "nothing is said of it")
		w := waiting(t, a, Query{Name: "other"})
		wantAnswer(t, w, Passed, "")
		w = waiting(t, a, Query{Name: "never"})
		a.Leave()
		wantAnswer(t, w, TimedOut, "shutting down")
	})
}

func TestWaitNamesTheAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		b.disconnect("node-2")
		b.sync()
		a.edit("x", "u1", 2, "two")
		a.ack("node-1")
		w := waiting(t, a, Query{})
		wantNone(t, w)
		time.Sleep(30 * time.Second)
		got := wantAnswer(t, w, Passed, "all 1 nodes")
		if len(got.Absent) != 1 || got.Absent[0].Node != "node-2" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestWaitWithoutNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRig(t, "a")
		a.edit("x", "u1", 1, "one")
		w := waiting(t, a, Query{})
		wantNone(t, w)
		a.connect("node-1")
		wantNone(t, w)
		a.ack("node-1")
		wantAnswer(t, w, Passed, "")
	})
}
