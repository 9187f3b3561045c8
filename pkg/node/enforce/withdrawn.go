package enforce

import (
	"net/netip"
	"slices"

	"fairlead.io/fairlead/pkg/verdict"
)

// Narrowed gives the UIDs of attached pods whose permissions may have become fewer since the last call.
func (e *Engine) Narrowed() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.narrowed) == 0 {
		return nil
	}
	all := e.narrowed[""]
	var out []string
	for uid, l := range e.locals {
		if l.iface != 0 && (all || e.narrowed[l.has]) {
			out = append(out, uid)
		}
	}
	clear(e.narrowed)
	slices.Sort(out)
	return out
}

// Permits tells whether a connection between a pod of this node and another address is allowed, by what is in the kernel: by the
// pod's own policy, and by that of the other side if it is a pod of this node too. Inbound are those that the other side began. It is
// slow, and for connections that nothing is said on.
func (e *Engine) Permits(uid string, inbound bool, other netip.Addr, protocol uint8, port uint16) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	me := e.locals[uid]
	if me == nil || me.iface == 0 {
		return true // it is not judged
	}
	d := verdict.Egress
	if inbound {
		d = verdict.Ingress
	}
	if slices.Contains(me.addresses(), other) {
		return true
	}
	if !e.permits(me, d, e.remote(other), protocol, port) {
		return false
	}
	peer := e.localAt[other]
	if peer == nil {
		return true
	}
	for _, a := range me.addresses() {
		if a.Is4() == other.Is4() {
			return e.permits(peer, 1-d, e.remote(a), protocol, port)
		}
	}
	return true
}

// remote is what an address is as the other side of a connection.
func (e *Engine) remote(a netip.Addr) verdict.Remote {
	x := e.addresses[a]
	if !x.written() {
		return verdict.Remote{Address: a, Entities: verdict.All | verdict.World}
	}
	return verdict.Remote{
		Address: a, Identity: e.identities.name(x.kernel.Identity), Namespace: e.namespaces.name(x.kernel.Namespace), Entities: x.kernel.Entities,
	}
}

func (e *Engine) permits(l *local, d verdict.Direction, to verdict.Remote, protocol uint8, port uint16) bool {
	s := e.subjects[l.has]
	if s == nil || s.held == nil {
		return d == verdict.Ingress && to.Entities&verdict.Host != 0
	}
	if s.held.set == nil {
		return true // of before a restart: it has not changed since
	}
	in := func(set, identity string) bool {
		n, ok := e.identities.byName[identity]
		return ok && e.peerSets[set] != nil && e.peerSets[set].has(n)
	}
	for _, f := range []verdict.Family{verdict.Network, verdict.Mesh} {
		if !s.held.set.Judge(d, f, to, protocol, port, in).Allowed {
			return false
		}
	}
	return true
}

// narrow notes that an identity may do less; an empty one is all.
func (e *Engine) narrow(identity string) { e.narrowed[identity] = true }

// Known tells whether an address is that of a pod, a node, or this node itself.
func (e *Engine) Known(a netip.Addr) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.addresses[a].written()
}

// Local gives the UID of the pod of this node that is attached with an address.
func (e *Engine) Local(a netip.Addr) string {
	e.mu.RLock()
	defer e.mu.RUnlock()
	if l := e.localAt[a]; l != nil {
		return l.UID
	}
	return ""
}
