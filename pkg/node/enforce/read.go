package enforce

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/verdict"
)

// Counts says how much there is.
type Counts struct {
	Endpoints, Unattached, Peers, Addresses, Identities, PeerSets, Sets, Waiting, Rules int
}

// Count counts.
func (e *Engine) Count() Counts {
	e.mu.RLock()
	defer e.mu.RUnlock()
	out := Counts{Peers: len(e.peers), PeerSets: len(e.peerSets)}
	for _, l := range e.locals {
		if l.iface != 0 {
			out.Endpoints++
		} else {
			out.Unattached++
		}
	}
	for _, x := range e.addresses {
		if x.written() {
			out.Addresses++
		}
	}
	for _, r := range e.identities.rows {
		if r.users > 0 {
			out.Identities++
		}
	}
	for _, s := range e.subjects {
		if s.held == nil || s.next != nil {
			out.Waiting++
		}
		if s.held == nil {
			continue
		}
		out.Sets++
		if s.held.found != nil {
			out.Rules += len(s.held.found.rules)
			continue
		}
		for c := range s.held.classes() {
			out.Rules += len(c.entries)
		}
	}
	return out
}

// Endpoint is a pod of this node, for people.
type Endpoint struct {
	UID       string       `json:"uid"`
	Namespace string       `json:"namespace,omitempty"`
	Name      string       `json:"name,omitempty"`
	Addresses []netip.Addr `json:"addresses"`
	Interface uint32       `json:"interface,omitempty"` // index, on the host's side
	Identity  string       `json:"identity,omitempty"`
	Number    uint32       `json:"number,omitempty"`
	Set       uint32       `json:"set,omitempty"`
	Rules     int          `json:"rules"`
	// State is enforced, unattached (its traffic passes no program), waiting (enforced by the policy before, or denied everything
	// while there is none), or gone (attached, and no pod that the control plane knows).
	State string `json:"state"`
	Why   string `json:"why,omitempty"`
}

// Endpoint states.
const (
	Enforced   = "enforced"
	Unattached = "unattached"
	Waiting    = "waiting"
	Gone       = "gone"
)

// Endpoints lists the pods of this node by namespace and name.
func (e *Engine) Endpoints() []Endpoint {
	e.mu.RLock()
	defer e.mu.RUnlock()
	var out []Endpoint
	for uid, l := range e.locals {
		all := l.addresses()
		slices.SortFunc(all, netip.Addr.Compare)
		x := Endpoint{UID: uid, Namespace: l.Namespace, Name: l.Name, Addresses: slices.Compact(all), Interface: l.iface, Identity: l.has}
		if s := e.subjects[l.has]; s != nil {
			x.Number = s.number
			if s.held != nil {
				x.Set = s.held.number
				if s.held.set != nil {
					x.Rules = len(s.held.set.Rules)
				}
			}
		}
		x.State, x.Why = e.state(l)
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b Endpoint) int {
		return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name), strings.Compare(a.UID, b.UID))
	})
	return out
}

func (e *Engine) state(l *local) (state, why string) {
	s := e.subjects[l.Identity]
	switch {
	case l.iface == 0:
		return Unattached, "its interface was not found yet"
	case !l.known:
		return Gone, "the control plane does not know it (any more)"
	case s == nil || s.held == nil && s.next == nil:
		return Waiting, "the control plane has not told its policy"
	case s.err != nil:
		return Waiting, s.err.Error()
	case s.next != nil:
		return Waiting, "peer sets are missing: " + strings.Join(e.missing(s.next), ", ")
	case l.has != l.Identity:
		return Waiting, "its identity has changed"
	}
	return Enforced, ""
}

// Ready tells whether a pod's traffic is judged by the policy that it should be judged by, or why not.
func (e *Engine) Ready(uid string) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	l := e.locals[uid]
	if l == nil {
		return fmt.Errorf("pod %s is not known here", uid)
	}
	if state, why := e.state(l); state != Enforced {
		return fmt.Errorf("pod %s/%s is %s: %s", l.Namespace, l.Name, state, why)
	}
	return nil
}

// Wait waits until a condition holds that is looked at again at each change; its error is the last one's.
func (e *Engine) Wait(ctx context.Context, condition func() error) error {
	for {
		_, _, changed := e.Wanted()
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-changed:
		}
	}
}

// Holds tells whether the Sets of these identities hold as they were sent last, or why not. What is not wanted holds.
func (e *Engine) Holds(identities []string) error {
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, name := range identities {
		switch s := e.subjects[name]; {
		case s == nil || s.next == nil:
		case s.err != nil:
			return s.err
		default:
			return fmt.Errorf("policy of %q: peer sets are missing: %s", name, strings.Join(e.missing(s.next), ", "))
		}
	}
	return nil
}

// Await waits until the Sets of these identities hold as they were sent last.
func (e *Engine) Await(ctx context.Context, identities []string) error {
	return e.Wait(ctx, func() error { return e.Holds(identities) })
}

// Identity names a number that a program has told: the identity, what owns its pods, and the labels that count.
func (e *Engine) Identity(number uint32) (name, workload string, labels map[string]string) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if a, ok := e.about[number]; ok {
		workload, labels = a.workload.Value(), a.unpack()
	}
	return e.identities.name(number), workload, labels
}

// Pod names the pod that has an address, and its node; empty for what is none.
func (e *Engine) Pod(a netip.Addr) (namespace, name, node string) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if x := e.addresses[a.Unmap()]; x.owner != nil {
		return e.namespaces.name(x.owner.namespace), x.owner.pod, x.owner.node.Value()
	}
	if l := e.localAt[a.Unmap()]; l != nil {
		return l.Namespace, l.Name, e.cfg.Node
	}
	return "", "", ""
}

// Rule gives a rule by the numbers that a program has told, the rule's from 0.
func (e *Engine) Rule(set, rule uint32) (verdict.Rule, bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if h := e.held[set]; h != nil && h.set != nil && rule < uint32(len(h.set.Rules)) {
		return h.set.Rules[rule], true
	}
	return verdict.Rule{}, false
}

// Isolating lists the policies that isolate in a Set.
func (e *Engine) Isolating(set uint32, d verdict.Direction, f verdict.Family) []verdict.Origin {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if h := e.held[set]; h != nil && h.set != nil && d <= verdict.Ingress && f < verdict.Families {
		return h.set.Isolated[d][f]
	}
	return nil
}
