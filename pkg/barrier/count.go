package barrier

import (
	"cmp"
	"time"
)

// Absent is a node that is not in the count.
type Absent struct {
	Node string `json:"node"`
	// Agent is set when it is the node's agent, and not its Envoy.
	Agent bool `json:"agent,omitempty"`
	// Since is when it was last connected, or when it came back.
	Since time.Time `json:"since"`
	// Reason says why, and what would end it.
	Reason string `json:"reason"`
}

// node is a node's Envoy, or its agent, by the connection that speaks for it: its newest one, or its last.
type node struct {
	replica *replica
	client  *client
	// fenced is set for a node that is back after it had left the count, and has not been served the newest state yet.
	fenced bool
}

// joining tells whether the node has not yet acknowledged a whole state.
func (n *node) joining() bool { return n.client.Settled == 0 }

// fence is what a node that is back has to settle before it counts again.
type fence struct {
	client  uint64
	replica string
	state   uint64
}

// count finds the connection that speaks for each node, and how far the nodes of each replica are. It looks at all clients:
// that is some microseconds, and no object is looked at but those whose verdict it changes. The caller holds mu.
func (b *Barrier) count(now time.Time) {
	b.next = time.Time{}
	var broken map[string]bool
	if b.cfg.NotReady != nil {
		broken = b.cfg.NotReady()
	}
	b.nodes = map[party]*node{}
	left := map[party]*node{}
	for _, r := range b.replicas {
		for id, c := range r.clients {
			n := &node{replica: r, client: c}
			if gone := n.gone(); !gone.IsZero() && (broken[c.Node] || !now.Before(gone.Add(b.cfg.Grace))) {
				delete(r.clients, id)
				left[c.party()] = n
			} else if o := b.nodes[c.party()]; o == nil || n.speaksBefore(o) {
				b.nodes[c.party()] = n
			}
		}
	}
	for who, n := range left {
		if b.nodes[who] == nil {
			b.depart(who, n.gone(), n.why(broken[who.node]))
		}
	}
	for who, n := range b.nodes {
		b.admit(who, n, now, broken[who.node])
	}
	b.forget(now)
	b.tally()
}

// why says why a node that is not connected leaves the count.
func (n *node) why(broken bool) string {
	switch {
	case broken:
		return "not connected, and NotReady in the cluster"
	case n.client.gone.IsZero():
		return "not connected since its replica " + n.replica.name + " cannot be reached"
	}
	return "not connected"
}

// depart takes a node out of the count.
func (b *Barrier) depart(who party, since time.Time, why string) {
	if was, ok := b.absent[who]; ok {
		since = was.Since
	} else {
		b.log.Info("a node has left the count", "node", who.String(), "reason", why)
	}
	if now := (Absent{who.node, who.agent, since, why}); b.absent[who] != now {
		b.absent[who] = now
		b.dirty = true
	}
	delete(b.fences, who)
}

// admit decides whether a node that is connected, or was a moment ago, is in the count.
func (b *Barrier) admit(who party, n *node, now time.Time, broken bool) {
	gone := n.gone()
	_, absent := b.absent[who]
	f, fenced := b.fences[who]
	switch {
	case broken:
		b.depart(who, now, "NotReady in the cluster")
		delete(b.nodes, who)
		return
	case !gone.IsZero() && (absent || fenced): // it was back for a moment only
		b.depart(who, gone, n.why(false))
		delete(b.nodes, who)
		return
	case !gone.IsZero():
		b.until(gone.Add(b.cfg.Grace))
		return
	case absent || fenced && (f.client != n.client.ID || f.replica != n.replica.name):
		// A new connection begins with the newest state; an old one has to reach it.
		f = fence{client: n.client.ID, replica: n.replica.name, state: 1}
		if n.client.Settled > 0 {
			f.state = n.replica.last()
		}
		b.fences[who], fenced = f, true
		delete(b.absent, who)
		b.dirty = true
	}
	if n.fenced = fenced && n.client.Settled < f.state; fenced && !n.fenced {
		delete(b.fences, who)
		b.dirty = true
		b.log.Info("a node is back in the count", "node", who.String())
	}
}

