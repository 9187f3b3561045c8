package enforce

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/verdict"
)

// Workload is a pod of this node with a network of its own.
type Workload struct {
	UID, Namespace, Name string
	Identity             string
	Addresses            []netip.Addr
}

// local is a pod of this node: as it is known, as it is attached, or both.
type local struct {
	Workload
	known bool
	// iface is the host's side of its veth, 0 before it is attached; found are the addresses that it was seen with.
	iface uint32
	found []netip.Addr
	// has is the identity that its addresses have: Identity, as soon as the Set of that is in the kernel.
	has string
	// namespace is the number of inside, which it uses.
	namespace uint32
	inside    string
}

func (l *local) addresses() []netip.Addr {
	return slices.Concat(l.Addresses, l.found)
}

// Workloads takes in the pods of this node, and the UIDs of those that have gone. With all, there are no others.
func (e *Engine) Workloads(put []Workload, gone []string, all bool) error {
	return e.apply("Workload", func() error {
		defer e.signal()
		var errs []error
		for _, uid := range gone {
			errs = append(errs, e.forget(uid))
		}
		for _, w := range put {
			errs = append(errs, e.change(w.UID, func(l *local) { l.Workload, l.known = w, true }))
		}
		if all && e.adopted != nil {
			e.adopted.workloads = true
			errs = append(errs, e.dropSubjects())
		}
		return errors.Join(errs...)
	})
}

func (e *Engine) forget(uid string) error {
	if l := e.locals[uid]; l == nil || !l.known {
		return nil
	}
	return e.change(uid, func(l *local) { l.Workload, l.known = Workload{UID: uid, Namespace: l.Namespace, Name: l.Name}, false })
}

// Attached says that a pod's traffic passes the programs of an interface, and with which addresses the pod was found.
func (e *Engine) Attached(uid string, iface uint32, addresses []netip.Addr) error {
	return e.apply("attach", func() error {
		defer e.signal()
		return e.change(uid, func(l *local) {
			l.UID, l.iface, l.found = uid, iface, slices.Clone(addresses)
		})
	})
}

// Detached says that a pod's interface has gone.
func (e *Engine) Detached(uid string) error {
	return e.apply("detach", func() error {
		if e.locals[uid] == nil {
			return nil
		}
		return e.change(uid, func(l *local) { l.iface, l.found = 0, nil })
	})
}

// change changes a local pod, and all that depends on it. A pod that is neither known nor attached is forgotten.
func (e *Engine) change(uid string, fn func(*local)) error {
	l := e.locals[uid]
	if l == nil {
		l = &local{}
		e.locals[uid] = l
	}
	before, identity := l.addresses(), l.Identity
	fn(l)
	errs := []error{e.settleIn(l)}
	if l.iface != 0 && l.has == "" && l.Identity == "" {
		errs = append(errs, e.resume(l))
	}
	if identity != l.Identity {
		if l.Identity != "" && l.Identity != l.has {
			errs = append(errs, e.use(l.Identity))
		}
		// What it had is used until the next one is in the kernel; a pod that has gone uses nothing.
		if identity != "" && identity != l.has {
			errs = append(errs, e.leave(identity))
		}
	}
	was := l.has // is left when no address has it any more
	if !l.known && l.iface == 0 {
		l.has = ""
		if l.namespace != 0 {
			e.garbage.namespaces = append(e.garbage.namespaces, l.namespace)
		}
		delete(e.locals, uid)
	}
	e.become(l)
	for _, a := range before {
		if e.localAt[a] == l {
			delete(e.localAt, a)
		}
	}
	if l.iface != 0 {
		for _, a := range l.addresses() {
			e.localAt[a] = l
		}
	}
	touched := map[netip.Addr]bool{}
	for _, a := range append(before, l.addresses()...) {
		touched[a] = true
	}
	for _, a := range slices.Collect(maps.Keys(touched)) {
		errs = append(errs, e.refresh(a))
	}
	if was != "" && was != l.has {
		errs = append(errs, e.leave(was))
	}
	return errors.Join(errs...)
}

// settleIn numbers the namespace that a pod is in.
func (e *Engine) settleIn(l *local) error {
	if l.Namespace == "" || l.inside == l.Namespace {
		return nil
	}
	n, err := e.namespaces.take(l.Namespace)
	if err != nil {
		return err
	}
	if l.namespace != 0 {
		e.garbage.namespaces = append(e.garbage.namespaces, l.namespace)
	}
	l.namespace, l.inside = n, l.Namespace
	return nil
}

// resume gives a pod what its addresses had in the kernel before a restart.
func (e *Engine) resume(l *local) error {
	for _, a := range l.addresses() {
		x := e.addresses[a]
		if !x.written() || x.kernel.Interface == 0 {
			continue
		}
		if l.Namespace == "" {
			l.Namespace = e.namespaces.name(x.kernel.Namespace)
		}
		if l.has = e.identities.name(x.kernel.Identity); l.has != "" {
			return errors.Join(e.settleIn(l), e.use(l.has))
		}
	}
	return nil
}

// become gives a pod the identity that it should have, when that has its Set, or when it has none yet. The one that it had is to be
// left.
func (e *Engine) become(l *local) {
	if s := e.subjects[l.Identity]; l.Identity != "" && (l.has == "" || s != nil && s.held != nil) {
		l.has = l.Identity
	}
}

// moved gives pods an identity whose Set has come.
func (e *Engine) moved(identity string) error {
	var errs []error
	for _, l := range e.locals {
		was := l.has
		if l.Identity != identity || was == identity {
			continue
		}
		e.become(l)
		for _, a := range l.addresses() {
			errs = append(errs, e.refresh(a))
		}
		if was != "" && was != l.has {
			errs = append(errs, e.leave(was))
		}
	}
	return errors.Join(errs...)
}

// localAddress is what the address of an attached pod is.
func (e *Engine) localAddress(l *local, owner *peer) datapath.Address {
	out := datapath.Address{Namespace: l.namespace, Entities: verdict.All | verdict.Pods, Interface: l.iface}
	if s := e.subjects[l.has]; s != nil {
		out.Identity = s.number
	}
	if owner != nil {
		out.Entities |= owner.entities & verdict.KubeAPIServer
		if out.Namespace == 0 {
			out.Namespace = owner.namespace
		}
	}
	return out
}

// use says that one more pod of this node is of an identity, or is to be.
func (e *Engine) use(identity string) error {
	s := e.subjects[identity]
	if s == nil {
		n, err := e.identities.take(identity)
		if err != nil {
			return fmt.Errorf("identity %q: %w", identity, err)
		}
		s = &subject{identity: identity, number: n}
		if e.adopted != nil {
			s.held = e.adopted.subjects[n]
			delete(e.adopted.subjects, n)
		}
		e.subjects[identity] = s
		e.signal()
	}
	s.users++
	return nil
}

// leave is the end of a use. Without any, the identity's Set goes.
func (e *Engine) leave(identity string) error {
	s := e.subjects[identity]
	if s == nil {
		return nil
	}
	if s.users--; s.users > 0 {
		return nil
	}
	delete(e.subjects, identity)
	delete(e.late, identity)
	e.signal()
	err := e.withdraw(s)
	e.garbage.identities = append(e.garbage.identities, s.number)
	return err
}
