package table_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	. "fairlead.io/fairlead/pkg/table"
)

// lanes is an engine with an urgent and a slow lane of 1,000 keys each.
type lanes struct {
	e            *Engine
	slow, fast   *Source[string]
	bulk, urgent *Output[string]
	duringBulk   func(n int) // called in the nth run of the bulk table since the last reset
	bulkRuns     int
}

const bulkKeys = 1000

func newLanes(opts Options) *lanes {
	opts.Strict = true
	l := &lanes{e: New(opts), duringBulk: func(int) {}}
	l.slow, l.fast = NewSource[string](l.e, "slow"), NewSource[string](l.e, "fast", Urgent())
	l.urgent = Publish(NewDerived(l.e, "urgent", func(r *Reader, key string) (string, bool) {
		v, ok := Get(r, l.fast, key)
		return fmt.Sprint(v, "@", r.Position()), ok
	}, []Trigger{l.fast}, UrgentStage()))
	l.bulk = Publish(NewDerived(l.e, "bulk", func(r *Reader, key string) (string, bool) {
		v, _ := Get(r, l.slow, "all")
		f, _ := Get(r, l.fast, key)
		l.bulkRuns++
		l.duringBulk(l.bulkRuns)
		return v + f, true
	}, []Trigger{l.fast}))
	return l
}

func (l *lanes) fill() {
	b := l.e.NewBatch()
	l.slow.Set(b, "all", "0")
	for i := range bulkKeys {
		l.fast.Set(b, fmt.Sprintf("k%04d", i), "f")
	}
	b.Position(1)
	l.e.Apply(b)
	l.bulkRuns = 0
}

func (l *lanes) slowBatch(v string, pos uint64) *Batch {
	b := l.e.NewBatch()
	l.slow.Set(b, "all", v)
	b.Position(pos)
	return b
}

func (l *lanes) fastBatch(key, v string, pos uint64) *Batch {
	b := l.e.NewBatch()
	l.fast.Set(b, key, v)
	b.Position(pos)
	return b
}

func TestUrgentBatchInterruptsALongPass(t *testing.T) {
	l := newLanes(Options{})
	l.fill()
	before := l.e.Snapshot()
	l.duringBulk = func(n int) {
		switch n {
		case 100:
			l.e.Submit(l.fastBatch("k0005", "now", 20)) // k0005 has run in this pass already
		case 101:
			s := l.e.Snapshot()
			if s.Seq != before.Seq+1 || s.Position != 1 || s.Urgent != 20 {
				t.Errorf("after the interruption: seq %d position %d urgent %d", s.Seq, s.Position, s.Urgent)
			}
			changes, ok := s.ChangesSince(before.Seq)
			if !ok || len(changes) != 1 || changes[0] != (Change{"urgent", "k0005"}) {
				t.Errorf("published in the middle: %v %v", changes, ok)
			}
			if v, _ := l.urgent.Get(s, "k0005"); v != "now@20" {
				t.Errorf("urgent row %q", v)
			}
			l.bulk.Range(s, func(key, v string) bool {
				if v != "0f" {
					t.Errorf("bulk row %s is half-way: %q", key, v)
				}
				return true
			})
		}
	}
	l.e.Apply(l.slowBatch("1", 10))
	s := l.e.Snapshot()
	if l.bulkRuns != bulkKeys+1 { // k0005 twice: what the interruption changed joined the pass
		t.Errorf("%d runs", l.bulkRuns)
	}
	if changes, ok := s.ChangesSince(before.Seq + 1); !ok || len(changes) != bulkKeys || s.Seq != before.Seq+2 || s.Position != 20 {
		t.Errorf("end of pass: %d changes %v, seq %d, position %d", len(changes), ok, s.Seq, s.Position)
	}
	if v, _ := l.bulk.Get(s, "k0005"); v != "1now" {
		t.Errorf("bulk row %q", v)
	}
	if p := l.e.PassStats(); p.Passes != 2 || p.Interruptions != 1 {
		t.Errorf("%+v", p)
	}
}

// A waiting ordinary batch that an urgent one overtakes must not undo it, and its position must not be claimed.
func TestOvertaking(t *testing.T) {
	l := newLanes(Options{})
	l.fill()
	mixed := l.slowBatch("1", 5)
	l.fast.Set(mixed, "k0001", "old")
	l.fast.Set(mixed, "k0002", "kept")
	l.e.Submit(mixed)
	l.e.Submit(l.fastBatch("k0001", "new", 6))
	s := l.e.Snapshot()
	l.duringBulk = func(n int) {
		if n == 10 { // the urgent batch has had its own pass
			s = l.e.Snapshot()
		}
	}
	l.e.Apply(l.e.NewBatch())
	if v, _ := l.urgent.Get(s, "k0001"); v != "new@6" || s.Position != 1 || s.Urgent != 6 {
		t.Errorf("first: %q position %d urgent %d", v, s.Position, s.Urgent)
	}
	s = l.e.Snapshot()
	k1, _ := l.bulk.Get(s, "k0001")
	k2, _ := l.bulk.Get(s, "k0002")
	if k1 != "1new" || k2 != "1kept" || s.Position != 6 {
		t.Errorf("then: %q %q position %d", k1, k2, s.Position)
	}
}

