package explain

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/translate"
	"fairlead.io/fairlead/pkg/verdict"
	"fairlead.io/fairlead/pkg/verdict/wire"
)

// Query is what is asked.
type Query struct {
	// From and To are "pod/<namespace>/<name>", "node/<name>" or addresses.
	From, To string
	// Protocol is tcp, udp, sctp, icmp, icmpv6, or an IANA number; Port is the destination's, and of ICMP type*256 and code.
	Protocol string
	Port     uint16

	number uint8
}

// ParseQuery reads an end each, the destination's with a port behind it: "pod/shop/db-0:5432", "10.0.0.7:53", "[fd00::7]:53". icmp
// takes a type instead, or no port for an echo request.
func ParseQuery(from, to, protocol string) (Query, error) {
	q := Query{From: from, Protocol: strings.ToLower(protocol)}
	if q.Protocol == "" {
		q.Protocol = "tcp"
	}
	numbers := map[string]uint8{"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
	n, known := numbers[q.Protocol]
	if !known {
		i, err := strconv.ParseUint(q.Protocol, 10, 8)
		if err != nil {
			return q, fmt.Errorf("protocol %q is none of tcp, udp, sctp, icmp, icmpv6, and no number up to 255", protocol)
		}
		n = uint8(i)
	}
	q.number = n
	end, port := cutPort(to)
	q.To = end
	if _, err := parseEnd(from); err != nil {
		return q, fmt.Errorf("from: %w", err)
	}
	if _, err := parseEnd(end); err != nil {
		return q, fmt.Errorf("to: %w", err)
	}
	icmp := n == 1 || n == 58
	switch {
	case port == "" && n == 1:
		q.Port = 8 << 8
	case port == "" && n == 58:
		q.Port = 128 << 8
	case port == "" && known:
		return q, fmt.Errorf("to: %q has no port; write %s:PORT", to, end)
	case port != "":
		bits := 16
		if icmp {
			bits = 8
		}
		p, err := strconv.ParseUint(port, 10, bits)
		if err != nil {
			return q, fmt.Errorf("to: port %q is no number, or too large", port)
		}
		if q.Port = uint16(p); icmp {
			q.Port <<= 8
		}
	}
	return q, nil
}

// cutPort takes a port from an end. An IPv6 address has one only behind brackets.
func cutPort(s string) (end, port string) {
	if host, p, err := net.SplitHostPort(s); err == nil {
		return host, p
	}
	return strings.Trim(s, "[]"), ""
}

// parseEnd tells what an end is: an address, or not.
func parseEnd(s string) (netip.Addr, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return a.Unmap(), nil
	}
	switch parts := strings.Split(s, "/"); {
	case len(parts) == 3 && parts[0] == "pod" && parts[1] != "" && parts[2] != "", len(parts) == 2 && parts[0] == "node" && parts[1] != "":
		return netip.Addr{}, nil
	}
	return netip.Addr{}, fmt.Errorf("%q is none of pod/NAMESPACE/NAME, node/NAME and an address", s)
}

// world is who is there.
type world struct {
	s snapshot.Snapshot
	// sets has the PeerSets that were asked for.
	sets map[string][]string
}

// ends finds both ends, with addresses of one IP family where they have such.
func (w *world) ends(q Query) (from, to *End, err error) {
	fromAddress, _ := parseEnd(q.From)
	toAddress, _ := parseEnd(q.To)
	var fromPeer, toPeer *wire.Peer
	w.s.Range(translate.PeerType, func(r *snapshot.Resource) bool {
		m := &nodev1.Peer{}
		if err = proto.Unmarshal(r.GetBody(), m); err != nil {
			err = fmt.Errorf("explain: read peer %s: %w", r.Name, err)
			return false
		}
		var p *wire.Peer
		if p, err = wire.DecodePeer(m); err != nil {
			return false
		}
		if is(p, q.From, fromAddress) {
			fromPeer = p
		}
		if is(p, q.To, toAddress) {
			toPeer = p
		}
		return true
	})
	if err != nil {
		return nil, nil, err
	}
	if from, err = end(q.From, fromAddress, fromPeer); err != nil {
		return nil, nil, fmt.Errorf("from: %w", err)
	}
	if to, err = end(q.To, toAddress, toPeer); err != nil {
		return nil, nil, fmt.Errorf("to: %w", err)
	}
	return from, to, choose(from, fromAddress, fromPeer, to, toAddress, toPeer)
}

func is(p *wire.Peer, name string, a netip.Addr) bool {
	if a.IsValid() {
		return slices.Contains(p.Addresses, a)
	}
	return name == nameOf(p)
}

func nameOf(p *wire.Peer) string {
	if p.Namespace != "" && p.Identity != "" {
		return "pod/" + p.Namespace + "/" + p.Name
	}
	if p.Identity != "" {
		return p.Identity // node/<name>
	}
	return ""
}

func end(name string, a netip.Addr, p *wire.Peer) (*End, error) {
	switch {
	case p != nil:
		e := &End{Name: nameOf(p), Identity: p.Identity, Labels: p.Labels, Node: p.Node, namespace: p.Namespace, entities: p.Entities}
		if e.Name == "" {
			e.Name, e.namespace = name, ""
		}
		return e, nil
	case a.IsValid():
		return &End{Name: name, Address: a, entities: verdict.All | verdict.World}, nil
	}
	return nil, fmt.Errorf("there is no %s with a network and an identity of its own: look for its name, and whether it runs; a pod of hostNetwork is its node", name)
}

// choose gives ends addresses.
func choose(from *End, fromAddress netip.Addr, fromPeer *wire.Peer, to *End, toAddress netip.Addr, toPeer *wire.Peer) error {
	candidates := func(a netip.Addr, p *wire.Peer) []netip.Addr {
		if a.IsValid() {
			return []netip.Addr{a}
		}
		return p.Addresses
	}
	for _, f := range candidates(fromAddress, fromPeer) {
		for _, t := range candidates(toAddress, toPeer) {
			if f.Is4() == t.Is4() {
				from.Address, to.Address = f, t
				return nil
			}
		}
	}
	return errors.New("the ends have no addresses of one IP family")
}

// remote is how an end sees another one: its own node is the host.
func remote(end, other *End) verdict.Remote {
	r := verdict.Remote{Address: other.Address, Entities: other.entities}
	if other.namespace != "" {
		r.Identity, r.Namespace = other.Identity, other.namespace
	} else if strings.HasPrefix(other.Identity, verdict.NodeIdentity("")) {
		r.Identity = other.Identity
		if end.Node != "" && end.Node == other.Node {
			r.Entities = r.Entities&^verdict.RemoteNode | verdict.Host
		}
	}
	return r
}

// members implements verdict.Members.
func (w *world) members(set, identity string) bool {
	list, ok := w.sets[set]
	if !ok {
		m := &nodev1.PeerSet{}
		if r := w.s.Get(snapshot.Key{Type: translate.PeerSetType, Name: set}); r != nil && proto.Unmarshal(r.GetBody(), m) == nil {
			list = m.GetIdentities()
		}
		if w.sets == nil {
			w.sets = map[string][]string{}
		}
		w.sets[set] = list
	}
	_, found := slices.BinarySearch(list, identity)
	return found
}
