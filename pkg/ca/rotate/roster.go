package rotate

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"fairlead.io/fairlead/pkg/barrier"
)

// Roster keeps which nodes there are, so that those that are away while replicas start are missed. It is safe for concurrent use.
type Roster interface {
	// Load gives what was saved last; nothing when nothing was.
	Load(ctx context.Context) ([]Present, error)
	Save(ctx context.Context, list []Present) error
}

// Present is a node's Envoy, or its agent, that was connected.
type Present struct {
	Node  string `json:"node"`
	Agent bool   `json:"agent,omitempty"`
	// Seen is when it was last connected; zero for one that still was.
	Seen time.Time `json:"seen,omitzero"`
}

// party is who acknowledges: a node's Envoy, or its agent.
type party struct {
	Node  string
	Agent bool
}

// seen is when each party was last connected.
type seen struct {
	remember time.Duration

	mu    sync.Mutex // guards what follows
	last  map[party]time.Time
	here  map[party]bool
	saved []Present
	at    time.Time // when it was saved; Run's alone
	blind time.Time // until when somebody may be away that nobody knows of
}

func newSeen(remember time.Duration, now time.Time) *seen {
	return &seen{remember: remember, last: map[party]time.Time{}, here: map[party]bool{}, blind: now.Add(remember)}
}

// load takes in a roster: who was connected when it was saved may have been until now.
func (s *seen) load(list []Present, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blind, s.saved = time.Time{}, list
	for _, p := range list {
		at := p.Seen
		if at.IsZero() {
			at = now
		}
		if k := (party{p.Node, p.Agent}); s.last[k].Before(at) {
			s.last[k] = at
		}
	}
}

// look takes in who is connected now.
func (s *seen) look(census *barrier.Census, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.here)
	for _, c := range census.Clients {
		k := party{c.Node, c.Agent}
		if c.Connected {
			s.here[k], s.last[k] = true, now
		} else if _, known := s.last[k]; !known {
			s.last[k] = now
		}
	}
	for _, a := range census.Absent {
		if k := (party{a.Node, a.Agent}); s.last[k].Before(a.Since) {
			s.last[k] = a.Since
		}
	}
	maps.DeleteFunc(s.last, func(_ party, at time.Time) bool { return !now.Before(at.Add(s.remember)) })
}

// away are those that were connected a while ago and are not there.
func (s *seen) away(there map[party]bool, now time.Time) iter.Seq2[party, time.Time] {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := maps.Clone(s.last)
	maps.DeleteFunc(out, func(p party, at time.Time) bool { return there[p] || !now.Before(at.Add(s.remember)) })
	return maps.All(out)
}

func (s *seen) blindUntil() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blind
}

// unsaved gives the list to save when it is another than the saved one.
func (s *seen) unsaved() ([]Present, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Present, 0, len(s.last))
	for k, at := range s.last {
		p := Present{Node: k.Node, Agent: k.Agent}
		if !s.here[k] {
			p.Seen = at.UTC().Truncate(time.Second)
		}
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Present) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(btoi(a.Agent), btoi(b.Agent)))
	})
	return list, !slices.Equal(list, s.saved)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// settleDown is the least time between two savings of a roster: a fleet that comes back is saved a few times, not a thousand.
const settleDown = 5 * time.Second

// remember saves the roster when it is another: at once before a step is taken, else after a while.
func (m *Machine) remember(ctx context.Context, now time.Time, atOnce bool) error {
	list, other := m.seen.unsaved()
	if m.cfg.Roster == nil || !other || !atOnce && now.Before(m.seen.at.Add(settleDown)) {
		return nil
	}
	if err := m.cfg.Roster.Save(ctx, list); err != nil {
		return err
	}
	m.seen.mu.Lock()
	defer m.seen.mu.Unlock()
	m.seen.saved, m.seen.at = list, now
	return nil
}
