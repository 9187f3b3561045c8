package table_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	. "fairlead.io/fairlead/pkg/table"
)

// contents is what the sources hold, for feeding a fresh engine.
type contents struct {
	services map[string]service
	slices   map[string]slice
	pods     map[string]pod
	policies map[string]policy
	routes   map[string]route
	blocks   map[string]block
}

func newContents() *contents {
	return &contents{map[string]service{}, map[string]slice{}, map[string]pod{}, map[string]policy{}, map[string]route{}, map[string]block{}}
}

func (c *contents) batch(w *world) *Batch {
	b := w.e.NewBatch()
	fill(b, w.services, c.services)
	fill(b, w.slices, c.slices)
	fill(b, w.pods, c.pods)
	fill(b, w.policies, c.policies)
	fill(b, w.routes, c.routes)
	fill(b, w.blocks, c.blocks)
	return b
}

func fill[V any](b *Batch, s *Source[V], rows map[string]V) {
	for k, v := range rows {
		s.Set(b, k, v)
	}
}

func change[V any](t *rapid.T, b *Batch, s *Source[V], rows map[string]V, key string, v V) {
	if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
		s.Delete(b, key)
		delete(rows, key)
		return
	}
	s.Set(b, key, v)
	rows[key] = v
}

func pick(t *rapid.T, what string, from ...string) string {
	return rapid.SampledFrom(from).Draw(t, what)
}

func some(t *rapid.T, what string, from ...string) string {
	return strings.Join(rapid.SliceOfN(rapid.SampledFrom(from), 0, 3).Draw(t, what), " ")
}

var (
	svcKeys = []string{"a/s0", "a/s1", "b/s0", "b/s1"}
	podKeys = []string{"a/p0", "a/p1", "a/p2", "b/p0", "b/p1"}
)

func changeSlice(t *rapid.T, w *world, c *contents, b *Batch) {
	change(t, b, w.slices, c.slices, pick(t, "slice", "a/e0", "a/e1", "b/e0"),
		slice{pick(t, "of", svcKeys...), some(t, "pods", podKeys...)})
}

// changeAny puts one random change into the batch and into the contents.
func changeAny(t *rapid.T, w *world, c *contents, b *Batch) {
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		change(t, b, w.services, c.services, pick(t, "svc", svcKeys...),
			service{pick(t, "host", "x.com", "a.x.com", "b.a.x.com", "y.org", "*.x.com", ""), pick(t, "port", "80", "90")})
	case 1:
		changeSlice(t, w, c, b)
	case 2:
		change(t, b, w.pods, c.pods, pick(t, "pod", podKeys...), pod{
			pick(t, "ip", "10.0.0.1", "10.0.1.2", "fd00::1", "bad"),
			some(t, "labels", "app=x", "app=y", "tier=x"), pick(t, "node", "n1", "n2", ""),
		})
	case 3:
		change(t, b, w.policies, c.policies, pick(t, "policy", "a/q0", "a/q1", "b/q0"), policy{
			pick(t, "label", "app", "tier"),
			pick(t, "op", "In", "NotIn", "Exists", "DoesNotExist"), pick(t, "value", "x", "y"),
		})
	case 4:
		change(t, b, w.routes, c.routes, pick(t, "route", "a/r0", "a/r1", "b/r0"),
			route{some(t, "hosts", "*", "x.com", "*.x.com", "a.x.com", "*.a.x.com", "y.org"), pick(t, "text", "1", "2")})
	case 5:
		change(t, b, w.blocks, c.blocks, pick(t, "block", "k0", "k1", "k2"),
			block{some(t, "cidrs", "10.0.0.0/8", "10.0.1.0/24", "10.0.1.2/32", "0.0.0.0/0", "fd00::/8", "::/0"), pick(t, "text", "1", "2")})
	}
}

// mirror is a client's copy of the outputs, kept up by ChangesSince alone.
type mirror struct {
	seq  uint64
	rows map[Change]string
}

