package table_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	. "fairlead.io/fairlead/pkg/table"
)

// thing is a row with all that the read kinds look at.
type thing struct {
	Group string
	Hosts []string
	CIDRs []netip.Prefix
	Text  string
}

// bench is an engine with two sources and one derived table whose function the test gives. The derived table has a
// key for each row of "ask".
type bench struct {
	e     *Engine
	ask   *Source[string]
	data  *Source[thing]
	out   *Output[string]
	runs  int
	group *Index[thing]
	hosts *Index[thing]
	cidrs *PrefixIndex[thing]
}

func newBench(fn func(b *bench, r *Reader, arg string) (string, bool)) *bench {
	b := &bench{e: New(Options{Strict: true, Why: true})}
	b.ask = NewSource[string](b.e, "ask")
	b.data = NewSource[thing](b.e, "data")
	b.group = NewIndex(b.data, "group", func(_ string, v thing) []string { return []string{v.Group} })
	b.hosts = NewIndex(b.data, "hosts", func(_ string, v thing) (keys []string) {
		for _, h := range v.Hosts {
			keys = append(keys, HostKeys(h)...)
		}
		return keys
	})
	b.cidrs = NewPrefixIndex(b.data, "cidrs", func(_ string, v thing) []netip.Prefix { return v.CIDRs })
	d := NewDerived(b.e, "answer", func(r *Reader, key string) (string, bool) {
		b.runs++
		arg, _ := Get(r, b.ask, key)
		return fn(b, r, arg)
	}, []Trigger{b.ask})
	b.out = Publish(d)
	return b
}

// do applies one batch and returns the answer to "q" and how many times the function ran.
func (b *bench) do(change func(batch *Batch)) (answer string, ran int) {
	batch := b.e.NewBatch()
	change(batch)
	b.runs = 0
	b.e.Apply(batch)
	answer, ok := b.out.Get(b.e.Snapshot(), "q")
	if !ok {
		answer = "(none)"
	}
	return answer, b.runs
}

func keysOf[V any](entries []Entry[V]) string {
	var keys []string
	for _, e := range entries {
		keys = append(keys, e.Key)
	}
	return strings.Join(keys, " ")
}

type step struct {
	what string
	do   func(b *bench, batch *Batch)
	want string
	ran  int
}

func put(key string, v thing) func(*bench, *Batch) {
	return func(b *bench, batch *Batch) { b.data.Set(batch, key, v) }
}

func del(key string) func(*bench, *Batch) {
	return func(b *bench, batch *Batch) { b.data.Delete(batch, key) }
}

func play(t *testing.T, b *bench, arg string, first string, steps []step) {
	t.Helper()
	if got, ran := b.do(func(batch *Batch) { b.ask.Set(batch, "q", arg) }); got != first || ran != 1 {
		t.Fatalf("start: got %q in %d runs, want %q in 1", got, ran, first)
	}
	for _, s := range steps {
		got, ran := b.do(func(batch *Batch) { s.do(b, batch) })
		if got != s.want || ran != s.ran {
			t.Errorf("%s: got %q in %d runs, want %q in %d", s.what, got, ran, s.want, s.ran)
		}
	}
}

func TestGet(t *testing.T) {
	b := newBench(func(b *bench, r *Reader, arg string) (string, bool) {
		v, ok := Get(r, b.data, arg)
		return fmt.Sprint(v.Text, ok), true
	})
	play(t, b, "x", "false", []step{
		{"another row", put("y", thing{Text: "1"}), "false", 0},
		{"the absent row appears", put("x", thing{Text: "1"}), "1true", 1},
		{"the same again", put("x", thing{Text: "1"}), "1true", 0},
		{"it changes", put("x", thing{Text: "2"}), "2true", 1},
		{"it goes", del("x"), "false", 1},
		{"it goes again", del("x"), "false", 0},
	})
}

func TestListFollowsMembership(t *testing.T) {
	b := newBench(func(b *bench, r *Reader, arg string) (string, bool) { return keysOf(List(r, b.group, arg)), true })
	play(t, b, "g", "", []step{
		{"into another group", put("a", thing{Group: "h"}), "", 0},
		{"moves into the group", put("a", thing{Group: "g"}), "a", 1},
		{"before it", put("0", thing{Group: "g"}), "0 a", 1},
		{"stays and changes", put("a", thing{Group: "g", Text: "x"}), "0 a", 1},
		{"moves out", put("a", thing{Group: "h"}), "0", 1},
		{"changes outside", put("a", thing{Group: "h", Text: "x"}), "0", 0},
		{"goes", del("0"), "", 1},
	})
}

func TestAnyRunsOnlyWhenPresenceFlips(t *testing.T) {
	b := newBench(func(b *bench, r *Reader, arg string) (string, bool) { return fmt.Sprint(Any(r, b.group, arg)), true })
	play(t, b, "g", "false", []step{
		{"first", put("a", thing{Group: "g"}), "true", 1},
		{"second", put("b", thing{Group: "g"}), "true", 0},
		{"changes", put("a", thing{Group: "g", Text: "x"}), "true", 0},
		{"one goes", del("a"), "true", 0},
		{"last goes", del("b"), "false", 1},
	})
}

