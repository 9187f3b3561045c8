package wire

import (
	"errors"
	"fmt"
	"net/netip"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/verdict"
)

// Peer is a pod, a node or an API server by its addresses.
type Peer struct {
	// Identity is empty for what is neither a pod nor a node; so is Namespace for what is no pod.
	Identity, Namespace, Name string
	Addresses                 []netip.Addr
	// Entities has All always, and never Host, which depends on who looks.
	Entities       verdict.Entity
	Node, Workload string
	Labels         map[string]string
}

// EncodePeer is the message of a Peer.
func EncodePeer(p *Peer) *nodev1.Peer {
	out := &nodev1.Peer{
		Identity: p.Identity, Namespace: p.Namespace, Name: p.Name, Entities: uint32(p.Entities), Node: p.Node, Workload: p.Workload,
		Labels: p.Labels,
	}
	for _, a := range p.Addresses {
		out.Addresses = append(out.Addresses, a.Unmap().AsSlice())
	}
	return out
}

// DecodePeer reads a message.
func DecodePeer(m *nodev1.Peer) (*Peer, error) {
	out := &Peer{
		Identity: m.GetIdentity(), Namespace: m.GetNamespace(), Name: m.GetName(), Node: m.GetNode(), Workload: m.GetWorkload(),
		Labels: m.GetLabels(),
	}
	var err error
	if out.Entities, err = entities(m.GetEntities()); err != nil || out.Entities&verdict.All == 0 || out.Entities&verdict.Host != 0 {
		return nil, fmt.Errorf("decode peer %s/%s: entities %#x", out.Namespace, out.Name, m.GetEntities())
	}
	for _, b := range m.GetAddresses() {
		a, ok := netip.AddrFromSlice(b)
		if !ok {
			return nil, fmt.Errorf("decode peer %s/%s: an address of %d bytes", out.Namespace, out.Name, len(b))
		}
		out.Addresses = append(out.Addresses, a.Unmap())
	}
	return out, nil
}

// EncodePeerSet is the message of a PeerSet, of sorted identities.
func EncodePeerSet(identities []string) *nodev1.PeerSet {
	return &nodev1.PeerSet{Identities: identities}
}

// DecodePeerSet reads a message.
func DecodePeerSet(m *nodev1.PeerSet) ([]string, error) {
	last := ""
	for _, id := range m.GetIdentities() {
		if id <= last {
			return nil, errors.New("decode peer set: the identities are not in order")
		}
		last = id
	}
	return m.GetIdentities(), nil
}
