package barrier

import (
	"cmp"
	"slices"
	"time"

	"fairlead.io/fairlead/pkg/model"
)

// Rejection is one client's refusal of one resource.
type Rejection struct {
	// Type is the type URL of the resource.
	Type, Resource string
	// Node and Version are the client's node and Envoy version; Message is what it said.
	Node, Version, Message string
}

// Refusal is a Rejection with the objects that the resource was made from.
type Refusal struct {
	Origins []model.Ref
	Rejection
}

// Client is one stream of a node: of its Envoy or of its agent.
type Client struct {
	// ID tells the streams of one replica apart.
	ID   uint64
	Node string
	// Agent is set for the node's agent. It and the node's Envoy are counted apart.
	Agent bool
	// Connected is by the clock of the replica.
	Connected time.Time
	// Settled is the number of the replica's state that the client has acknowledged all of; 0 until the first.
	Settled uint64
}

// maxRejected bounds the refusals of one object that are told to peers and to people; the rest is counted.
const maxRejected = 16

// row is one object at one replica. It is immutable.
type row struct {
	ref        model.Ref
	uid        string
	generation int64
	// digest is over the contents that the object has a part in, changed the state in which they last changed.
	digest, changed uint64
	rejected        []Rejection
	more            int

	// Of the own replica alone.
	status    *model.ObjectStatus
	resources int
}

// party is who acknowledges: the Envoy of a node, or its agent.
type party struct {
	node  string
	agent bool
}

func (c *Client) party() party { return party{c.Node, c.Agent} }

// String is how people see it.
func (p party) String() string {
	if p.agent {
		return p.node + " (agent)"
	}
	return p.node
}

// client is a Client as the barrier keeps it.
type client struct {
	Client
	// gone is when it was last connected; zero while it is.
	gone time.Time
}

// replica is one replica of the control plane, this one included.
type replica struct {
	name, build string
	rows        map[model.Ref]*row
	clients     map[uint64]*client
	log         changeLog
	// lost is when its stream ended; zero while it is followed, and for this replica. left is set when it said that it would.
	lost time.Time
	left bool

	// Of count: what its clients in the count have all settled (no client: everything), and how many they are.
	settled uint64
	counted int
}

func newReplica(name, build string) *replica {
	return &replica{name: name, build: build, rows: map[model.Ref]*row{}, clients: map[uint64]*client{}, settled: everything}
}

// everything is beyond every state.
const everything = ^uint64(0)

// set takes in a row.
func (r *replica) set(w *row) {
	if was := r.rows[w.ref]; was == nil || was.changed != w.changed {
		r.log.add(w.changed, w.ref)
	}
	r.rows[w.ref] = w
	r.log.compact(r.rows)
}

// last is the newest state that the replica is known to have.
func (r *replica) last() uint64 {
	if n := len(r.log.list); n > 0 {
		return r.log.list[n-1].changed
	}
	return 0
}

// changeLog lists objects by the state in which they last changed. Entries that are overtaken stay until compact.
type changeLog struct{ list []logged }

type logged struct {
	changed uint64
	ref     model.Ref
}

func byState(e logged, changed uint64) int { return cmp.Compare(e.changed, changed) }

// add notes a change; mostly it is the newest.
func (l *changeLog) add(changed uint64, ref model.Ref) {
	at, _ := slices.BinarySearchFunc(l.list, changed+1, byState)
	l.list = slices.Insert(l.list, at, logged{changed, ref})
}

// floor is the last state up to a given one in which anything changed; at least 1. A client that has settled either of them
// is through with the same objects, so nobody needs to hear of what lies between.
func (l *changeLog) floor(state uint64) uint64 {
	at, exact := slices.BinarySearchFunc(l.list, state, byState)
	switch {
	case exact:
		return state
	case at == 0:
		return 1
	}
	return l.list[at-1].changed
}

func (l *changeLog) compact(rows map[model.Ref]*row) {
	if len(l.list) < 2*len(rows)+64 {
		return
	}
	l.list = slices.DeleteFunc(l.list, func(e logged) bool { r := rows[e.ref]; return r == nil || r.changed != e.changed })
}

// between calls fn for the objects that last changed after state a, up to state b.
func (l *changeLog) between(a, b uint64, rows map[model.Ref]*row, fn func(model.Ref)) {
	at, _ := slices.BinarySearchFunc(l.list, a+1, byState)
	for _, e := range l.list[at:] {
		if e.changed > b {
			return
		}
		if r := rows[e.ref]; r != nil && r.changed == e.changed {
			fn(e.ref)
		}
	}
}