func TestSelectReadsTheWholeCoarseKey(t *testing.T) {
	b := newBench(func(b *bench, r *Reader, arg string) (string, bool) {
		return keysOf(Select(r, b.group, "g", func(_ string, v thing) bool { return v.Text == arg })), true
	})
	play(t, b, "x", "", []step{
		{"no match", put("a", thing{Group: "g", Text: "y"}), "", 1},
		{"flips to a match", put("a", thing{Group: "g", Text: "x"}), "a", 1},
		{"elsewhere", put("b", thing{Group: "h", Text: "x"}), "a", 0},
	})
}

func TestAll(t *testing.T) {
	b := newBench(func(b *bench, r *Reader, _ string) (string, bool) { return keysOf(All(r, b.data)), true })
	play(t, b, "", "", []step{
		{"two", func(b *bench, batch *Batch) {
			put("b", thing{})(b, batch)
			put("a", thing{})(b, batch)
		}, "a b", 1},
		{"one goes", del("a"), "b", 1},
	})
}

func TestMatchHost(t *testing.T) {
	b := newBench(func(b *bench, r *Reader, arg string) (string, bool) { return keysOf(MatchHost(r, b.hosts, arg)), true })
	play(t, b, "a.b.c", "", []step{
		{"catch-all", put("9", thing{Hosts: []string{"*"}}), "9", 1},
		{"wildcard of the parent's parent", put("8", thing{Hosts: []string{"*.c"}}), "8 9", 1},
		{"wildcard of the parent", put("7", thing{Hosts: []string{"*.b.c"}}), "7 8 9", 1},
		{"exact, and by a wildcard too", put("5", thing{Hosts: []string{"*.c", "a.b.c"}}), "5 7 8 9", 1},
		{"another host", put("4", thing{Hosts: []string{"b.c", "x.b.c", "*.a.b.c", "a.b.c.d"}}), "5 7 8 9", 0},
		{"exact goes", put("5", thing{Hosts: []string{"*.c"}}), "7 5 8 9", 1},
	})
}

func TestUnderHost(t *testing.T) {
	b := newBench(func(b *bench, r *Reader, arg string) (string, bool) { return keysOf(UnderHost(r, b.hosts, arg)), true })
	play(t, b, "*.b.c", "", []step{
		{"the parent itself is not under it", put("1", thing{Hosts: []string{"b.c"}}), "", 0},
		{"under it", put("2", thing{Hosts: []string{"a.b.c"}}), "2", 1},
		{"deep under it", put("3", thing{Hosts: []string{"x.a.b.c"}}), "2 3", 1},
		{"itself", put("4", thing{Hosts: []string{"*.b.c"}}), "2 3 4", 1},
		{"wider", put("5", thing{Hosts: []string{"*.c"}}), "2 3 4", 0},
	})
	exact := newBench(func(b *bench, r *Reader, arg string) (string, bool) {
		return keysOf(UnderHost(r, b.hosts, arg)) + "|" + keysOf(UnderHost(r, b.hosts, "*")), true
	})
	play(t, exact, "a.b", "|", []step{
		{"itself", put("1", thing{Hosts: []string{"a.b"}}), "1|1", 1},
		{"another", put("2", thing{Hosts: []string{"c"}}), "1|1 2", 1},
	})
}

func TestContaining(t *testing.T) {
	cidr := func(ss ...string) (v thing) {
		for _, s := range ss {
			v.CIDRs = append(v.CIDRs, netip.MustParsePrefix(s))
		}
		return v
	}
	b := newBench(func(b *bench, r *Reader, arg string) (string, bool) {
		return keysOf(Containing(r, b.cidrs, netip.MustParseAddr(arg))), true
	})
	play(t, b, "10.1.2.3", "", []step{
		{"a length nobody used yet", put("net", cidr("10.0.0.0/8")), "net", 1},
		{"unmasked and longer", put("sub", cidr("10.1.2.99/24")), "sub net", 1},
		{"same length elsewhere", put("far", cidr("10.9.0.0/24")), "sub net", 0},
		{"the other family", put("six", cidr("::/0", "fd00::/8")), "sub net", 0},
		{"the address, in IPv6 form", put("one", cidr("::ffff:10.1.2.3/128")), "one sub net", 1},
		{"the length goes", del("net"), "one sub", 1},
		{"everything", put("all", cidr("0.0.0.0/0", "10.0.0.0/7")), "one sub all", 1},
	})
	six := newBench(func(b *bench, r *Reader, arg string) (string, bool) {
		return keysOf(Containing(r, b.cidrs, netip.MustParseAddr(arg))), true
	})
	play(t, six, "fd00::1", "", []step{
		{"IPv4 default does not contain it", put("v4", cidr("0.0.0.0/0")), "", 0},
		{"IPv6 default", put("v6", cidr("::/0")), "v6", 1},
	})
}

