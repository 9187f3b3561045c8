package enforce

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"unique"

	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/verdict"
)

// Peer is a pod or a node by its addresses.
type Peer struct {
	Name                     string // of the resource
	Identity, Namespace, Pod string // Namespace and Pod are of pods
	Addresses                []netip.Addr
	Entities                 verdict.Entity
	Node                     string
	Labels                   map[string]string
	Workload                 string
}

// peer is kept in as few bytes as can be: there is one for each pod of the cluster.
type peer struct {
	identity, namespace uint32
	entities            verdict.Entity
	first               netip.Addr // not valid where there is none
	more                *[]netip.Addr
	pod                 string
	node                unique.Handle[string]
}

// all gives the addresses.
func (p *peer) all(yield func(netip.Addr) bool) {
	if !p.first.IsValid() || !yield(p.first) || p.more == nil {
		return
	}
	for _, a := range *p.more {
		if !yield(a) {
			return
		}
	}
}

// about is what people want to know of an identity. Labels are packed: names and values, each ended by a zero byte.
type about struct{ labels, workload unique.Handle[string] }

func newAbout(labels map[string]string, workload string) about {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		b.WriteString(k + "\x00" + labels[k] + "\x00")
	}
	return about{unique.Make(b.String()), unique.Make(workload)}
}

func (a about) unpack() map[string]string {
	parts := strings.Split(a.labels.Value(), "\x00")
	out := make(map[string]string, len(parts)/2)
	for i := 0; i+1 < len(parts); i += 2 {
		out[parts[i]] = parts[i+1]
	}
	return out
}

// at is what is known of one address.
type at struct {
	owner  *peer
	kernel datapath.Address // as it was written; without entities, it was not
}

func (x at) written() bool { return x.kernel.Entities != 0 }

// combinations are the entities that an address can be of.
func combinations() []verdict.Entity {
	var out []verdict.Entity
	for _, base := range []verdict.Entity{verdict.World, verdict.Pods, verdict.Host, verdict.RemoteNode} {
		out = append(out, verdict.All|base, verdict.All|base|verdict.KubeAPIServer)
	}
	return out
}

// Peers takes in peers, and the names of those that have gone. With all, there are no others.
func (e *Engine) Peers(put []Peer, gone []string, all bool) error {
	return e.apply("Peer", func() error {
		var errs []error
		touched := map[netip.Addr]bool{}
		own := e.ownNumber()
		for _, name := range gone {
			e.removePeer(name, touched)
		}
		for i := range put {
			if err := e.putPeer(&put[i], touched); err != nil {
				errs = append(errs, err)
			}
		}
		if all && e.adopted != nil {
			e.adopted.peers, e.adopted.addresses = true, nil
			for a := range e.addresses {
				touched[a] = true
			}
		}
		if own != e.ownNumber() {
			for a := range e.hosts {
				touched[a] = true
			}
		}
		for a := range touched {
			errs = append(errs, e.refresh(a))
		}
		return errors.Join(errs...)
	})
}

func (e *Engine) putPeer(p *Peer, touched map[netip.Addr]bool) error {
	if !slices.Contains(combinations(), p.Entities) {
		return fmt.Errorf("peer %q: entities %#x are none that an address can be of", p.Name, uint8(p.Entities))
	}
	entities := p.Entities
	if p.Identity == verdict.NodeIdentity(e.cfg.Node) && entities&verdict.RemoteNode != 0 {
		entities = entities&^verdict.RemoteNode | verdict.Host
	}
	next := &peer{entities: entities, pod: p.Pod, node: unique.Make(p.Node)}
	if len(p.Addresses) > 0 {
		next.first = p.Addresses[0]
	}
	if len(p.Addresses) > 1 {
		more := slices.Clone(p.Addresses[1:])
		next.more = &more
	}
	var err error
	if p.Identity != "" {
		if next.identity, err = e.identities.take(p.Identity); err != nil {
			return fmt.Errorf("peer %q: %w", p.Name, err)
		}
	}
	if p.Namespace != "" {
		if next.namespace, err = e.namespaces.take(p.Namespace); err != nil {
			e.garbage.identities = append(e.garbage.identities, next.identity)
			return fmt.Errorf("peer %q: %w", p.Name, err)
		}
	}
	e.removePeer(p.Name, touched)
	e.peers[p.Name] = next
	if next.identity != 0 {
		e.about[next.identity] = newAbout(p.Labels, p.Workload)
	}
	for a := range next.all {
		x := e.addresses[a]
		if x.owner != nil {
			e.rivals[a] = append(e.rivals[a], x.owner)
			e.cfg.Log.Warn("two peers have one address; the later one counts", "address", a, "peer", p.Name, "before", x.owner.pod)
		}
		x.owner = next
		e.addresses[a] = x
		touched[a] = true
	}
	return nil
}