func (m *mirror) follow(t *rapid.T, w *world, s *Snapshot) {
	changes, ok := s.ChangesSince(m.seq)
	if !ok {
		t.Fatalf("changes since %d are not known at %d", m.seq, s.Seq)
	}
	seen := map[Change]bool{}
	for _, c := range changes {
		if seen[c] {
			t.Fatalf("%v twice", c)
		}
		seen[c] = true
		o := w.outputs[slices.Index(w.derived, c.Table)]
		if v, ok := o.Get(s, c.Key); ok {
			m.rows[c] = v
		} else {
			delete(m.rows, c)
		}
	}
	m.seq = s.Seq
	var b strings.Builder
	for _, name := range w.derived {
		for _, c := range slices.SortedFunc(maps.Keys(m.rows), func(a, b Change) int { return strings.Compare(a.Key, b.Key) }) {
			if c.Table == name {
				fmt.Fprintf(&b, "%s %s %q\n", c.Table, c.Key, m.rows[c])
			}
		}
	}
	if got, want := b.String(), w.text(s); got != want {
		t.Fatalf("copy at %d:\n%s\nsnapshot:\n%s", s.Seq, got, want)
	}
}

// interruptAt submits an urgent batch in the nth run of a derived function of this pass, and checks at every run
// that nothing outside the urgent lane has been published meanwhile.
func interruptAt(t *rapid.T, w *world, c *contents, runs int, published *int) {
	before := w.e.Snapshot()
	w.onRun = func(bool) {
		if runs--; runs == 0 {
			u := w.e.NewBatch()
			changeSlice(t, w, c, u)
			w.e.Submit(u)
		}
		now := w.e.Snapshot()
		if now == before || now.Position > before.Position { // nothing yet, or the pass has ended
			return
		}
		*published++
		changes, _ := now.ChangesSince(before.Seq)
		for _, ch := range changes {
			if ch.Table != "endpoints" && ch.Table != "late" {
				t.Fatalf("published half-way: %v", ch)
			}
		}
	}
}

// TestOracle: whatever happens in whatever order, the engine holds what a fresh engine makes of the same contents.
func TestOracle(t *testing.T) {
	published := 0
	rapid.Check(t, func(t *rapid.T) {
		w, c := newWorld(), newContents()
		near, far := &mirror{rows: map[Change]string{}}, &mirror{rows: map[Change]string{}}
		for step := range rapid.IntRange(1, 25).Draw(t, "steps") {
			b := w.e.NewBatch()
			b.Position(uint64(step + 1))
			for range rapid.IntRange(1, 8).Draw(t, "changes") {
				changeAny(t, w, c, b)
			}
			interruptAt(t, w, c, rapid.IntRange(0, 12).Draw(t, "interrupt"), &published)
			if step == 0 {
				w.onRun = func(bool) {}
			}
			w.e.Apply(b)
			w.onRun = func(bool) {}

			s := w.e.Snapshot()
			fresh := newWorld()
			fresh.e.Apply(c.batch(fresh))
			if got, want := w.text(s), fresh.text(fresh.e.Snapshot()); got != want {
				t.Fatalf("step %d, incremental:\n%s\nfrom scratch:\n%s", step, got, want)
			}
			near.follow(t, w, s)
			if step%4 == 3 {
				far.follow(t, w, s)
			}
		}
		empty(t, w, c)
	})
	if published == 0 {
		t.Error("no interruption published anything: the urgent lane was not tested")
	}
}

// empty deletes all and checks that nothing is kept for what is gone.
func empty(t *rapid.T, w *world, c *contents) {
	b := w.e.NewBatch()
	clear1(b, w.services, c.services)
	clear1(b, w.slices, c.slices)
	clear1(b, w.pods, c.pods)
	clear1(b, w.policies, c.policies)
	clear1(b, w.routes, c.routes)
	clear1(b, w.blocks, c.blocks)
	w.e.Apply(b)
	for _, s := range w.e.Stats() {
		if s.Rows+s.Candidates+s.IndexKeys+s.Dependencies != 0 {
			t.Fatalf("left over: %+v", s)
		}
	}
}

func clear1[V any](b *Batch, s *Source[V], rows map[string]V) {
	for k := range rows {
		s.Delete(b, k)
	}
}
