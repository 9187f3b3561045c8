package barrier

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"fairlead.io/fairlead/pkg/model"
)

// Query says what is waited for.
type Query struct {
	// Kind is any case; Group may be empty when one group alone has such an object.
	Group, Kind, Namespace, Name string
	// UID, when given, makes a namesake another object.
	UID string
	// Generation is the least one that will do; 0 is whatever is the latest.
	Generation int64
}

// Outcome is how a wait stands or has ended.
type Outcome string

const (
	Waiting Outcome = "waiting"
	Passed  Outcome = "passed"
	// Rejected: a node did not take it. NotAccepted: resolve did not, so no node ever saw it or all of it. Replaced: another
	// object has its name. Ambiguous: several objects have the kind and the name.
	Rejected    Outcome = "rejected"
	NotAccepted Outcome = "notAccepted"
	Replaced    Outcome = "replaced"
	Ambiguous   Outcome = "ambiguous"
	TimedOut    Outcome = "timedOut"
)

// Answer is the state of a wait.
type Answer struct {
	Outcome Outcome `json:"outcome"`
	// Message says what is waited for or what ended the wait.
	Message string `json:"message"`
	// Object is "Kind namespace/name"; empty, as all that follows, while there is none.
	Object     string `json:"object,omitempty"`
	UID        string `json:"uid,omitempty"`
	Generation int64  `json:"generation,omitempty"`
	// Nodes counts the nodes in the count, Through those that have acknowledged it.
	Nodes   int `json:"nodes"`
	Through int `json:"through"`
	// Behind names nodes that have not, and replicas that nobody can ask; BehindMore counts those beyond.
	Behind     []string `json:"behind,omitempty"`
	BehindMore int      `json:"behindMore,omitempty"`
	// Absent are the nodes that are not in the count, Unreachable the replicas whose clients nobody knows.
	Absent      []Absent    `json:"absent,omitempty"`
	Unreachable []string    `json:"unreachable,omitempty"`
	Rejected    []Rejection `json:"rejected,omitempty"`
}

// Wait blocks until the object is acknowledged by every node in the count, until that cannot be any more, or until ctx ends.
// tell, which may be nil, is called whenever the answer is another.
//
// What has to be acknowledged is fixed when the generation is first seen at a replica: later changes of what the object
// refers to do not put it off.
func (b *Barrier) Wait(ctx context.Context, q Query, tell func(Answer)) Answer {
	w := waiter{b: b, q: q}
	var last Answer
	for {
		changed := b.Changed()
		a := w.examine()
		if a.Outcome != Waiting {
			return a
		}
		if tell != nil && !reflect.DeepEqual(a, last) {
			tell(a)
			last = a
		}
		select {
		case <-changed:
		case <-ctx.Done():
			a.Outcome = TimedOut
			return a
		case <-b.leaving:
			a.Outcome, a.Message = TimedOut, "the server is shutting down; ask another replica. "+a.Message
			return a
		}
	}
}

// waiter is one Wait. targets are the states that have to be settled, by replica.
type waiter struct {
	b *Barrier
	q Query

	uid        string
	generation int64
	targets    map[string]uint64

	// found are the objects that the query may mean, in the state that was searched.
	found    []model.Ref
	searched uint64
}

// find gives the object that is waited for.
func (w *waiter) find() (*row, Answer) {
	b := w.b
	if len(w.found) != 1 || b.own.rows[w.found[0]] == nil {
		if w.searched != b.made.statuses { // once a state
			w.searched, w.found = b.made.statuses, nil
			for ref := range b.own.rows {
				if w.q.means(ref) {
					w.found = append(w.found, ref)
				}
			}
		}
	}
	name := model.Ref{Kind: w.q.Kind, Namespace: w.q.Namespace, Name: w.q.Name}
	if len(w.found) > 1 {
		var kinds []string
		for _, ref := range w.found {
			kinds = append(kinds, ref.Kind+"."+ref.Group)
		}
		slices.Sort(kinds)
		return nil, Answer{Outcome: Ambiguous, Message: fmt.Sprintf("%s is ambiguous: name one of %s", name, strings.Join(kinds, ", "))}
	}
	if len(w.found) == 0 || b.own.rows[w.found[0]] == nil {
		return nil, Answer{Outcome: Waiting, Message: name.String() + " does not exist, or the server has not seen it yet"}
	}
	r := b.own.rows[w.found[0]]
	return r, Answer{Outcome: Waiting, Object: r.ref.String(), UID: r.uid, Generation: r.generation}
}

