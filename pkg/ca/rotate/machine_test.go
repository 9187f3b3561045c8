package rotate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
	"fairlead.io/fairlead/pkg/model"
)

// acks is a barrier whose clients a test plays.
type acks struct {
	mu      sync.Mutex
	clients map[string]uint64 // connected agents, and what they have acknowledged
	words   map[string]string // of those that have rejected it
	absent  map[string]time.Time
	changed chan struct{}
}

func newAcks() *acks {
	return &acks{clients: map[string]uint64{}, absent: map[string]time.Time{}, changed: make(chan struct{})}
}

func (a *acks) change(fn func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fn()
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *acks) ack(node string, sequence uint64) {
	a.change(func() { a.clients[node] = sequence; delete(a.absent, node) })
}

func (a *acks) leave(node string) {
	a.change(func() { delete(a.clients, node); a.absent[node] = time.Now() })
}

// forget is what a restart does.
func (a *acks) forget() { a.change(func() { clear(a.clients); clear(a.absent) }) }

func (a *acks) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

func (a *acks) Census(_ []model.Ref, generation int64) barrier.Census {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := barrier.Census{Known: true}
	for n, s := range a.clients {
		c.Clients = append(c.Clients, barrier.Acknowledged{Node: n, Agent: true, Connected: true, Through: s >= uint64(generation) && a.words[n] == "", Rejected: a.words[n]})
	}
	for n, at := range a.absent {
		c.Absent = append(c.Absent, barrier.Absent{Node: n, Agent: true, Since: at})
	}
	return c
}

// stage is a control plane of one replica, with real keys.
type stage struct {
	t         *testing.T
	store     authority.Store
	roster    *memoryRoster
	acks      *acks
	authority *authority.Authority
	machine   *Machine
	registry  *prometheus.Registry
	log       strings.Builder
	mu        sync.Mutex // guards what follows
	reasons   []string
	storeErr  error
	stop      func()
}

func newStage(t *testing.T) *stage {
	s := &stage{t: t, store: store.NewMemory(), roster: &memoryRoster{}, acks: newAcks()}
	s.start()
	return s
}

func (s *stage) start() {
	s.t.Helper()
	ctx, cancel := context.WithCancel(s.t.Context())
	s.authority = authority.New(authority.Config{TrustDomain: domain, Store: s.store})
	s.registry = prometheus.NewRegistry()
	s.machine = New(Config{
		Authority: s.authority, Barrier: s.acks, TrustDomain: domain, LongestTTL: longest, Roster: s.roster, Registry: s.registry,
		Tell: func(reason, _ string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.reasons = append(s.reasons, reason)
		},
		StoreErr: func() error {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.storeErr
		},
		Log: slog.New(slog.NewJSONHandler(&s.log, nil)), Poll: 20 * time.Second,
	})
	var running sync.WaitGroup
	running.Go(func() { _ = s.authority.Run(ctx) })
	<-s.authority.Ready()
	running.Go(func() { _ = s.machine.Run(ctx) })
	s.stop = func() { cancel(); running.Wait() }
	synctest.Wait()
}

func (s *stage) storeFails(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.storeErr = err
}

func (s *stage) restart() {
	s.stop()
	s.acks.forget()
	s.start()
}

func (s *stage) sequence() uint64 { return s.authority.State().Sequence }

// after lets time go by, and expects a stage.
func (s *stage) after(d time.Duration, want authority.Stage) Status {
	s.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	got := s.machine.Status()
	if got.Stage != title(want) {
		s.t.Fatalf("after %s: stage %s, want %s: %s %v", d, got.Stage, title(want), got.Message, got.Waiting)
	}
	return got
}

func (s *stage) do(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
}

func (s *stage) refused(err error, want string) {
	s.t.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		s.t.Errorf("error %v, want %q", err, want)
	}
}