// forget drops what nothing needs: streams that another one has replaced, replicas and absences long gone.
func (b *Barrier) forget(now time.Time) {
	for name, r := range b.replicas {
		for id, c := range r.clients {
			if speaks := b.nodes[c.party()]; (!c.gone.IsZero() || !r.lost.IsZero()) && (speaks == nil || speaks.client != c) {
				delete(r.clients, id)
			}
		}
		if r.lost.IsZero() {
			continue
		}
		if end := r.lost.Add(b.cfg.Grace); now.Before(end) && (!r.left || len(r.clients) > 0) {
			b.until(end)
			continue
		}
		delete(b.replicas, name)
		b.touchAll()
	}
	for _, p := range b.peers {
		if p.holds() {
			if end := p.since.Add(b.cfg.Grace); now.Before(end) {
				b.until(end)
				continue
			}
			p.given = true
			b.log.Warn("no replica answers; going on without its clients", "address", p.address, "after", b.cfg.Grace)
			b.touchAll()
		}
	}
	for who, a := range b.absent {
		if end := a.Since.Add(b.cfg.Remember); now.Before(end) {
			b.until(end)
		} else {
			delete(b.absent, who)
			b.dirty = true
		}
	}
}

// until notes a deadline.
func (b *Barrier) until(t time.Time) {
	if b.next.IsZero() || t.Before(b.next) {
		b.next = t
	}
}

// tally counts the nodes, and touches the objects for which that makes a difference.
func (b *Barrier) tally() {
	type sum struct {
		settled uint64
		counted int
	}
	sums := map[*replica]sum{}
	clients, joining := 0, 0
	for who, n := range b.nodes {
		if !n.fenced && !b.second(who) {
			clients++
		}
		switch {
		case n.fenced:
		case n.joining():
			joining++
		default:
			s, ok := sums[n.replica]
			if !ok || n.client.Settled < s.settled {
				s.settled = n.client.Settled
			}
			s.counted++
			sums[n.replica] = s
		}
	}
	all := (clients == 0) != (b.clients == 0)
	for _, r := range b.replicas {
		s, ok := sums[r]
		if !ok {
			s.settled = everything
		}
		all = all || (s.counted == 0) != (r.counted == 0)
		if s.settled != r.settled {
			r.log.between(min(s.settled, r.settled), max(s.settled, r.settled), r.rows, b.touch)
		}
		b.dirty = b.dirty || s.settled != r.settled || s.counted != r.counted
		r.settled, r.counted = s.settled, s.counted
	}
	joined := joining == 0 && b.joining > 0
	b.dirty = b.dirty || clients != b.clients || joining != b.joining
	b.clients, b.joining = clients, joining
	if all {
		b.touchAll()
	}
	if joined {
		for ref := range b.held {
			b.touch(ref)
		}
		clear(b.held)
	}
}

// second tells whether the node of an agent is counted already, by its Envoy.
func (b *Barrier) second(who party) bool {
	if !who.agent {
		return false
	}
	n := b.nodes[party{node: who.node}]
	return n != nil && !n.fenced
}

// gone is when the node was last connected; zero while it is.
func (n *node) gone() time.Time {
	if n.client.gone.IsZero() {
		return n.replica.lost
	}
	return n.client.gone
}

// speaksBefore tells whether n speaks for its node rather than o: who is connected, then who connected last.
func (n *node) speaksBefore(o *node) bool {
	if here, there := n.gone().IsZero(), o.gone().IsZero(); here != there {
		return here
	}
	order := cmp.Or(n.client.Connected.Compare(o.client.Connected), cmp.Compare(n.replica.name, o.replica.name), cmp.Compare(n.client.ID, o.client.ID))
	return order > 0
}
