package table_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	. "fairlead.io/fairlead/pkg/table"
)

// In an interruption an urgent key that reads a table outside the lane waits, and nothing is removed: a client must
// not lose the endpoints of a cluster that it still has.
func TestInterruptionLeavesWhatIsHalfWay(t *testing.T) {
	e := New(Options{Strict: true})
	services, fast := NewSource[string](e, "services"), NewSource[string](e, "fast", Urgent())
	during := func(string) {}
	bulk := NewDerived(e, "bulk", func(r *Reader, key string) (string, bool) {
		during(key)
		v, _ := Get(r, services, "all")
		return v, true
	}, []Trigger{services})
	mixed := Publish(NewDerived(e, "mixed", func(r *Reader, key string) (string, bool) {
		f, ok := Get(r, fast, key)
		b, _ := Get(r, bulk, key)
		return f + b, ok
	}, []Trigger{fast}, UrgentStage()))
	endpoints := Publish(NewDerived(e, "endpoints", func(r *Reader, key string) (string, bool) {
		f, _ := Get(r, fast, key)
		return "for " + key + f, true
	}, []Trigger{services}, UrgentStage()))
	perhaps := Publish(NewDerived(e, "perhaps", func(r *Reader, key string) (string, bool) {
		f, _ := Get(r, fast, key)
		_, ok := Get(r, services, "b")
		return f, ok
	}, []Trigger{fast}, UrgentStage()))
	row := func(o *Output[string], key string) string {
		v, ok := o.Get(e.Snapshot(), key)
		return fmt.Sprint(v, ok)
	}
	b := e.NewBatch()
	for _, k := range []string{"a", "all", "b", "c", "d"} {
		services.Set(b, k, "0")
		fast.Set(b, k, "f")
	}
	e.Apply(b)

	checked := false
	during = func(key string) {
		switch key {
		case "b", "c": // "a" has run; "b" is gone and has not been taken out
			u := e.NewBatch()
			fast.Set(u, "a", "g")
			fast.Set(u, "d", "g")
			e.Submit(u)
		case "d":
			checked = true
			if m, g, p, d := row(mixed, "a"), row(endpoints, "b"), row(perhaps, "a"), row(endpoints, "d"); m != "f0true" || g != "for bftrue" || p != "ftrue" || d != "for dgtrue" {
				t.Errorf("in the middle: mixed %s, removed %s, perhaps %s, lane %s", m, g, p, d)
			}
		}
	}
	b = e.NewBatch()
	services.Set(b, "all", "1")
	services.Delete(b, "b")
	e.Apply(b)
	if m, g, p := row(mixed, "a"), row(endpoints, "b"), row(perhaps, "a"); !checked || m != "g1true" || g != "false" || p != "false" {
		t.Errorf("at the end: mixed %s, removed %s, perhaps %s", m, g, p)
	}
	deferred := uint64(0)
	for _, s := range e.Stats() {
		deferred += s.Deferred
	}
	if deferred == 0 {
		t.Error("nothing was deferred")
	}
}

// A dependency of many readers: those that stop reading are not run again, and nothing stays when all are gone.
func TestManyReaders(t *testing.T) {
	e := New(Options{Strict: true})
	ask, data := NewSource[string](e, "ask"), NewSource[string](e, "data")
	ix := NewIndex(data, "all", func(string, string) []string { return []string{"all"} })
	runs := 0
	NewDerived(e, "d", func(r *Reader, key string) (int, bool) {
		runs++
		how, _ := Get(r, ask, key)
		if how == "skip" {
			return 0, true
		}
		return len(List(r, ix, "all")), true
	}, []Trigger{ask})
	do := func(want int, fn func(b *Batch)) {
		t.Helper()
		b := e.NewBatch()
		fn(b)
		runs = 0
		e.Apply(b)
		if runs != want {
			t.Errorf("%d runs, want %d", runs, want)
		}
	}
	const n = 200
	all := func(b *Batch, from, to int, how string) {
		for i := from; i < to; i++ {
			ask.Set(b, fmt.Sprint(i), how)
		}
	}
	touch := func(v string) func(*Batch) { return func(b *Batch) { data.Set(b, "row", v) } }
	do(n, func(b *Batch) { all(b, 0, n, "read") })
	do(n, touch("1"))
	do(60, func(b *Batch) { all(b, 0, 60, "skip") })
	do(n-60, touch("2"))
	do(30, func(b *Batch) { all(b, 0, 30, "again") })
	do(n-30, touch("3"))
	do(n-60, func(b *Batch) { all(b, 60, n, "skip") })
	do(30, touch("4"))
	do(30, func(b *Batch) { all(b, 0, 30, "skip") })
	do(0, func(b *Batch) { data.Delete(b, "row") })
	if s := e.Stats()[1]; s.IndexKeys != 0 {
		t.Errorf("left over: %+v", s)
	}
}

