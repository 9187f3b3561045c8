package kube

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
)

func TestListProvesWhatTheWatchHasTold(t *testing.T) {
	tls := func(name, version string) *corev1.Secret { return secret(name, version, corev1.SecretTypeTLS) }
	other := func(name, version string) *corev1.Secret { return secret(name, version, corev1.SecretTypeOpaque) }
	known := map[string]uint64{"ns/a": 5, "ns/b": 6, "ns/other": 7}
	with1 := func(key string, position uint64) map[string]uint64 {
		list := maps.Clone(known)
		if list[key] = position; position == 0 {
			delete(list, key)
		}
		return list
	}
	for _, tt := range []struct {
		what string
		list map[string]uint64
		want bool
	}{
		{"nothing has happened", known, true},
		{"one is younger", with1("ns/a", 11), false},
		{"one has come", with1("ns/c", 12), false},
		{"one has gone", with1("ns/b", 0), false},
		{"one that is not kept is younger: it may be kept now", with1("ns/other", 13), false},
		{"one that is not kept has gone", with1("ns/other", 0), true},
		{"one is gone and made again", with1("ns/b", 14), false},
	} {
		q := newQueue()
		m := newMirror("", "Secret", q, with(keptSecret))
		q.expect(m.name())
		must(t, m.Replace([]any{tls("a", "5"), tls("b", "6"), other("other", "7")}, "10"))
		want := uint64(10)
		if tt.want {
			want = 20
		}
		if got := m.prove(tt.list, 20); got != tt.want {
			t.Errorf("%s: proven is %v", tt.what, got)
		}
		if _, at, _ := q.take(); at.Complete != want || m.reached() != want {
			t.Errorf("%s: complete up to %v, mirror at %d, want %d", tt.what, at, m.reached(), want)
		}
	}
}

func TestWatchAndProofMayOvertakeEachOther(t *testing.T) {
	q := newQueue()
	m := newMirror("", "Secret", q, with(keptSecret))
	q.expect(m.name())
	tls := func(version string) *corev1.Secret { return secret("a", version, corev1.SecretTypeTLS) }
	must(t, m.Replace([]any{tls("5")}, "10"))
	must(t, m.Update(tls("30")))
	q.take()
	if !m.prove(map[string]uint64{"ns/a": 5}, 20) {
		t.Error("the watch is beyond the list: nothing is left to prove")
	}
	if _, at, _ := q.take(); at.Complete != 30 {
		t.Errorf("an old list moved the position: %v", at)
	}
	if !m.prove(map[string]uint64{"ns/a": 30}, 40) {
		t.Error("the list is equal")
	}
	q.take()
	// What came and went between 30 and 40 is told late: it was not there at 40.
	must(t, m.Add(secret("brief", "33", corev1.SecretTypeTLS)))
	must(t, m.Delete(secret("brief", "36", corev1.SecretTypeTLS)))
	must(t, m.Update(tls("41")))
	if updates, at, _ := q.take(); told(updates) != "+a" || at.Complete != 41 {
		t.Errorf("%q at %v, want only what is younger than the proof, at 41", told(updates), at)
	}
	// A store that was restored from a backup begins again below: its list counts, and so does what follows.
	must(t, m.Replace([]any{tls("3")}, "4"))
	must(t, m.Update(tls("6")))
	if updates, at, _ := q.take(); told(updates) != "+a" || at.Complete != 41 {
		t.Errorf("after a restore: %q at %v", told(updates), at)
	}
}

func TestDefinitionsAreProvenWhenTheirReadersAreExpected(t *testing.T) {
	s := &Source{queue: newQueue(), log: slog.New(slog.DiscardHandler)}
	s.queue.expect(definitionsName)
	d := newDefinitions(s)
	must(t, d.Replace([]any{secret("foreign", "3", "")}, "10"))
	if d.prove(map[string]uint64{"ns/foreign": 12}, 20) {
		t.Error("a younger definition proves nothing")
	}
	if !d.prove(map[string]uint64{"ns/foreign": 3}, 20) || d.reached() != 20 {
		t.Error("an equal list proves")
	}
	if _, at, _ := s.queue.take(); at.Complete != 0 {
		t.Errorf("complete up to %v before the definitions were looked at", at)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); d.run(ctx) }()
	<-s.queue.wake
	cancel()
	<-done
	if _, at, synced := s.queue.take(); at.Complete != 20 || !synced {
		t.Errorf("complete up to %v", at)
	}
}

// fakeStore is a kind that is at some position, and equals a list when told so.
type fakeStore struct {
	mu     sync.Mutex
	at     uint64
	differ bool
}

func (f *fakeStore) reached() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.at
}

func (f *fakeStore) prove(_ map[string]uint64, at uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.differ {
		f.at = max(f.at, at)
	}
	return !f.differ
}

func (f *fakeStore) set(at uint64, differ bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.differ = at, differ
}