// means tells whether an object is one that the query may mean.
func (q *Query) means(ref model.Ref) bool {
	return ref.Name == q.Name && ref.Namespace == q.Namespace && strings.EqualFold(ref.Kind, q.Kind) && (q.Group == "" || ref.Group == q.Group)
}

// examine judges the newest state.
func (w *waiter) examine() Answer {
	b := w.b
	b.mu.Lock()
	defer b.mu.Unlock()
	b.observe()
	b.settle(time.Now())
	r, a := w.find()
	if r == nil {
		return a
	}
	w.aim(r)
	waits := b.waits(r, w.targets)
	a.Behind, a.BehindMore = waits.Behind, waits.More
	a.Nodes, a.Absent, a.Unreachable = b.clients, b.missing(), b.unreachable()
	a.Through = a.Nodes - b.late(w.targets)
	for _, p := range b.replicas {
		if m := b.matches(p, r); m != nil {
			a.Rejected = append(a.Rejected, m.rejected...)
		}
	}
	slices.SortFunc(a.Rejected, compareRejections)
	w.judge(&a, r.status)
	return a
}

// aim fixes what has to be settled at the replicas that have the generation.
func (w *waiter) aim(r *row) {
	if w.targets == nil || r.uid != w.uid || w.q.Generation == 0 && r.generation != w.generation {
		w.uid, w.generation, w.targets = r.uid, r.generation, map[string]uint64{}
	}
	if r.generation < w.q.Generation {
		return
	}
	for name, p := range w.b.replicas {
		if m := w.b.matches(p, r); m != nil && w.targets[name] == 0 {
			w.targets[name] = m.changed
		}
	}
}

// judge decides.
func (w *waiter) judge(a *Answer, s *model.ObjectStatus) {
	verdict, why := accepted(s)
	switch {
	case w.q.UID != "" && a.UID != w.q.UID:
		a.Outcome = Replaced
		a.Message = fmt.Sprintf("object was replaced: %s now has UID %s, not %s", a.Object, a.UID, w.q.UID)
	case a.Generation < w.q.Generation:
		a.Message = fmt.Sprintf("the server has seen generation %d, and not %d yet", a.Generation, w.q.Generation)
	case len(a.Rejected) > 0:
		a.Outcome = Rejected
		j := a.Rejected[0]
		a.Message = fmt.Sprintf("node %s rejected the %s %s: %s", j.Node, shortType(j.Type), j.Resource, strings.TrimSpace(j.Message))
	case !verdict:
		a.Outcome, a.Message = NotAccepted, why
	case len(a.Behind) > 0:
		a.Message = fmt.Sprintf("%d of %d nodes have acknowledged generation %d", a.Through, a.Nodes, a.Generation)
	case a.Nodes == 0:
		a.Message = "no node is connected to any replica"
	default:
		a.Outcome = Passed
		a.Message = fmt.Sprintf("generation %d is acknowledged by all %d nodes", a.Generation, a.Nodes)
	}
}

// accepted tells whether resolve took an object, and if not, why.
func accepted(s *model.ObjectStatus) (ok bool, why string) {
	lists := [][]model.Condition{s.Conditions}
	for i := range s.Parents {
		lists = append(lists, s.Parents[i].Conditions)
	}
	for _, list := range lists {
		for i := range list {
			c := &list[i]
			if c.Type != "Accepted" || c.Warning {
				continue
			}
			if !c.Status {
				return false, fmt.Sprintf("Accepted is false, %s: %s", c.Reason, c.Message)
			}
			ok = true
		}
	}
	if !ok {
		why = "nothing is said of it: no Gateway or class of this controller takes it"
	}
	return ok, why
}

// late counts the nodes in the count that have not settled the targets.
func (b *Barrier) late(targets map[string]uint64) int {
	late := map[string]struct{}{}
	for who, x := range b.nodes {
		if target, ok := targets[x.replica.name]; !x.fenced && (!ok || x.client.Settled < target) {
			late[who.node] = struct{}{}
		}
	}
	return len(late)
}

// unreachable lists the replicas whose clients nobody knows.
func (b *Barrier) unreachable() (out []string) {
	for _, p := range b.peers {
		if !p.up && !p.self && !p.retired {
			out = append(out, p.address)
		}
	}
	slices.Sort(out)
	return out
}

// shortType is the last part of a type URL.
func shortType(url string) string { return url[strings.LastIndexByte(url, '.')+1:] }