// TestRotation goes through all stages: one node is slow, one is away, the server is restarted in the middle.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.stop() }()
		ctx := t.Context()
		old := s.authority.State().Signing
		for _, n := range []string{"n1", "n2", "n3"} {
			s.acks.ack(n, s.sequence())
		}
		time.Sleep(10 * time.Second)
		s.acks.leave("n3")
		s.do(s.machine.Rotate(ctx, nil))
		s.refused(s.machine.Rotate(ctx, nil), "under way")

		st := s.after(time.Minute, authority.Distributing)
		if st.Signing != old || len(st.Authorities) != 2 || len(st.Waiting) != 3 || !slices.Equal(st.Away(), []string{"n3"}) {
			t.Fatalf("distributing: %+v", st)
		}
		s.acks.ack("n1", s.sequence())
		s.acks.ack("n2", s.sequence()-1)
		if st = s.after(time.Minute, authority.Distributing); len(st.Waiting) != 2 || st.Waiting[0].Node != "n2" {
			t.Fatalf("n2 and n3 should be waited for: %+v", st.Waiting)
		}
		if v := gauge(t, s, "fairlead_ca_rotation_waiting"); v != 2 {
			t.Errorf("metric of waiting: %v", v)
		}
		if v := gauge(t, s, "fairlead_ca_rotation_stage_age_seconds"); v < 95 || v > 125 {
			t.Errorf("metric of the stage's age: %v", v)
		}

		s.restart()
		s.acks.ack("n1", s.sequence())
		s.acks.ack("n2", s.sequence())
		st = s.after(10*time.Minute, authority.Distributing)
		if !slices.Equal(st.Away(), []string{"n3"}) || !strings.Contains(st.Waiting[0].String(), "n3 (agent): not connected since") {
			t.Fatalf("n3 is forgotten by the restart: %+v", st.Waiting)
		}
		s.acks.ack("n3", s.sequence())
		st = s.after(2*time.Second, authority.Retiring)
		if st.Signing == old || st.Retire == nil || time.Until(*st.Retire) < longest {
			t.Fatalf("retiring: %+v", st)
		}
		s.restart() // nobody is connected: nothing depends on it any more
		s.after(longest, authority.Retiring)
		st = s.after(6*time.Minute, authority.Stable)
		if len(st.Authorities) != 1 || st.Signing == old || len(st.JWTKeys) != 1 {
			t.Errorf("stable: %+v", st)
		}
		want := []string{ReasonStarted, ReasonAcknowledged, ReasonSwitched, ReasonRetired}
		if !slices.Equal(s.reasons, want) {
			t.Errorf("reasons %q, want %q", s.reasons, want)
		}
		for _, r := range want {
			if !strings.Contains(s.log.String(), `"reason":"`+r+`"`) {
				t.Errorf("no log line of %s", r)
			}
		}
	})
}

// A key of JWT-SVIDs verifies as long as a token of it may be valid, also where certificates, and so the authority, end sooner.
func TestTokensOutliveTheAuthority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.stop() }()
		s.machine.cfg.LongestTTL = time.Minute
		s.acks.ack("n1", s.sequence())
		old := s.authority.State().JWT[0].ID
		s.do(s.machine.Rotate(t.Context(), nil))
		s.acks.ack("n1", s.sequence())
		st := s.after(10*time.Minute, authority.Stable)
		if len(st.Authorities) != 1 || !slices.Contains(st.JWTKeys, old) {
			t.Errorf("tokens of an hour are not verified any more: %+v", st)
		}
		if st := s.after(time.Hour+10*time.Minute, authority.Stable); slices.Contains(st.JWTKeys, old) {
			t.Errorf("the old key is never dropped: %+v", st)
		}
	})
}