func TestLastWriteOfAKeyWins(t *testing.T) {
	e := New(Options{Strict: true})
	src := NewSource[string](e, "src")
	out := Publish(NewDerived(e, "out", func(r *Reader, key string) (string, bool) { return Get(r, src, key) }, []Trigger{src}))
	for i, v := range []string{"1", "2", "", "3"} {
		b := e.NewBatch()
		if v == "" {
			src.Delete(b, "k")
		} else {
			src.Set(b, "k", v)
		}
		src.Set(b, fmt.Sprint("other", i), v)
		e.Submit(b)
	}
	e.Apply(e.NewBatch())
	if v, _ := out.Get(e.Snapshot(), "k"); v != "3" || out.Len(e.Snapshot()) != 5 || e.PassStats().Passes != 1 {
		t.Errorf("%q, %d rows, %+v", v, out.Len(e.Snapshot()), e.PassStats())
	}
}

func TestPanicStaysWithItsKey(t *testing.T) {
	var log strings.Builder
	e := New(Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	src := NewSource[string](e, "src")
	out := Publish(NewDerived(e, "out", func(r *Reader, key string) (string, bool) {
		v, _ := Get(r, src, key)
		if v == "bad" {
			panic("cannot do " + key)
		}
		return v, true
	}, []Trigger{src}))
	set := func(kv ...string) string {
		b := e.NewBatch()
		for i := 0; i < len(kv); i += 2 {
			src.Set(b, kv[i], kv[i+1])
		}
		e.Apply(b)
		text := ""
		out.Range(e.Snapshot(), func(k, v string) bool { text += k + "=" + v + " "; return true })
		return text
	}
	set("a", "1", "b", "1", "c", "1")
	if got := set("a", "2", "b", "bad", "c", "2"); got != "a=2 b=1 c=2 " {
		t.Errorf("beside a panic: %s", got)
	}
	if l := log.String(); !strings.Contains(l, "table=out") || !strings.Contains(l, "key=b") || !strings.Contains(l, "cannot do b") || !strings.Contains(l, "run_test.go") {
		t.Errorf("log: %s", l)
	}
	if s := e.Stats()[1]; s.Panics != 1 || s.Name != "out" {
		t.Errorf("%+v", s)
	}
	if got := set("b", "3"); got != "a=2 b=3 c=2 " {
		t.Errorf("after its repair: %s", got)
	}
}

func TestIndexPanicStaysWithItsRow(t *testing.T) {
	e := New(Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	src := NewSource[string](e, "src")
	ix := NewIndex(src, "letter", func(_ string, v string) []string { return []string{v[:1]} })
	out := Publish(NewDerived(e, "out", func(r *Reader, key string) (string, bool) { return keysOf(List(r, ix, key)), true }, []Trigger{ix}))
	for _, v := range []string{"x", "", "y"} {
		b := e.NewBatch()
		src.Set(b, "k", v)
		src.Set(b, "other"+v, "z")
		e.Apply(b)
	}
	if v, ok := out.Get(e.Snapshot(), "y"); v != "k" || !ok || out.Len(e.Snapshot()) != 2 || e.Stats()[0].Panics != 2 {
		t.Errorf("%q %v, %d rows, %+v", v, ok, out.Len(e.Snapshot()), e.Stats()[0])
	}
}

func TestHoldPublishesNothing(t *testing.T) {
	l := newLanes(Options{})
	l.e.Hold()
	l.e.Hold()
	first := l.e.Snapshot()
	l.fill()
	l.e.Release()
	l.e.Apply(l.fastBatch("k0000", "x", 2))
	select {
	case <-first.Next():
		t.Error("published while held")
	default:
	}
	l.e.Release()
	l.e.Apply(l.e.NewBatch())
	<-first.Next()
	if s := l.e.Snapshot(); s.Seq != 1 || l.bulk.Len(s) != bulkKeys || s.Position != 2 {
		t.Errorf("seq %d, %d rows, position %d", s.Seq, l.bulk.Len(s), s.Position)
	}
	if changes, ok := l.e.Snapshot().ChangesSince(0); !ok || len(changes) != 2*bulkKeys {
		t.Errorf("%d changes, %v", len(changes), ok)
	}
}

func TestChangesSinceIsBounded(t *testing.T) {
	l := newLanes(Options{LogChanges: 100})
	l.fill()
	for i := range 200 {
		l.e.Apply(l.fastBatch("k0000", fmt.Sprint(i), uint64(10+i)))
	}
	s := l.e.Snapshot()
	for _, c := range []struct {
		seq  uint64
		ok   bool
		rows int
	}{{1, false, 0}, {s.Seq - 60, false, 0}, {s.Seq - 30, true, 2}, {s.Seq - 1, true, 2}, {s.Seq, true, 0}, {s.Seq + 1, false, 0}} {
		if changes, ok := s.ChangesSince(c.seq); ok != c.ok || len(changes) != c.rows {
			t.Errorf("since %d of %d: %v %v", c.seq, s.Seq, changes, ok)
		}
	}
}

// Submitters, snapshot readers and lookers beside Run: for the race detector.
func TestRunBesideReaders(t *testing.T) {
	l := newLanes(Options{Why: true})
	l.fill()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.e.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	const rounds = 50
	wg.Go(func() {
		for i := range rounds {
			l.e.Submit(l.slowBatch(fmt.Sprint(i), uint64(100+i)))
		}
	})
	wg.Go(func() {
		for i := range rounds {
			l.e.Submit(l.fastBatch("k0001", fmt.Sprint(i), uint64(200+i)))
		}
	})
	wg.Go(func() {
		for range rounds {
			if w, ok := l.e.Why("bulk", "k0001"); !ok || len(w.Reads) != 2 || l.e.Stats() == nil {
				t.Errorf("%+v %v", w, ok)
			}
			if rows, ok := l.e.Dump("bulk"); !ok || len(rows) != bulkKeys {
				t.Errorf("dump: %d %v", len(rows), ok)
			}
		}
	})
	want, deadline := fmt.Sprint(rounds-1, rounds-1), time.After(time.Minute)
	last := uint64(0)
	for {
		s := l.e.Snapshot()
		v, _ := l.bulk.Get(s, "k0001")
		all := map[string]bool{}
		l.bulk.Range(s, func(key, v string) bool { all[strings.TrimSuffix(v, "f")] = true; return true })
		if len(all) > 2 || s.Seq < last { // all keys of one pass, and k0001 of it
			t.Errorf("snapshot %d mixes passes: %v", s.Seq, all)
		}
		last = s.Seq
		if strings.Replace(want, " ", "", 1) == v {
			break
		}
		select {
		case <-s.Next():
		case <-deadline:
			t.Fatalf("stuck at %q, seq %d", v, s.Seq)
		}
	}
	if err := l.e.Run(ctx); err == nil {
		t.Error("two writers")
	}
	cancel()
	wg.Wait()
}

// What a batch claims to be complete is true of a snapshot only when all outputs have what came before it.
func TestCompleteWaitsForWhatIsOvertaken(t *testing.T) {
	complete := func(b *Batch, p uint64) *Batch { b.Complete(p); return b }
	l := newLanes(Options{})
	l.fill()
	l.e.Apply(complete(l.e.NewBatch(), 1))
	shows := func(when string, want uint64) {
		t.Helper()
		if s := l.e.Snapshot(); s.Complete != want {
			t.Errorf("%s: complete up to %d, want %d", when, s.Complete, want)
		}
	}
	shows("a claim without a change", 1)
	l.duringBulk = func(n int) {
		switch n {
		case 100:
			l.e.Submit(complete(l.fastBatch("k0005", "now", 20), 19))
		case 101:
			shows("after an interruption, with other outputs half-way", 1)
		}
	}
	l.e.Apply(complete(l.slowBatch("1", 10), 9))
	shows("at the end of the pass", 19)

	l.bulkRuns = 0
	l.e.Submit(complete(l.slowBatch("2", 30), 29))
	l.e.Submit(complete(l.fastBatch("k0001", "new", 40), 39))
	overtook := false
	l.duringBulk = func(n int) {
		if v, _ := l.urgent.Get(l.e.Snapshot(), "k0001"); n > 1 && v == "new@40" && !overtook {
			overtook = true
			shows("an urgent batch went before a waiting one", 19)
		}
	}
	l.e.Apply(l.e.NewBatch())
	shows("both are there", 39)
	if !overtook {
		t.Error("the urgent batch was not published before the waiting one")
	}
}

// A key's stamp is never below what it has read: an ordinary one reads an urgent table that is ahead of the pass.
func TestStampIsNotBelowWhatWasRead(t *testing.T) {
	e := New(Options{Strict: true})
	slow, fast := NewSource[string](e, "slow"), NewSource[string](e, "fast", Urgent())
	stamps := map[string]uint64{}
	var during func()
	Publish(NewDerived(e, "both", func(r *Reader, key string) (string, bool) {
		s, _ := Get(r, slow, key)
		f, _ := Get(r, fast, "f")
		stamps[s+f] = r.Position()
		if during != nil {
			during()
		}
		return s + f, true
	}, []Trigger{slow}))
	write := func(t *Source[string], key, v string, pos uint64) *Batch {
		b := e.NewBatch()
		t.Set(b, key, v)
		b.Position(pos)
		return b
	}
	b := write(slow, "a", "1", 1)
	slow.Set(b, "b", "1")
	e.Apply(b)
	during = func() { // in the first key of the pass over 10: 30 waits, and 40 overtakes it
		during = nil
		e.Submit(write(slow, "a", "3", 30))
		e.Submit(write(fast, "f", "!", 40))
	}
	b = write(slow, "a", "2", 10)
	slow.Set(b, "b", "2")
	e.Apply(b)
	if stamps["2!"] != 40 {
		t.Errorf("stamps %v: what shows the change at 40 is stamped %d", stamps, stamps["2!"])
	}
}
