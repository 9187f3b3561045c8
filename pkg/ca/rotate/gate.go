package rotate

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/ca/authority"
)

// Waiting is somebody whose acknowledgement is awaited.
type Waiting struct {
	// Node is empty for a replica.
	Node string `json:"node,omitempty"`
	// Agent is set for the node's agent, and not for its Envoy.
	Agent bool `json:"agent,omitempty"`
	// Away is when a node that is not connected was last seen.
	Away *time.Time `json:"away,omitempty"`
	Why  string     `json:"why"`
}

// String is how people see it: "node-a (agent): is connected, and has not acknowledged the bundle".
func (w Waiting) String() string {
	switch {
	case w.Node == "":
		return w.Why
	case w.Agent:
		return w.Node + " (agent): " + w.Why
	}
	return w.Node + ": " + w.Why
}

// unready is why somebody who is connected is waited for.
func unready(c *barrier.Acknowledged) string {
	if c.Rejected != "" {
		return fmt.Sprintf("connected, and refuses the bundle: %s", c.Rejected)
	}
	return "connected, and has not acknowledged the bundle yet"
}

// waits lists who keeps a rotation from signing with the new authority: replicas that have not read what is trusted, nodes and
// agents that have not acknowledged it, and those that were there a while ago and are not.
func (m *Machine) waits(s *authority.State, census *barrier.Census, now time.Time) []Waiting {
	m.seen.look(census, now)
	var out []Waiting
	if !census.Known {
		out = append(out, Waiting{Why: fmt.Sprintf("bundle %d is not in the tables of this replica yet", s.Sequence)})
	}
	for _, why := range census.Replicas {
		out = append(out, Waiting{Why: why})
	}
	without := s.Rotation.Without
	there := map[party]bool{}
	for _, c := range census.Clients {
		if !c.Connected {
			continue
		}
		there[party{c.Node, c.Agent}] = true
		if !c.Through && !slices.Contains(without, c.Node) {
			out = append(out, Waiting{Node: c.Node, Agent: c.Agent, Why: unready(&c)})
		}
	}
	for p, at := range m.seen.away(there, now) {
		if !slices.Contains(without, p.Node) {
			out = append(out, Waiting{Node: p.Node, Agent: p.Agent, Away: &at, Why: fmt.Sprintf(
				"not connected since %s; waited for until %s, or resume --without %s",
				at.UTC().Format(time.RFC3339), at.Add(m.cfg.Away).UTC().Format(time.RFC3339), p.Node)})
		}
	}
	if until := m.seen.blindUntil(); now.Before(until) {
		out = append(out, Waiting{Why: "no list is kept of the nodes that there were before this replica started: those that are away are waited for until " +
			until.UTC().Format(time.RFC3339)})
	}
	slices.SortFunc(out, func(a, b Waiting) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.String(), b.String()))
	})
	return out
}
