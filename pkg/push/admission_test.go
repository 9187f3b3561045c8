package push

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"fairlead.io/fairlead/pkg/snapshot"
)

// New clients come in one after the other; one that has all it asked for makes room at once.
func TestNewClientsAreAdmittedInTurn(t *testing.T) {
	bubble(t, Config{Admitted: 2}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "1", 1)})
		var all []*peerClient
		for i := range 3 {
			c := r.client(fmt.Sprint("n", i))
			c.subscribe(clusterType)
			c.settle()
			all = append(all, c)
		}
		start := time.Now()
		first, second := all[0].want("Cluster +a"), all[1].want("Cluster +a")
		all[2].quiet() // two have not answered yet
		all[1].ack(second)
		all[2].expect("Cluster +a")
		if d := time.Since(start); d != 0 {
			t.Errorf("a free place was taken after %v", d)
		}
		all[0].ack(first)
	})
}

// Clients that do not answer do not keep others out for long, and what is served already is served on.
func TestSilentClientsKeepNobodyOut(t *testing.T) {
	bubble(t, Config{Admitted: 2}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "1", 1)})
		old := r.client("old")
		old.subscribe(clusterType)
		old.expect("Cluster +a")
		old.settle()
		for i := range 10 {
			r.client(fmt.Sprint("silent", i)).subscribe(clusterType)
			synctest.Wait()
		}
		c := r.client("late")
		c.subscribe(clusterType)
		c.quiet()
		r.src.Update(2, []*snapshot.Resource{res(t, clusterType, "a", "2", 2)})
		old.expect("Cluster +a") // without any time passing
		start := time.Now()
		c.expect("Cluster +a")
		if d := time.Since(start); d != 5*patience {
			t.Errorf("waited %v behind ten silent clients in two places, want %v", d, 5*patience)
		}
	})
}

func TestWaitingClientsGoWithTheServer(t *testing.T) {
	bubble(t, Config{Admitted: 1}, func(t *testing.T, r *rig) {
		r.src.Update(1, []*snapshot.Resource{res(t, clusterType, "a", "1", 1)})
		r.client("silent").subscribe(clusterType)
		synctest.Wait()
		c := r.client("waits")
		c.subscribe(clusterType)
		c.quiet()
		start := time.Now()
		r.srv.Drain()
		if err := <-c.err; err == nil || time.Since(start) != 0 {
			t.Errorf("ended by %v after %v", err, time.Since(start))
		}
	})
}

// What a client that does not read costs does not grow with what happens meanwhile.
func TestStuckClientCostsNothingMore(t *testing.T) {
	src := &counted{keys: []snapshot.Key{key(endpointType, "r000")}, seq: 1, get: map[string]*snapshot.Resource{"r000": res(t, endpointType, "r000", "1", 1)}}
	src.newer = make(chan struct{})
	publish := func() {
		src.seq++
		src.get["r000"] = res(t, endpointType, "r000", fmt.Sprint(src.seq%10), src.seq)
	}
	alone := testing.AllocsPerRun(1000, publish)
	srv := New(Config{Source: src})
	st := newStream(srv, deltaTransport{&script{ctx: t.Context()}, ""})
	subscribe(t, st, "r000")
	if m := st.next(time.Now()); m == nil || len(m.resources) != 1 {
		t.Fatal("no first response")
	}
	// It never acknowledges: whatever is published, the stream looks, notes that the name is due, and waits.
	const rounds = 1000
	with := testing.AllocsPerRun(rounds, func() {
		publish()
		if m := st.next(time.Now()); m != nil {
			t.Fatalf("a second response before the first was acknowledged: %+v", m)
		}
	})
	w := st.watches[endpointType]
	if len(w.dirty.queue) > 1 || len(w.pages) != 1 || len(srv.bookOf(endpointType).entries) != 1 {
		t.Errorf("%d names are queued, in %d pages", len(w.dirty.queue), len(w.pages))
	}
	if with-alone > 12 {
		t.Errorf("each change costs %v allocations more for a client that does not read", with-alone)
	}
}
