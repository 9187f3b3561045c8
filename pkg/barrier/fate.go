package barrier

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"fairlead.io/fairlead/pkg/model"
)

// Progress is how far the nodes in the count are with an object. Higher is worse.
type Progress uint8

const (
	// Through: every node in the count has acknowledged it.
	Through Progress = iota
	// Joining: only nodes keep it that have just connected and have not been served a whole state yet. They may well have
	// it from an earlier connection, so this is no reason to take back what was said before.
	Joining
	// Behind: a node, or a replica that nobody can ask, has not acknowledged it.
	Behind
)

// Fate is how an object fares at all nodes of all replicas.
type Fate struct {
	Progress Progress
	// Resources is how many resources the object has a part in, Clients how many nodes are in the count.
	Resources, Clients int
	// Rejected are the refusals that stand, by replica; the first ones of each.
	Rejected []Rejection
}

// Programmed is true when there are nodes, all are through, and none has rejected anything.
func (f *Fate) Programmed() bool {
	return f.Clients > 0 && f.Progress == Through && len(f.Rejected) == 0
}

// Ready tells whether anything is known of any object: that none is there is then no lack of knowledge.
func (b *Barrier) Ready() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.made.statuses > 0
}

// Get gives an object's status, with its fate in a state that is no older than the status; nil when there is none.
func (b *Barrier) Get(ref model.Ref) (*model.ObjectStatus, Fate) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := b.own.rows[ref]
	if r == nil {
		return nil, Fate{}
	}
	f := b.fate(r)
	if f.Progress == Joining {
		b.held[ref] = struct{}{}
	}
	return r.status, f
}

// Named is an object with its status and fate, and who keeps it.
type Named struct {
	Status *model.ObjectStatus
	Fate   Fate
	Waits
}

// Waits names who has not acknowledged an object: the first ones, by name.
type Waits struct {
	Behind []string
	More   int
}

// All lists every object, in the newest state.
func (b *Barrier) All() []Named {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.observe()
	b.settle(time.Now())
	out := make([]Named, 0, len(b.own.rows))
	for _, r := range b.own.rows {
		n := Named{Status: r.status, Fate: b.fate(r)}
		if n.Fate.Progress != Through {
			n.Waits = b.waits(r, nil)
		}
		out = append(out, n)
	}
	return out
}

// Refs lists every object that has a status.
func (b *Barrier) Refs() []model.Ref {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(maps.Keys(b.own.rows))
}

// Absent lists the nodes that are not in the count, by name.
func (b *Barrier) Absent() []Absent {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.missing()
}

func (b *Barrier) missing() []Absent {
	out := slices.Collect(maps.Values(b.absent))
	for who, n := range b.nodes {
		if n.fenced {
			out = append(out, Absent{who.node, who.agent, n.client.Connected, "back, and not served the newest state yet"})
		}
	}
	slices.SortFunc(out, func(a, b Absent) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(party{a.Node, a.Agent}.String(), party{b.Node, b.Agent}.String()))
	})
	return out
}

// matches tells whether a replica has the object of an own row, or a later generation of it, and made the same of it.
func (b *Barrier) matches(r *replica, own *row) *row {
	if r == b.own {
		return own
	}
	w := r.rows[own.ref]
	switch {
	case w == nil || w.uid != own.uid || w.generation < own.generation:
		return nil
	case w.generation == own.generation && r.build == b.own.build && w.digest != own.digest:
		return nil
	}
	return w
}

// mute tells whether a replica may have clients that nobody knows of.
func (r *replica) mute() bool { return !r.lost.IsZero() && !r.left }

// fate judges an own row. It costs a comparison a replica.
func (b *Barrier) fate(own *row) Fate {
	f := Fate{Resources: own.resources, Clients: b.clients}
	if b.joining > 0 {
		f.Progress = Joining
	}
	for _, r := range b.replicas {
		switch w := b.matches(r, own); {
		case w != nil:
			f.Rejected = append(f.Rejected, w.rejected...)
			if w.changed > r.settled {
				f.Progress = Behind
			}
		case r.counted > 0 || r.mute():
			f.Progress = Behind
		}
	}
	for _, p := range b.peers {
		if p.holds() {
			f.Progress = Behind
		}
	}
	slices.SortFunc(f.Rejected, compareRejections)
	return f
}

// maxNamed bounds the names of a Waits.
const maxNamed = 20

// waits names who keeps an own row from being through. targets, when given, are the states that count by replica, instead
// of that in which the row last changed.
func (b *Barrier) waits(own *row, targets map[string]uint64) Waits {
	var names []string
	state := func(r *replica) uint64 {
		if targets != nil {
			return cmp.Or(targets[r.name], everything)
		}
		if w := b.matches(r, own); w != nil {
			return w.changed
		}
		return everything
	}
	for who, n := range b.nodes {
		if !n.fenced && n.client.Settled < state(n.replica) {
			names = append(names, who.String())
		}
	}
	for _, r := range b.replicas {
		if r.mute() && state(r) == everything {
			names = append(names, fmt.Sprintf("(replica %s cannot be reached)", r.name))
		}
	}
	for _, p := range b.peers {
		if p.holds() {
			names = append(names, fmt.Sprintf("(no replica has answered at %s)", p.address))
		}
	}
	slices.Sort(names)
	return Waits{Behind: names[:min(len(names), maxNamed)], More: max(0, len(names)-maxNamed)}
}

func compareRejections(a, b Rejection) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Node, b.Node))
}
