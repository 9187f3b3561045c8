package barrier

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// two replicas, a with node-1 and b with node-2, that have settled object x; a follows b.
func two(t *testing.T) (a, b *rig) {
	a, b = newRig(t, "a"), newRig(t, "b")
	for _, g := range []*rig{a, b} {
		g.edit("x", "u1", 1, "one")
		g.edit("other", "u", 1, "other")
	}
	a.connect("node-1")
	b.connect("node-2")
	a.ack("node-1")
	b.ack("node-2")
	b.followedBy(a)
	a.want("x", Through, nil)
	return a, b
}

func TestEveryNodeOfEveryReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		a.edit("x", "u1", 2, "two")
		a.ack("node-1")
		a.want("x", Behind, []string{"node-2"}) // b has not seen the edit
		b.edit("x", "u1", 2, "two")
		b.sync()
		a.want("x", Behind, []string{"node-2"}) // its client has not acknowledged
		a.want("other", Through, nil)
		b.ack("node-2")
		b.sync()
		a.want("x", Through, nil)
	})
}

func TestSameGenerationOfOtherContents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		a.edit("x", "u1", 1, "what it refers to has changed")
		a.ack("node-1")
		a.want("x", Behind, []string{"node-2"})
		b.edit("x", "u1", 1, "what it refers to has changed")
		b.ack("node-2")
		b.sync()
		a.want("x", Through, nil)
	})
}

func TestReplicasOfOtherBuildsCompareGenerations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newRig(t, "a"), newRig(t, "b")
		a.cfg.Build, a.own.build = "new", "new"
		a.edit("x", "u1", 1, "as the new build encodes it")
		b.edit("x", "u1", 1, "as the old build encodes it")
		b.connect("node-2")
		b.ack("node-2")
		b.followedBy(a)
		a.want("x", Through, nil)
		a.edit("x", "u1", 2, "two")
		a.want("x", Behind, []string{"node-2"})
	})
}

func TestDeleteAndRecreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		a.edit("x", "", 0, "")
		a.edit("x", "u2", 1, "one") // the same bytes
		a.ack("node-1")
		a.want("x", Behind, []string{"node-2"}) // b has the old one still
		b.edit("x", "", 0, "")
		b.sync()
		a.want("x", Behind, []string{"node-2"})
		b.edit("x", "u2", 1, "one")
		b.ack("node-2")
		b.sync()
		a.want("x", Through, nil)

		// In one step with other bytes: the old acknowledgement is worth nothing.
		for _, g := range []*rig{a, b} {
			g.edit("x", "u3", 1, "another")
			g.sync()
		}
		a.want("x", Behind, []string{"node-1", "node-2"})
		for _, g := range []*rig{a, b} {
			g.ack("node-1", "node-2")
			g.sync()
		}
		delete(a.streams, "node-2")
		delete(b.streams, "node-1")
		a.want("x", Through, nil)

		// In one step with the same bytes: they are acknowledged already.
		for _, g := range []*rig{a, b} {
			g.edit("x", "u4", 1, "another")
			g.sync()
		}
		a.want("x", Through, nil)
	})
}

func TestANodeThatGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		b.disconnect("node-2")
		b.sync()
		a.want("x", Through, nil) // it has what did not change since
		for _, g := range []*rig{a, b} {
			g.edit("x", "u1", 2, "two")
			g.sync()
		}
		a.ack("node-1")
		a.want("x", Behind, []string{"node-2"})
		time.Sleep(29 * time.Second)
		a.want("x", Behind, []string{"node-2"})
		time.Sleep(time.Second)
		a.want("x", Through, nil, "node-2")

		// It is back: fenced until it has the newest state.
		b.connect("node-2")
		b.sync()
		a.want("x", Through, nil, "node-2")
		b.ack("node-2")
		b.sync()
		a.want("x", Through, nil)
		if _, f := a.Get(vs("x")); f.Clients != 2 {
			t.Errorf("%d clients", f.Clients)
		}
		time.Sleep(time.Hour)
		a.want("x", Through, nil)
	})
}

func TestANodeThatMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		time.Sleep(time.Second)
		a.connect("node-2") // its stream to b is still open
		a.look()
		if _, f := a.Get(vs("x")); f.Clients != 2 || f.Progress != Joining {
			t.Errorf("moving: %+v", f)
		}
		a.ack("node-2")
		a.want("x", Through, nil)
		a.edit("x", "u1", 2, "two")
		a.ack("node-1", "node-2")
		a.want("x", Through, nil) // b's stale stream does not count, nor does what b has not seen
		b.disconnect("node-2")
		b.sync()
		time.Sleep(time.Minute)
		a.want("x", Through, nil)
	})
}

func TestAReplicaThatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		b.cut(false)
		a.want("x", Through, nil)
		a.edit("x", "u1", 2, "two")
		a.ack("node-1")
		a.want("x", Behind, []string{"(replica b cannot be reached)", "node-2"})
		a.want("other", Through, nil)
		time.Sleep(30 * time.Second)
		a.want("x", Through, nil, "node-2")
		if got := a.unreachable(); !slices.Equal(got, []string{"b"}) {
			t.Errorf("unreachable: %q", got)
		}

		// The same process is back after a partition; its client has not been served the newest state.
		b.edit("x", "u1", 2, "two")
		b.followedBy(a)
		a.want("x", Through, nil, "node-2")
		b.ack("node-2")
		b.sync()
		a.want("x", Through, nil)
	})
}

func TestAReplicaThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		b.disconnect("node-2")
		b.sync()
		b.cut(true)
		a.edit("x", "u1", 2, "two")
		a.ack("node-1")
		a.want("x", Behind, []string{"node-2"})
		a.connect("node-2")
		a.ack("node-2")
		a.want("x", Through, nil)
	})
}

func TestAReplicaThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newRig(t, "a")
		a.edit("x", "u1", 1, "one")
		a.connect("node-1")
		a.ack("node-1")
		a.SetPeers([]string{"127.0.0.1:1"})
		a.want("x", Behind, []string{"(no replica has answered at 127.0.0.1:1)"})
		time.Sleep(30 * time.Second)
		a.want("x", Through, nil)
		a.SetPeers([]string{"127.0.0.1:1", "127.0.0.1:2"})
		a.want("x", Behind, []string{"(no replica has answered at 127.0.0.1:2)"})
		a.SetPeers(nil)
		a.want("x", Through, nil)
	})
}

func TestARejectionElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		b.refusing = []Refusal{{Origins: vsList("x"), Rejection: Rejection{Type: clusterType, Resource: "x", Node: "node-2", Message: "no"}}}
		b.sync()
		if _, f := a.Get(vs("x")); len(f.Rejected) != 1 || f.Rejected[0].Message != "no" || f.Programmed() {
			t.Errorf("got %+v", f)
		}
		// An edit that b has not seen: what it says is of another generation.
		a.edit("x", "u1", 2, "two")
		a.look()
		if _, f := a.Get(vs("x")); len(f.Rejected) != 0 || f.Progress != Behind {
			t.Errorf("got %+v", f)
		}
		b.refusing = nil
		b.edit("x", "u1", 2, "two")
		b.ack("node-2")
		a.ack("node-1")
		b.sync()
		a.want("x", Through, nil)
	})
}

func TestNodesThatAreNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		broken := map[string]bool{}
		a.cfg.NotReady = func() map[string]bool { return broken }
		a.edit("x", "u1", 2, "two")
		a.ack("node-1")
		b.edit("x", "u1", 2, "two")
		b.sync()
		a.want("x", Behind, []string{"node-2"})
		broken["node-2"] = true
		a.want("x", Through, nil, "node-2")
		delete(broken, "node-2")
		a.want("x", Through, nil, "node-2") // fenced
		b.ack("node-2")
		b.sync()
		a.want("x", Through, nil)
	})
}

