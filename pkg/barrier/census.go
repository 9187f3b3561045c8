package barrier

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"fairlead.io/fairlead/pkg/model"
)

// Census is who has acknowledged objects in a generation or a later one: everybody by name, nobody left out. It is for what must
// not be wrong once, where Wait is for what is about to be so.
type Census struct {
	// Known is set when this replica has all the objects in that generation.
	Known bool
	// Clients are all that are connected, or were a moment ago.
	Clients []Acknowledged
	// Absent are those that are not in the count.
	Absent []Absent
	// Replicas says of each that has not the objects in that generation, or cannot be asked, why.
	Replicas []string
}

// Acknowledged is one Envoy, or agent, of a node.
type Acknowledged struct {
	Node  string
	Agent bool
	// Connected is false for one that was connected a moment ago.
	Connected bool
	// Through is set when it has acknowledged all the objects and rejected none. Rejected is what it said when it rejected one.
	Through  bool
	Rejected string
}

// Census looks at the newest state of all replicas.
func (b *Barrier) Census(refs []model.Ref, generation int64) Census {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.observe()
	b.settle(time.Now())
	c := Census{Known: b.made.statuses > 0, Absent: b.missing()}
	rejected := map[string]string{} // by node
	targets := map[*replica]uint64{}
	for _, r := range b.replicas {
		targets[r] = 0
		if r.mute() {
			c.Replicas = append(c.Replicas, fmt.Sprintf("replica %s cannot be reached", r.name))
		}
		for _, ref := range refs {
			w := b.row(r, ref, generation)
			if w == nil {
				targets[r] = everything
				c.Known = c.Known && r != b.own
				continue
			}
			targets[r] = max(targets[r], w.changed)
			for _, j := range w.rejected {
				rejected[j.Node] = j.Message
			}
			if w.more > 0 && targets[r] != everything {
				targets[r] = everything // who else has rejected it is not told
			}
		}
		if targets[r] == everything && !r.mute() && !(r.left && !r.lost.IsZero()) {
			c.Replicas = append(c.Replicas, fmt.Sprintf("replica %s has not read it yet", r.name))
		}
	}
	for _, p := range b.peers {
		if p.holds() {
			c.Replicas = append(c.Replicas, fmt.Sprintf("no replica has answered at %s", p.address))
		}
	}
	for who, n := range b.nodes {
		if words, refused := rejected[who.node]; !n.fenced {
			c.Clients = append(c.Clients, Acknowledged{
				Node: who.node, Agent: who.agent, Connected: n.gone().IsZero(),
				Through: n.client.Settled > 0 && n.client.Settled >= targets[n.replica] && !refused, Rejected: words,
			})
		}
	}
	if c.Known && !b.sought(generation) {
		c.Replicas = append(c.Replicas, "other replicas have not been looked for since this one has it")
	}
	slices.Sort(c.Replicas)
	slices.SortFunc(c.Clients, func(a, b Acknowledged) int {
		return cmp.Compare(party{a.Node, a.Agent}.String(), party{b.Node, b.Agent}.String())
	})
	return c
}

// asked is a generation that a census was taken of, and how many looks for other replicas there had been when this replica first
// had it.
type asked struct {
	generation int64
	looks      uint64
}

// sought tells whether other replicas have been looked for since this one has a generation: one that came before, and serves
// nodes, is known then. The first look after it may have begun before it.
func (b *Barrier) sought(generation int64) bool {
	if b.asked.generation != generation {
		b.asked = asked{generation, b.looks}
	}
	return !b.cfg.Seeks || b.looks >= b.asked.looks+2
}

// row is an object at a replica, if it has it in the generation or a later one.
func (b *Barrier) row(r *replica, ref model.Ref, generation int64) *row {
	own, w := b.own.rows[ref], r.rows[ref]
	if w == nil || w.generation < generation || own == nil {
		return nil
	}
	return b.matches(r, own)
}
