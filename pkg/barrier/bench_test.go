package barrier

import (
	"fmt"
	"strconv"
	"testing"
)

// BenchmarkChange is what one edit of one of 6,000 objects costs here with 200 own clients and 200 of another replica: the edit
// is seen, all acknowledge, and what is touched is looked at.
func BenchmarkChange(b *testing.B) {
	g, other := newRig(b, "a"), newRig(b, "b")
	batch := func(r *rig) {
		r.many(6000)
		for i := range 200 {
			node := fmt.Sprintf("%s-%d", r.cfg.Name, i)
			r.connect(node)
			r.ack(node)
		}
		r.look()
	}
	batch(g)
	batch(other)
	other.followedBy(g)
	w := g.Watch()
	defer w.Close()
	w.Take()
	looks := 0
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		b.StopTimer()
		name := "o" + strconv.Itoa(i%6000)
		g.edit(name, "u", int64(i+2), strconv.Itoa(i))
		b.StartTimer()
		g.look()
		b.StopTimer()
		for node := range g.streams {
			g.ack(node)
		}
		b.StartTimer()
		g.look()
		refs, all := w.Take()
		if all {
			b.Fatal("everything is looked at")
		}
		for _, ref := range refs {
			g.Get(ref)
			looks++
		}
	}
	b.ReportMetric(float64(looks)/float64(b.N), "objects/op")
}