// Snapshots of many pages against a plain map, old snapshots included.
func TestSnapshotPages(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := New(Options{Strict: true})
		src := NewSource[int](e, "src")
		out := Publish(NewDerived(e, "out", func(r *Reader, key string) (int, bool) { return Get(r, src, key) }, []Trigger{src}))
		want := map[string]int{}
		text := func(s *Snapshot) string {
			var b strings.Builder
			last, n := "", 0
			out.Range(s, func(k string, v int) bool {
				if k <= last {
					t.Fatalf("%q after %q", k, last)
				}
				last = k
				n++
				fmt.Fprint(&b, k, "=", v, " ")
				return true
			})
			if n != out.Len(s) {
				t.Fatalf("Len %d of %d", out.Len(s), n)
			}
			return b.String()
		}
		var old *Snapshot
		var oldText string
		for step := range rapid.IntRange(1, 8).Draw(t, "steps") {
			from, n, stride := rapid.IntRange(0, 3000).Draw(t, "from"), rapid.IntRange(1, 2000).Draw(t, "n"), rapid.IntRange(1, 40).Draw(t, "stride")
			remove := rapid.IntRange(0, 2).Draw(t, "remove") == 0
			b := e.NewBatch()
			for i := from; i < from+n; i += stride {
				key := fmt.Sprintf("%04d", i)
				if remove {
					src.Delete(b, key)
					delete(want, key)
				} else {
					src.Set(b, key, step)
					want[key] = step
				}
			}
			e.Apply(b)
			s := e.Snapshot()
			if now := text(s); out.Len(s) != len(want) {
				t.Fatalf("%d rows, want %d: %s", out.Len(s), len(want), now)
			}
			for k, v := range want {
				if got, ok := out.Get(s, k); !ok || got != v {
					t.Fatalf("%s = %d %v, want %d", k, got, ok, v)
				}
			}
			if old != nil && text(old) != oldText {
				t.Fatal("an old snapshot changed")
			}
			old, oldText = s, text(s)
		}
	})
}

// A pass gets as much time as its interruptions, however many urgent changes come.
func TestInterruptionsLeaveHalfTheTime(t *testing.T) {
	now := time.Unix(0, 0)
	e := New(Options{Strict: true, Now: func() time.Time { return now }})
	slow, fast := NewSource[int](e, "slow"), NewSource[int](e, "fast", Urgent())
	n := 0
	NewDerived(e, "urgent", func(r *Reader, key string) (int, bool) {
		now = now.Add(100 * time.Millisecond)
		return Get(r, fast, key)
	}, []Trigger{fast}, UrgentStage())
	NewDerived(e, "bulk", func(r *Reader, key string) (int, bool) {
		now = now.Add(time.Millisecond)
		n++
		b := e.NewBatch()
		fast.Set(b, "k", n)
		if n <= 1000 {
			e.Submit(b)
		}
		return Get(r, slow, key)
	}, []Trigger{slow})
	b := e.NewBatch()
	for i := range 1000 {
		slow.Set(b, fmt.Sprint(i), i)
	}
	e.Apply(b)
	if p := e.PassStats(); p.Interruptions < 8 || p.Interruptions > 11 {
		t.Errorf("%d interruptions of 100 ms in a second of keys", p.Interruptions)
	}
}

// A row that is back to what was published is no change.
func TestBackToThePublishedRow(t *testing.T) {
	l := newLanes(Options{})
	l.fill()
	seq := l.e.Snapshot().Seq
	l.e.Hold()
	l.e.Apply(l.slowBatch("1", 1))
	l.e.Apply(l.slowBatch("0", 1))
	l.e.Release()
	l.e.Apply(l.fastBatch("new", "x", 1))
	if changes, ok := l.e.Snapshot().ChangesSince(seq); !ok || len(changes) != 2 {
		t.Errorf("%d changes %v, want the new key's two", len(changes), ok)
	}
}