func TestWhatIsNoLongerReadIsNoDependency(t *testing.T) {
	b := newBench(func(b *bench, r *Reader, _ string) (string, bool) {
		sw, _ := Get(r, b.data, "switch")
		v, _ := Get(r, b.data, sw.Text)
		return v.Text, true
	})
	play(t, b, "", "", []step{
		{"points to a", put("switch", thing{Text: "a"}), "", 1},
		{"a appears", put("a", thing{Text: "A"}), "A", 1},
		{"points to b", put("switch", thing{Text: "b"}), "", 1},
		{"a is not read now", put("a", thing{Text: "AA"}), "", 0},
		{"b appears", put("b", thing{Text: "B"}), "B", 1},
	})
	info, ok := b.e.Why("answer", "q")
	if !ok || len(info.Reads) != 3 || info.Runs != 5 || info.Cause == nil || info.Cause.Key != "b" {
		t.Errorf("why: %+v %v", info, ok)
	}
}

func TestCandidatesComeAndGo(t *testing.T) {
	e := New(Options{Strict: true})
	a, b := NewSource[string](e, "a"), NewSource[string](e, "b")
	byValue := NewIndex(b, "value", func(_ string, v string) []string { return strings.Fields(v) })
	d := NewDerived(e, "union", func(r *Reader, key string) (string, bool) {
		v, _ := Get(r, a, key)
		return v + "/" + keysOf(List(r, byValue, key)), key != "never"
	}, []Trigger{a, byValue})
	out := Publish(d)
	rows := func() (all []string) {
		out.Range(e.Snapshot(), func(k, v string) bool { all = append(all, k+"="+v); return true })
		return all
	}
	do := func(want string, fn func(batch *Batch)) {
		t.Helper()
		batch := e.NewBatch()
		fn(batch)
		e.Apply(batch)
		if got := strings.Join(rows(), " "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	do("x=1/", func(q *Batch) { a.Set(q, "x", "1"); a.Set(q, "never", "1") })
	do("x=1/k y=/k", func(q *Batch) { b.Set(q, "k", "x y") })
	do("x=/k y=/k", func(q *Batch) { a.Delete(q, "x") })
	do("y=/k", func(q *Batch) { b.Set(q, "k", "y") })
	do("y=/j", func(q *Batch) { b.Delete(q, "k"); b.Set(q, "j", "y") })
	do("", func(q *Batch) { b.Delete(q, "j"); a.Delete(q, "never") })
	for _, s := range e.Stats() {
		if s.Rows+s.Candidates+s.IndexKeys+s.Dependencies != 0 {
			t.Errorf("left over: %+v", s)
		}
	}
}

func TestReadingAheadPanics(t *testing.T) {
	e := New(Options{Strict: true})
	src := NewSource[string](e, "src")
	var later *Derived[string]
	NewDerived(e, "early", func(r *Reader, key string) (string, bool) { return Get(r, later, key) }, []Trigger{src})
	later = NewDerived(e, "later", func(r *Reader, key string) (string, bool) { return Get(r, src, key) }, []Trigger{src})
	defer func() {
		if p := recover(); p == nil || !strings.Contains(fmt.Sprint(p), `"early" reads "later"`) {
			t.Errorf("recovered %v", p)
		}
	}()
	b := e.NewBatch()
	src.Set(b, "k", "v")
	e.Apply(b)
	t.Error("no panic")
}

func TestEqualStopsTheRipple(t *testing.T) {
	e := New(Options{Strict: true})
	src := NewSource[string](e, "src")
	runs := 0
	length := NewDerived(e, "length", func(r *Reader, key string) (int, bool) {
		v, ok := Get(r, src, key)
		return len(v), ok
	}, []Trigger{src})
	last := Publish(NewDerived(e, "text", func(r *Reader, key string) ([]byte, bool) {
		runs++
		n, _ := Get(r, length, key)
		return []byte(strings.Repeat("x", n)), true
	}, []Trigger{length}, Equal(slices.Equal[[]byte])))
	set := func(v string) {
		b := e.NewBatch()
		src.Set(b, "k", v)
		e.Apply(b)
	}
	set("abc")
	before := e.Snapshot()
	set("xyz")
	if runs != 1 || e.Snapshot() != before {
		t.Errorf("equal length: %d runs, seq %d", runs, e.Snapshot().Seq)
	}
	b := e.NewBatch()
	b.Position(9)
	e.Apply(b)
	if s := e.Snapshot(); s.Position != 9 || s.Seq != before.Seq {
		t.Errorf("a position alone: seq %d position %d", s.Seq, s.Position)
	}
	select {
	case <-before.Next():
		t.Error("a position alone woke who waits for a change")
	default:
	}
	set("wxyz")
	if _, ok := <-before.Next(); ok {
		t.Error("a change did not wake who waits")
	}
	if v, _ := last.Get(e.Snapshot(), "k"); runs != 2 || string(v) != "xxxx" {
		t.Errorf("longer: %d runs, %q", runs, v)
	}
}