// TestCommands pauses, resumes without a node that is away, and aborts in either stage.
func TestCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.stop() }()
		ctx := t.Context()
		old := s.authority.State().Signing
		for what, err := range map[string]error{"pause": s.machine.Pause(ctx), "resume": s.machine.Resume(ctx, nil), "abort": s.machine.Abort(ctx)} {
			s.refused(err, what+": no rotation is under way")
		}
		s.acks.ack("n1", s.sequence())
		s.after(10*time.Second, authority.Stable)

		s.do(s.machine.Rotate(ctx, nil))
		s.do(s.machine.Abort(ctx))
		if st := s.after(time.Second, authority.Stable); st.Signing != old || len(st.Authorities) != 1 || len(st.JWTKeys) != 1 {
			t.Fatalf("aborted at once: %+v", st)
		}

		s.storeFails(errors.New("write Secret a/b: forbidden"))
		if st := s.after(time.Minute, authority.Stable); st.Store != "write Secret a/b: forbidden" || testutil.ToFloat64(s.machine.metrics.store) != 1 {
			t.Errorf("a store that fails: %q, metric %v", st.Store, testutil.ToFloat64(s.machine.metrics.store))
		}
		s.storeFails(nil)
		s.after(time.Minute, authority.Stable)
		if v := testutil.ToFloat64(s.machine.metrics.store); v != 0 {
			t.Errorf("a store that works: metric %v", v)
		}

		s.do(s.machine.Rotate(ctx, nil))
		s.acks.change(func() { s.acks.words = map[string]string{"n1": "envoy refuses it"} })
		s.acks.ack("n1", s.sequence())
		if st := s.after(time.Minute, authority.Distributing); len(st.Waiting) != 1 ||
			st.Waiting[0].String() != "n1 (agent): connected, and refuses the bundle: envoy refuses it" {
			t.Fatalf("n1 refuses: %+v", st.Waiting)
		}
		s.acks.change(func() { s.acks.words = nil })
		s.after(2*time.Second, authority.Retiring)
		s.do(s.machine.Abort(ctx))
		s.after(longest+6*time.Minute, authority.Stable)

		s.do(s.machine.Rotate(ctx, nil))
		s.do(s.machine.Pause(ctx))
		s.acks.ack("n1", s.sequence())
		if st := s.after(time.Hour, authority.Distributing); !st.Paused || len(st.Waiting) != 0 {
			t.Fatalf("paused: %+v", st)
		}
		s.acks.ack("n2", s.sequence())
		time.Sleep(time.Minute)
		s.acks.leave("n2")
		s.do(s.machine.Resume(ctx, nil))
		s.after(time.Minute, authority.Distributing)
		s.refused(s.machine.Resume(ctx, nil), "not paused")
		s.do(s.machine.Resume(ctx, []string{"n2"}))
		s.after(2*time.Second, authority.Retiring)
		s.refused(s.machine.Resume(ctx, []string{"n2"}), "leave --without out")

		s.do(s.machine.Abort(ctx))
		st := s.after(2*time.Second, authority.Withdrawing)
		if st.Signing != old || st.To != old || len(st.Authorities) != 2 {
			t.Fatalf("withdrawing: %+v", st)
		}
		s.refused(s.machine.Abort(ctx), "aborted already")
		s.do(s.machine.Pause(ctx))
		s.after(longest+time.Hour, authority.Withdrawing)
		s.do(s.machine.Resume(ctx, nil))
		if st := s.after(2*time.Second, authority.Stable); st.Signing != old || len(st.Authorities) != 1 {
			t.Errorf("withdrawn: %+v", st)
		}
	})
}

// TestAwayIsForgotten waits an hour for a node that never comes back, and without a roster for one that nobody knows.
func TestAwayIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.stop() }()
		s.acks.ack("n1", s.sequence())
		time.Sleep(10 * time.Second)
		s.acks.leave("n1")
		s.do(s.machine.Rotate(t.Context(), nil))
		s.after(59*time.Minute, authority.Distributing)
		s.after(2*time.Minute, authority.Retiring)
	})
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.stop() }()
		s.stop()
		s.acks.forget()
		blind := New(Config{Authority: s.authority, Barrier: s.acks, TrustDomain: domain, LongestTTL: longest})
		s.do(blind.Rotate(t.Context(), nil))
		if took, err := blind.step(t.Context()); took || err != nil {
			t.Fatalf("a step of a machine that knows of nobody: %v, %v", took, err)
		}
		if w := blind.Status().Waiting; len(w) != 1 || !strings.Contains(w[0].Why, "no list is kept of the nodes that there were before") {
			t.Errorf("waiting: %+v", w)
		}
		time.Sleep(time.Hour)
		if took, err := blind.step(t.Context()); !took || err != nil {
			t.Errorf("an hour later: %v, %v", took, err)
		}
	})
}

