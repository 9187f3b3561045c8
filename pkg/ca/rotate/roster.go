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
	// Update has fn make another list of the one that is kept (nothing when nothing is), and saves it unless it is the same;
	// again when another replica was faster.
	Update(ctx context.Context, fn func([]Present) []Present) error
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
	at    time.Time // when it was saved
	blind time.Time // until when somebody may be away that nobody knows of
}

func newSeen(remember time.Duration, now time.Time) *seen {
	return &seen{remember: remember, last: map[party]time.Time{}, here: map[party]bool{}, blind: now.Add(remember)}
}

// read takes in a roster for the first time, before anybody can have been met.
func (s *seen) read(list []Present, now time.Time) {
	s.merge(list, now)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.saved = list
}

// merge takes in a roster, and gives what it is to be. Who was connected when it was saved, and is not known here, may have been
// until now.
func (s *seen) merge(list []Present, now time.Time) []Present {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blind = time.Time{}
	for _, p := range list {
		k := party{p.Node, p.Agent}
		last, known := s.last[k]
		switch {
		case p.Seen.IsZero() && !known:
			s.last[k] = now
		case last.Before(p.Seen) && now.Before(p.Seen.Add(s.remember)):
			s.last[k] = p.Seen
		}
	}
	s.saved, s.at = s.list(), now
	return s.saved
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

// unsaved tells whether the list is another than the saved one, and since when that is.
func (s *seen) unsaved() (other bool, saved time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !slices.Equal(s.list(), s.saved), s.at
}

// list is what to save; mu is held.
func (s *seen) list() []Present {
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
	return list
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// settleDown is the least time between two savings of a roster: a fleet that comes back is saved a few times, not a thousand.
// Replicas that do not lead save what the leader has not after followUp.
const (
	settleDown = 5 * time.Second
	followUp   = 15 * time.Second
	// reread is how often a replica that has nothing to save looks whether another one, which has just begun and knows
	// less, has saved something else.
	reread = 10 * time.Minute
)

// remember saves the roster when it is another: at once before a step is taken, else after a while.
func (m *Machine) remember(ctx context.Context, now time.Time, atOnce bool) error {
	if m.cfg.Roster == nil {
		return nil
	}
	pause := followUp
	if m.cfg.Leads() {
		pause = settleDown
	}
	other, saved := m.seen.unsaved()
	if !other {
		pause = reread
	}
	if now.Before(saved.Add(pause)) && !(other && atOnce) {
		return nil
	}
	return m.recall(ctx, now)
}

// recallFirst reads the roster; without it nothing may be decided.
func (m *Machine) recallFirst(ctx context.Context) {
	for wait := 100 * time.Millisecond; m.cfg.Roster != nil && ctx.Err() == nil; wait = min(2*wait, 10*time.Second) {
		err := m.cfg.Roster.Update(ctx, func(list []Present) []Present { m.seen.read(list, m.cfg.Now()); return list })
		if err == nil || ctx.Err() != nil {
			return
		}
		m.log.Warn("cannot read which nodes there are; trying again", "error", err)
		pauseFor(ctx, wait)
	}
}

// recall joins the roster with what is known here.
func (m *Machine) recall(ctx context.Context, now time.Time) error {
	return m.cfg.Roster.Update(ctx, func(list []Present) []Present { return m.seen.merge(list, now) })
}