// proofs runs a prover in virtual time over a pods' and a services' store. lists counts by plural, now is the position of
// every list, 0 for an error.
func proofs(t *testing.T, fn func(p *prover, pods, services *fakeStore, lists map[string]int, now *uint64, restarts *int)) {
	synctest.Test(t, func(t *testing.T) {
		lists, now, restarts := map[string]int{}, uint64(100), 0
		var mu sync.Mutex
		p := newProver(func(_ context.Context, from listed) (map[string]uint64, uint64, error) {
			mu.Lock()
			defer mu.Unlock()
			lists[from.resource.Resource]++
			if now == 0 {
				return nil, 0, errors.New("the API server is away")
			}
			return nil, now, nil
		}, slog.New(slog.DiscardHandler))
		pods, services := &fakeStore{at: 50}, &fakeStore{at: 90}
		of := func(plural string) listed {
			return listed{corev1.SchemeGroupVersion.WithResource(plural), fields.Everything()}
		}
		p.watching("Pod.", of("pods"), pods, func() { restarts++ })
		p.watching("Service.", of("services"), services, func() {})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.run(ctx) }()
		synctest.Wait()
		fn(p, pods, services, lists, &now, &restarts)
		cancel()
		<-done
	})
}

func TestOnlyWhatIsBehindIsProven(t *testing.T) {
	proofs(t, func(p *prover, pods, services *fakeStore, lists map[string]int, now *uint64, _ *int) {
		time.Sleep(time.Hour)
		if len(lists) != 0 {
			t.Errorf("nobody waits, and these were listed: %v", lists)
		}
		for range 100 {
			p.want(80)
		}
		synctest.Wait()
		if lists["pods"] != 1 || lists["services"] != 0 || pods.reached() != 100 {
			t.Errorf("lists %v, pods at %d; want one of pods, at once", lists, pods.reached())
		}
		*now = 120
		p.want(110)
		synctest.Wait()
		if lists["services"] != 1 || lists["pods"] != 1 {
			t.Errorf("lists %v, want one of services at once, and none of pods within a second of the last", lists)
		}
		time.Sleep(proofGap)
		synctest.Wait()
		if lists["pods"] != 2 || pods.reached() != 120 || services.reached() != 120 {
			t.Errorf("lists %v, pods at %d, services at %d", lists, pods.reached(), services.reached())
		}
		time.Sleep(time.Hour)
		if lists["pods"] != 2 || lists["services"] != 1 {
			t.Errorf("all is proven, and listed again: %v", lists)
		}
		pods.set(0, true)
		p.want(119)
		time.Sleep(time.Hour)
		if lists["pods"] != 2 {
			t.Errorf("a kind without a first list was compared: %v", lists)
		}
	})
}

func TestProofIsTriedAgain(t *testing.T) {
	proofs(t, func(p *prover, pods, _ *fakeStore, lists map[string]int, now *uint64, restarts *int) {
		*now = 0
		p.want(80)
		time.Sleep(4*proofGap + proofGap/2)
		if n := lists["pods"]; n != 5 {
			t.Errorf("%d lists in 4.5 s without an API server, want one a second", n)
		}
		*now = 100
		time.Sleep(proofGap)
		synctest.Wait()
		if pods.reached() != 100 || *restarts != 0 {
			t.Errorf("pods at %d, %d restarts", pods.reached(), *restarts)
		}
	})
}

func TestStuckWatchIsMadeAnew(t *testing.T) {
	proofs(t, func(p *prover, pods, _ *fakeStore, _ map[string]int, _ *uint64, restarts *int) {
		pods.set(50, true)
		p.want(80)
		for i := range 4 { // it tells little by little: it is behind, not stuck
			time.Sleep(stuckAfter * 3 / 4)
			pods.set(uint64(51+i), true)
		}
		synctest.Wait()
		if *restarts != 0 {
			t.Errorf("a watch that advances was restarted")
		}
		time.Sleep(stuckAfter + 2*proofGap)
		synctest.Wait()
		if *restarts != 1 {
			t.Errorf("%d restarts of a watch that stands still, want 1", *restarts)
		}
	})
}

func TestPositionOfAnotherClusterIsNotWaitedFor(t *testing.T) {
	proofs(t, func(p *prover, pods, services *fakeStore, lists map[string]int, now *uint64, _ *int) {
		for range 30 { // a stream repeats what it waits for
			p.want(1 << 62)
			time.Sleep(time.Second)
		}
		if n := lists["pods"] + lists["services"]; n > 4 || pods.reached() != 100 {
			t.Errorf("%d lists in half a minute, want about one each, pods at %d", n, pods.reached())
		}
		*now = 200
		p.want(150)
		time.Sleep(proofGap)
		synctest.Wait()
		if pods.reached() != 200 || services.reached() != 200 {
			t.Errorf("what others wait for is not proven: %d, %d", pods.reached(), services.reached())
		}
	})
}