// TestBySelf begins rotations when the authority nears its end, and when another is mounted; one that was aborted is not begun
// again.
func TestBySelf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.stop() }()
		ctx := t.Context()
		mount := func() string {
			g, err := authority.Generate(domain, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			g.Source = authority.Mounted
			_, err = s.authority.Update(ctx, func(st authority.State) (authority.State, error) { return authority.Add(st, g) })
			s.do(err)
			return g.ID
		}
		s.acks.ack("n1", s.sequence())
		id := mount()
		if st := s.after(2*time.Second, authority.Distributing); st.To != id {
			t.Fatalf("mounted: %+v", st)
		}
		s.do(s.machine.Abort(ctx))
		s.after(time.Hour, authority.Stable)
		if got := s.authority.State().Declined; !slices.Equal(got, []string{id}) {
			t.Errorf("declined are %q", got)
		}
		id = mount()
		s.after(2*time.Second, authority.Distributing)
		s.acks.ack("n1", s.sequence())
		s.after(2*time.Second, authority.Retiring)
		if st := s.after(longest+time.Hour, authority.Stable); st.Signing != id {
			t.Errorf("the mounted authority does not sign: %+v", st)
		}
		s.refused(s.machine.Rotate(ctx, nil), "is mounted: mount another one")
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(1)
		p := w.replicas[0]
		for range 23 {
			w.pass(24 * time.Hour)
			if took, _ := p.machine.step(t.Context()); took {
				t.Fatalf("a rotation began by itself at %s", w.now)
			}
		}
		w.pass(48 * time.Hour)
		if took, err := p.machine.step(t.Context()); !took || err != nil || p.view.Rotation.Stage != authority.Distributing {
			t.Errorf("no rotation in the last fifth of the authority's life: %v, %v", took, err)
		}
	})
}

// TestNoKeys looks for private keys in all that is shown.
func TestNoKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.stop() }()
		s.do(s.machine.Rotate(t.Context(), nil))
		st := s.machine.Status()
		data, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		state := s.authority.State()
		bundles := Bundles(&state, domain, nil)
		for _, text := range []string{string(data), fmt.Sprintf("%+v", st), s.log.String(), fmt.Sprintf("%+v", *bundles[0])} {
			if strings.Contains(text, "PRIVATE") || strings.Contains(text, `"d":`) || strings.Contains(text, " D:") {
				t.Errorf("a key is shown: %s", text)
			}
		}
		if len(bundles[0].X509) != 2 || len(bundles[0].JWT) != 2 {
			t.Errorf("the bundle has %d roots and %d keys, want two of each", len(bundles[0].X509), len(bundles[0].JWT))
		}
	})
}

// TestPublish puts what is trusted, for the trust domain and its aliases, once a change.
func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		defer func() { s.stop() }()
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var puts [][]*model.TrustBundle
		done := make(chan error, 1)
		go func() {
			done <- Publish(ctx, s.authority, domain, []spiffeTD{alias, domain}, func(domains []string, b []*model.TrustBundle) {
				mu.Lock()
				defer mu.Unlock()
				if len(domains) != 2 || domains[1] != "old.test" {
					t.Errorf("domains %q", domains)
				}
				puts = append(puts, b)
			})
		}()
		synctest.Wait()
		s.do(s.machine.Rotate(ctx, nil))
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(puts) != 2 {
			t.Fatalf("%d puts, want 2", len(puts))
		}
		first, second := puts[0], puts[1]
		if first[0].Name != "cluster.local" || first[1].Name != "old.test" || !first[1].Local || !slices.EqualFunc(first[0].X509, first[1].X509, slices.Equal) {
			t.Errorf("first: %+v", first)
		}
		if second[0].Generation <= first[0].Generation || second[0].UID != first[0].UID || second[0].ResourceVersion == first[0].ResourceVersion || len(second[0].X509) != 2 {
			t.Errorf("second: %+v", second[0])
		}
	})
}

func gauge(t *testing.T, s *stage, name string) float64 {
	t.Helper()
	for _, c := range []struct {
		name string
		g    prometheus.Gauge
	}{{"fairlead_ca_rotation_waiting", s.machine.metrics.behind}, {"fairlead_ca_rotation_stage_age_seconds", s.machine.metrics.age}} {
		if c.name == name {
			return testutil.ToFloat64(c.g)
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}
