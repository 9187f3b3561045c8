package identity_test

import (
	"errors"
	"testing"
	"time"
)

// TestLeaderDies has two replicas; the one that rotates is killed in the middle of it, in each stage. The other one goes on
// where it was, and takes commands meanwhile.
func TestLeaderDies(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 12*time.Second)
	servers := []*server{w.server(quick...), w.server(quick...)}
	for _, s := range servers {
		s.ready()
	}
	a, b := w.agent("node-a"), w.agent("node-b")
	w.pod("shop", "web-1", "web", "node-a")
	a.ready(webID)
	b.ready()
	leader := func() (leads, other *server) {
		t.Helper()
		w.eventually("one of the replicas leads", func() error {
			for i, s := range servers {
				if st, err := s.rotation(); err == nil && st.Leads {
					leads, other = s, servers[1-i]
					return nil
				}
			}
			return errors.New("none does")
		})
		return leads, other
	}
	first, other := leader()
	old := first.until("Stable", "").Signing
	b.stop()
	other.must("rotate") // by the one that does not lead
	next := first.awaits("node-b").To
	first.kill()
	other.awaits("node-b") // it knows who is away, and says so
	b.start()
	second, _ := leader()
	if second != other {
		t.Fatalf("%s leads, and was killed", second.name)
	}
	if st := other.until("Retiring", ""); st.Signing != next {
		t.Errorf("%s signs, want %s", st.Signing, next)
	}
	first.start()
	first.ready()
	other.kill()
	if st := first.until("Stable", ""); st.Signing != next || len(st.Authorities) != 1 || st.Authorities[0].ID == old {
		t.Errorf("%+v, want %s alone", st, next)
	}
	w.trusts(first, next)
}
