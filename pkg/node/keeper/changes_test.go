package keeper_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/node/nodetest"
)

// follower is somebody who has what there was, and takes in changes.
type follower struct {
	seq   uint64
	svids map[spiffeid.ID]*node.SVID
	alls  int
}

func (f *follower) follow(k *keeper.Keeper) (n int) {
	c, _ := k.Changes(f.seq)
	if c.All {
		f.svids = map[spiffeid.ID]*node.SVID{}
		f.alls++
	}
	for id, svid := range c.SVIDs {
		if svid == nil {
			delete(f.svids, id)
		} else {
			f.svids[id] = svid
		}
	}
	f.seq = c.Seq
	return len(c.SVIDs)
}

// Who follows the changes has what there is: pods come and go, SVIDs are renewed and end, and who was away is told all.
func TestChangesLeadToWhatThereIs(t *testing.T) {
	run(t, time.Hour, func(t *testing.T, r *rig) {
		rng := rand.New(rand.NewPCG(5, 6))
		r.SetBundles(r.signer.Bundles())
		settle()
		always, seldom := &follower{}, &follower{}
		always.follow(r.Keeper)
		seldom.follow(r.Keeper)
		check := func(f *follower, who string) {
			t.Helper()
			f.follow(r.Keeper)
			all, _ := r.Changes(0)
			if !maps.Equal(f.svids, all.SVIDs) {
				t.Fatalf("%s has %d, there are %d", who, len(f.svids), len(all.SVIDs))
			}
			if n := f.follow(r.Keeper); n != 0 {
				t.Fatalf("%s: %d changes when nothing has changed", who, n)
			}
		}
		for turn := range 60 {
			for range 1 + rng.IntN(8) {
				i := rng.IntN(12)
				p := nodetest.Pod(fmt.Sprint(i), fmt.Sprint("sa-", i%8))
				if rng.IntN(2) == 0 {
					r.Update([]keeper.Pod{p}, nil)
				} else {
					r.Update(nil, []string{p.UID})
				}
			}
			switch turn {
			case 10:
				time.Sleep(40 * time.Minute)
			case 20:
				r.signer.set(func() { r.signer.down = true })
				time.Sleep(70 * time.Minute)
			case 22:
				r.signer.set(func() { r.signer.down = false })
				time.Sleep(2 * time.Minute)
			}
			settle()
			check(always, "who is there always")
			if turn%17 == 0 {
				check(seldom, "who is there seldom")
			}
		}
		r.signer.set(func() { r.signer.down = true })
		r.Update([]keeper.Pod{nodetest.Pod("x", "x")}, nil)
		settle()
		for range 5000 { // more than is remembered
			r.Update([]keeper.Pod{nodetest.Pod("x", "x")}, []string{"x"})
		}
		settle()
		check(seldom, "who was away")
		if always.alls != 1 || seldom.alls != 2 {
			t.Errorf("all there is was told %d and %d times, want 1 and 2", always.alls, seldom.alls)
		}
		if c, _ := r.Changes(1 << 60); !c.All {
			t.Error("a moment that has not been is taken for one")
		}
	})
}

// One of 500 identities that changes is one change, and nobody else is woken.
func TestOneChangeIsOne(t *testing.T) {
	run(t, time.Hour, func(t *testing.T, r *rig) {
		r.SetBundles(r.signer.Bundles())
		var pods []keeper.Pod
		for i := range 500 {
			pods = append(pods, nodetest.Pod(fmt.Sprint(i), fmt.Sprint("sa-", i)))
		}
		settle()
		r.Update(pods, nil)
		time.Sleep(5 * time.Second)
		settle()
		f := &follower{}
		if n := f.follow(r.Keeper); n != 500 {
			t.Fatalf("%d of 500 pods have an identity", n)
		}
		_, other, err := r.X509("7")
		if err != nil {
			t.Fatal(err)
		}
		r.Update(nil, []string{"3"})
		if n := f.follow(r.Keeper); n != 1 || len(f.svids) != 499 {
			t.Errorf("%d changes for one pod that went", n)
		}
		if closed(other) {
			t.Error("a pod was woken because another one went")
		}
		r.Update([]keeper.Pod{nodetest.Pod("again", "sa-3")}, nil)
		settle()
		if n := f.follow(r.Keeper); n != 1 || len(f.svids) != 500 {
			t.Errorf("%d changes for one pod that came", n)
		}
	})
}
