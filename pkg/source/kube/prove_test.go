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

// proofs is a prover in virtual time, over the stores of pods (at 50) and services (at 90).
type proofs struct {
	*prover
	pods, services *fakeStore

	mu       sync.Mutex
	now      uint64 // the position of every list; 0 for an API server that is away
	lists    map[string]int
	restarts int
}

func (p *proofs) answer(_ context.Context, from listed) (map[string]uint64, uint64, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lists[from.resource.Resource]++
	if p.now == 0 {
		return nil, 0, errors.New("the API server is away")
	}
	return nil, p.now, nil
}

func (p *proofs) is(now uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = now
}

// did checks, at once, what was done since the beginning.
func (p *proofs) did(t *testing.T, what string, pods, services, restarts int) {
	t.Helper()
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.lists["pods"] != pods || p.lists["services"] != services || p.restarts != restarts {
		t.Errorf("%s: lists %v, %d restarts; want %d of pods, %d of services, %d restarts", what, p.lists, p.restarts, pods, services, restarts)
	}
}

func proving(t *testing.T, fn func(t *testing.T, p *proofs)) {
	synctest.Test(t, func(t *testing.T) {
		p := &proofs{pods: &fakeStore{at: 50}, services: &fakeStore{at: 90}, now: 100, lists: map[string]int{}}
		p.prover = newProver(p.answer, slog.New(slog.DiscardHandler))
		of := func(plural string) listed {
			return listed{corev1.SchemeGroupVersion.WithResource(plural), fields.Everything()}
		}
		restart := func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.restarts++
		}
		p.watching("Pod.", of("pods"), p.pods, restart)
		p.watching("Service.", of("services"), p.services, restart)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); p.run(ctx) }()
		fn(t, p)
		cancel()
		<-done
	})
}

func TestOnlyWhatIsBehindIsProven(t *testing.T) {
	proving(t, func(t *testing.T, p *proofs) {
		time.Sleep(time.Hour)
		p.did(t, "nobody waits", 0, 0, 0)
		for range 100 {
			p.want(80)
		}
		p.did(t, "pods are behind", 1, 0, 0)
		p.is(120)
		p.want(110)
		p.did(t, "services are behind, and pods were listed just now", 1, 1, 0)
		time.Sleep(proofGap)
		p.did(t, "a second after", 2, 1, 0)
		if p.pods.reached() != 120 || p.services.reached() != 120 {
			t.Errorf("pods at %d, services at %d, want 120", p.pods.reached(), p.services.reached())
		}
		time.Sleep(time.Hour)
		p.did(t, "all is proven", 2, 1, 0)
		p.pods.set(0, true)
		p.want(119)
		time.Sleep(time.Hour)
		p.did(t, "a kind without its first list", 2, 1, 0)
	})
}

func TestProofIsTriedAgain(t *testing.T) {
	proving(t, func(t *testing.T, p *proofs) {
		p.is(0)
		p.want(80)
		time.Sleep(4*proofGap + proofGap/2)
		p.did(t, "the API server is away for 4.5 s", 5, 0, 0)
		p.is(100)
		time.Sleep(time.Hour)
		p.did(t, "and comes back", 6, 0, 0)
	})
}

func TestStuckWatchIsMadeAnew(t *testing.T) {
	proving(t, func(t *testing.T, p *proofs) {
		p.pods.set(50, true)
		p.want(80)
		for i := range 4 { // it tells little by little: it is behind, not stuck
			time.Sleep(stuckAfter * 3 / 4)
			p.pods.set(uint64(51+i), true)
		}
		p.did(t, "it advances", 31, 0, 0)
		time.Sleep(stuckAfter + 2*proofGap)
		p.did(t, "it stands still", 43, 0, 1)
		p.pods.set(54, false)
		time.Sleep(time.Hour)
		p.did(t, "it has caught up", 44, 0, 1)
	})
}

func TestPositionOfAnotherClusterIsNotWaitedFor(t *testing.T) {
	proving(t, func(t *testing.T, p *proofs) {
		const foreign = 1 << 62
		if !p.want(foreign) {
			t.Error("refused before anything was listed")
		}
		for range 30 { // a stream repeats what it waits for
			synctest.Wait()
			if p.want(foreign) {
				t.Error("not refused after a list that does not reach it")
			}
			time.Sleep(time.Second)
		}
		p.did(t, "half a minute", 1, 1, 0)
		p.is(200)
		if !p.want(150) || !p.want(foreign-1) {
			t.Error("refused what the last list says nothing of: it is older")
		}
		p.did(t, "others wait for what there is", 2, 2, 0)
		if !p.want(150) || p.want(foreign-1) || p.want(foreign) {
			t.Error("150 was reached, and the others were not")
		}
		time.Sleep(refusedFor)
		p.is(foreign)
		if !p.want(foreign) {
			t.Error("refused for ever")
		}
		p.did(t, "it has come", 3, 3, 0)
		if !p.want(foreign) {
			t.Error("refused what is there")
		}
	})
}

func TestAsksAreBounded(t *testing.T) {
	a, now := newAsks(), time.Now()
	for i := range uint64(3 * maxAsks) {
		a.add(1<<40-i, now)
	}
	if a.add(1<<41, now); len(a.open) > maxAsks+1 || a.highest != 1<<41 {
		t.Errorf("%d positions are open, the highest is %d", len(a.open), a.highest)
	}
	for range 3 {
		a.refuse(10, a.count, now)
		for i := range uint64(maxAsks) {
			a.add(1<<50+i+a.count, now)
		}
	}
	if len(a.refused) > maxAsks {
		t.Errorf("%d positions are refused", len(a.refused))
	}
	a.met(1 << 60)
	if len(a.open) != 0 || a.highest != 0 {
		t.Errorf("all is reached, and %d are open", len(a.open))
	}
}