// What is looked at is what has changed, whatever else there is.
func TestOnlyWhatChangedIsTouched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		w := a.Watch()
		defer w.Close()
		expect := func(what string, all bool, want ...string) {
			t.Helper()
			if got, gotAll := touched(w); !slices.Equal(got, want) || gotAll != all {
				t.Errorf("%s: touched %q, all %v; want %q, %v", what, got, gotAll, want, all)
			}
		}
		expect("at first", true)
		a.look()
		b.sync()
		expect("nothing", false)
		calm := a.feed()
		a.take(calm)
		a.source.Update(2, nil) // a state in which nothing has changed
		a.ack("node-1")
		a.look()
		if m := a.take(calm); len(m[0].Clients)+len(m[0].Objects) > 0 {
			t.Errorf("a calm mesh exchanges %v", m)
		}
		a.unfeed(calm)
		expect("a state without a change", false)
		a.edit("x", "u1", 2, "two")
		a.look()
		expect("an edit", false, "x")
		a.ack("node-1")
		a.look()
		expect("its acknowledgement", false, "x")
		b.edit("x", "u1", 2, "two")
		b.sync()
		expect("the edit at the other", false, "x")
		b.ack("node-2")
		b.sync()
		expect("its acknowledgement there", false, "x")
		a.connect("node-3")
		a.look()
		expect("a node joins", false)
		a.edit("other", "u", 2, "two")
		a.look()
		expect("an edit meanwhile", false, "other")
		b.edit("other", "u", 2, "two")
		b.ack("node-2")
		a.ack("node-1")
		b.sync()
		_, f := a.Get(vs("other"))
		expect("acknowledged but for the one that joins", false, "other")
		if f.Progress != Joining {
			t.Errorf("got %+v", f)
		}
		a.ack("node-3")
		a.look()
		expect("it has joined", false, "other")
		a.disconnect("node-3")
		a.look()
		expect("a node goes", false)
		time.Sleep(time.Minute)
		a.look()
		expect("a node is absent", false)
		b.cut(false)
		expect("a replica is lost", true)
	})
}

func TestAReplicaWithoutClientsIsWaitedForWhenLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, polite := range []bool{false, true} {
			a, b := two(t)
			a.connect("node-2") // moves, and is through there
			a.ack("node-2")
			b.disconnect("node-2")
			b.sync()
			b.cut(polite)
			a.edit("x", "u1", 2, "two")
			a.ack("node-1", "node-2")
			if polite {
				a.want("x", Through, nil)
				continue
			}
			a.want("x", Behind, []string{"(replica b cannot be reached)"}) // others may have connected to it since
			time.Sleep(30 * time.Second)
			a.want("x", Through, nil)
		}
	})
}

func TestTheFirstClientOfAReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := newRig(t, "a"), newRig(t, "b")
		a.edit("x", "u1", 2, "two")
		b.edit("x", "u1", 1, "one")
		a.connect("node-1")
		a.ack("node-1")
		b.followedBy(a)
		a.want("x", Through, nil)
		w := a.Watch()
		defer w.Close()
		w.Take()
		b.connect("node-2")
		b.ack("node-2")
		b.sync()
		if _, all := w.Take(); !all {
			t.Error("not looked at again")
		}
		a.want("x", Behind, []string{"node-2"})
	})
}

func TestANodeThatIsNotReadyLeavesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := two(t)
		a.cfg.NotReady = func() map[string]bool { return map[string]bool{"node-2": true} }
		b.disconnect("node-2")
		b.sync()
		a.edit("x", "u1", 2, "two")
		a.ack("node-1")
		a.want("x", Through, nil, "node-2")
		if got := a.Absent()[0].Reason; got != "not connected, and NotReady in the cluster" {
			t.Errorf("reason %q", got)
		}
	})
}