func (e *Engine) removePeer(name string, touched map[netip.Addr]bool) {
	p := e.peers[name]
	if p == nil {
		return
	}
	delete(e.peers, name)
	for a := range p.all {
		touched[a] = true
		rivals := slices.DeleteFunc(e.rivals[a], func(r *peer) bool { return r == p })
		if x := e.addresses[a]; x.owner == p {
			x.owner = nil
			if n := len(rivals); n > 0 {
				x.owner, rivals = rivals[n-1], rivals[:n-1]
			}
			e.addresses[a] = x
		}
		if e.rivals[a] = rivals; len(rivals) == 0 {
			delete(e.rivals, a)
		}
	}
	if p.identity != 0 {
		e.garbage.identities = append(e.garbage.identities, p.identity)
	}
	if p.namespace != 0 {
		e.garbage.namespaces = append(e.garbage.namespaces, p.namespace)
	}
}

// refresh has the kernel know of an address what is known here.
func (e *Engine) refresh(a netip.Addr) error {
	x := e.addresses[a]
	want, has := e.effective(a, x)
	if x.owner != nil && e.adopted != nil {
		delete(e.adopted.addresses, a)
	}
	var err error
	switch {
	case !has && x.written() && e.before(a) != nil:
		return nil // it is from before the restart, and not all peers have been named yet
	case !has && x.written():
		err = e.cfg.Kernel.DeleteAddress(a)
	case has && (!x.written() || x.kernel != want):
		err = e.cfg.Kernel.PutAddress(a, want)
	default:
		e.keep(a, x)
		return nil
	}
	e.wrote = true
	if err != nil {
		e.lateAddresses[a] = true
		return fmt.Errorf("address %s: %w", a, err)
	}
	if x.written() && has && x.kernel.Identity != want.Identity {
		e.narrow("")
	}
	x.kernel = want // zero for none
	e.keep(a, x)
	return nil
}

func (e *Engine) keep(a netip.Addr, x at) {
	delete(e.lateAddresses, a)
	if x.owner == nil && !x.written() {
		delete(e.addresses, a)
		return
	}
	e.addresses[a] = x
}

// effective is what an address is: the host's own, a pod's that is attached here, a peer's, or nobody's.
func (e *Engine) effective(a netip.Addr, x at) (datapath.Address, bool) {
	owner := x.owner
	before := e.before(a)
	if owner == nil && before != nil {
		owner = before
	}
	switch l := e.localAt[a]; {
	case e.hosts[a]:
		out := datapath.Address{Identity: e.ownNumber(), Entities: verdict.All | verdict.Host}
		if owner != nil {
			out.Entities |= owner.entities & verdict.KubeAPIServer
		}
		if before != nil && out.Identity == 0 && before.entities&verdict.Host != 0 {
			out.Identity = before.identity
		}
		return out, true
	case l != nil:
		return e.localAddress(l, owner), true
	case x.owner != nil:
		return datapath.Address{Identity: owner.identity, Namespace: owner.namespace, Entities: owner.entities}, true
	}
	return datapath.Address{}, false
}

// before is what an address was before a restart, until all peers have been named.
func (e *Engine) before(a netip.Addr) *peer {
	if e.adopted == nil {
		return nil
	}
	return e.adopted.addresses[a]
}

// ownNumber is the number of this node's identity, while a peer has it.
func (e *Engine) ownNumber() uint32 {
	name := verdict.NodeIdentity(e.cfg.Node)
	if e.peers[name] == nil {
		return 0
	}
	return e.identities.byName[name]
}

// Hosts says which addresses are this node's own.
func (e *Engine) Hosts(addresses []netip.Addr) error {
	return e.apply("Host", func() error {
		now := map[netip.Addr]bool{}
		for _, a := range addresses {
			now[a.Unmap()] = true
		}
		was := e.hosts
		e.hosts = now
		var errs []error
		for a := range now {
			errs = append(errs, e.refresh(a))
		}
		for a := range was {
			if !now[a] {
				errs = append(errs, e.refresh(a))
			}
		}
		return errors.Join(errs...)
	})
}
