package sds

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"fairlead.io/fairlead/pkg/snapshot"
)

// Whatever is put and taken away, a snapshot has it and never changes, and its changes lead from any former one to it.
func TestSourceIsItsHistory(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	s, want := newSource(), map[string]uint64{}
	if s.Latest() != nil {
		t.Fatal("there is a snapshot before the first")
	}
	type moment struct {
		snap snapshot.Snapshot
		has  map[string]uint64
	}
	var past []moment
	for turn := range 2 * history {
		var put []*snapshot.Resource
		var del []snapshot.Key
		for range rng.IntN(4) {
			name := fmt.Sprint("n", rng.IntN(40))
			if rng.IntN(3) == 0 {
				del = append(del, snapshot.Key{Type: secretType, Name: name})
				continue
			}
			r, err := snapshot.Encode(name, &tls.Secret{Name: name + fmt.Sprint(rng.IntN(3))}, 0, svidsOrigin)
			if err != nil {
				t.Fatal(err)
			}
			put = append(put, r)
		}
		for _, k := range del {
			delete(want, k.Name)
		}
		for _, r := range put {
			want[r.Name] = r.Hash
		}
		s.update(put, del)
		now := s.Latest()
		if now.Seq() != uint64(turn+1) {
			t.Fatalf("turn %d has the number %d", turn, now.Seq())
		}
		past = append(past, moment{now, maps.Clone(want)})
		for _, m := range []moment{past[0], past[rng.IntN(len(past))], past[len(past)-1]} {
			got := map[string]uint64{}
			var order []string
			m.snap.Range(secretType, func(r *snapshot.Resource) bool {
				got[r.Name], order = r.Hash, append(order, r.Name)
				return true
			})
			if !maps.Equal(got, m.has) || !slices.IsSorted(order) {
				t.Fatalf("turn %d has %v, want %v", m.snap.Seq(), got, m.has)
			}
			keys, ok := now.ChangesSince(m.snap.Seq())
			if fresh := now.Seq()-m.snap.Seq() <= history; ok != fresh {
				t.Fatalf("changes from %d to %d are known: %v", m.snap.Seq(), now.Seq(), ok)
			}
			if !ok {
				continue
			}
			for _, k := range keys {
				if r := now.Get(k); r == nil {
					delete(got, k.Name)
				} else {
					got[k.Name] = r.Hash
				}
			}
			if !maps.Equal(got, want) {
				t.Fatalf("from %d by its changes: %v, want %v", m.snap.Seq(), got, want)
			}
		}
	}
	for i, m := range past[:len(past)-1] {
		select {
		case <-m.snap.Newer():
		default:
			t.Fatalf("%d does not know of its successor", i+1)
		}
	}
}
