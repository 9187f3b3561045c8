// Package wire turns Sets into what travels to nodes, and back.
package wire

import (
	"errors"
	"fmt"
	"net/netip"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/verdict"
)

// Encode is the message of a Set. The message shares nothing with it.
func Encode(s *verdict.Set) *nodev1.VerdictSet {
	out := &nodev1.VerdictSet{}
	for i := range s.Rules {
		out.Rules = append(out.Rules, encodeRule(&s.Rules[i]))
	}
	for d := range s.Isolated {
		for f, origins := range s.Isolated[d] {
			if len(origins) == 0 {
				continue
			}
			isolation := &nodev1.Isolation{Direction: nodev1.Direction(d), Family: nodev1.Family(f)}
			for _, o := range origins {
				isolation.Origins = append(isolation.Origins, encodeOrigin(o))
			}
			out.Isolations = append(out.Isolations, isolation)
		}
	}
	return out
}

func encodeRule(r *verdict.Rule) *nodev1.Rule {
	out := &nodev1.Rule{
		Direction: nodev1.Direction(r.Direction), Family: nodev1.Family(r.Family), Tier: nodev1.Tier(r.Tier), Rank: r.Rank,
		Action: encodeAction(r.Action), Origin: encodeOrigin(r.Origin),
	}
	for i := range r.Peers {
		out.Peers = append(out.Peers, encodePeer(&r.Peers[i]))
	}
	for _, p := range r.Ports {
		out.Ports = append(out.Ports, &nodev1.PortRange{Protocol: uint32(p.Protocol), First: uint32(p.First), Last: uint32(p.Last)})
	}
	return out
}

func encodeAction(a verdict.Action) nodev1.Action {
	switch a {
	case verdict.Allow:
		return nodev1.Action_ACTION_ALLOW
	case verdict.Pass:
		return nodev1.Action_ACTION_PASS
	case verdict.Deny:
	}
	return nodev1.Action_ACTION_DENY
}

func encodeOrigin(o verdict.Origin) *nodev1.Origin {
	return &nodev1.Origin{Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name, Rule: o.Rule}
}

func encodePeer(p *verdict.Peer) *nodev1.RulePeer {
	switch p.Kind {
	case verdict.PeerSet:
		return &nodev1.RulePeer{Who: &nodev1.RulePeer_PeerSet{PeerSet: p.Name}}
	case verdict.PeerNamespace:
		return &nodev1.RulePeer{Who: &nodev1.RulePeer_Namespace{Namespace: p.Name}}
	case verdict.PeerEntity:
		return &nodev1.RulePeer{Who: &nodev1.RulePeer_Entities{Entities: uint32(p.Entity)}}
	case verdict.PeerCIDR, verdict.PeerWorldCIDR:
	}
	r := &nodev1.AddressRange{Cidr: p.CIDR.String()}
	for _, x := range p.Except {
		r.Except = append(r.Except, x.String())
	}
	if p.Kind == verdict.PeerWorldCIDR {
		return &nodev1.RulePeer{Who: &nodev1.RulePeer_WorldRange{WorldRange: r}}
	}
	return &nodev1.RulePeer{Who: &nodev1.RulePeer_Range{Range: r}}
}

// Decode reads a message. What it does not know is an error: half of a Set might allow what the whole denies.
func Decode(m *nodev1.VerdictSet) (*verdict.Set, error) {
	s := &verdict.Set{}
	for i, r := range m.GetRules() {
		rule, err := decodeRule(r)
		if err != nil {
			return nil, fmt.Errorf("decode verdict set: rule %d: %w", i, err)
		}
		s.Rules = append(s.Rules, rule)
	}
	for i, m := range m.GetIsolations() {
		d, f := m.GetDirection(), m.GetFamily()
		if !known(int32(d), nodev1.Direction_name) || !known(int32(f), nodev1.Family_name) || len(m.GetOrigins()) == 0 {
			return nil, fmt.Errorf("decode verdict set: isolation %d: direction %d, family %d, %d origins", i, d, f, len(m.GetOrigins()))
		}
		for _, o := range m.GetOrigins() {
			s.Isolated[d][f] = append(s.Isolated[d][f], decodeOrigin(o))
		}
	}
	return s, nil
}

func known(n int32, names map[int32]string) bool { _, ok := names[n]; return ok }

func decodeRule(m *nodev1.Rule) (verdict.Rule, error) {
	r := verdict.Rule{Rank: m.GetRank(), Origin: decodeOrigin(m.GetOrigin())}
	d, f, t := m.GetDirection(), m.GetFamily(), m.GetTier()
	if !known(int32(d), nodev1.Direction_name) || !known(int32(f), nodev1.Family_name) || !known(int32(t), nodev1.Tier_name) {
		return r, fmt.Errorf("direction %d, family %d, tier %d", d, f, t)
	}
	r.Direction, r.Family, r.Tier = verdict.Direction(d), verdict.Family(f), verdict.Tier(t)
	if (r.Rank == 0) != (r.Tier == verdict.Main) {
		return r, fmt.Errorf("rank %d in tier %v", r.Rank, t)
	}
	switch m.GetAction() {
	case nodev1.Action_ACTION_ALLOW:
		r.Action = verdict.Allow
	case nodev1.Action_ACTION_DENY:
		r.Action = verdict.Deny
	case nodev1.Action_ACTION_PASS:
		r.Action = verdict.Pass
	default:
		return r, fmt.Errorf("action %d", m.GetAction())
	}
	if r.Action == verdict.Pass && r.Tier == verdict.Main {
		return r, errors.New("the main tier passes to none")
	}
	for _, p := range m.GetPeers() {
		peer, err := decodePeer(p)
		if err != nil {
			return r, err
		}
		r.Peers = append(r.Peers, peer)
	}
	for _, p := range m.GetPorts() {
		if p.GetProtocol() > 0xff || p.GetLast() > 0xffff || p.GetFirst() > p.GetLast() ||
			p.GetProtocol() == 0 && (p.GetFirst() != 0 || p.GetLast() != 0xffff) {
			return r, fmt.Errorf("protocol %d, ports %d to %d", p.GetProtocol(), p.GetFirst(), p.GetLast())
		}
		r.Ports = append(r.Ports, verdict.Ports{Protocol: uint8(p.GetProtocol()), First: uint16(p.GetFirst()), Last: uint16(p.GetLast())})
	}
	return r, nil
}

func decodeOrigin(m *nodev1.Origin) verdict.Origin {
	return verdict.Origin{Group: m.GetGroup(), Kind: m.GetKind(), Namespace: m.GetNamespace(), Name: m.GetName(), Rule: m.GetRule()}
}

func decodePeer(m *nodev1.RulePeer) (verdict.Peer, error) {
	switch w := m.GetWho().(type) {
	case *nodev1.RulePeer_PeerSet:
		return verdict.Peer{Kind: verdict.PeerSet, Name: w.PeerSet}, nil
	case *nodev1.RulePeer_Namespace:
		return verdict.Peer{Kind: verdict.PeerNamespace, Name: w.Namespace}, nil
	case *nodev1.RulePeer_Entities:
		e, err := entities(w.Entities)
		return verdict.Peer{Kind: verdict.PeerEntity, Entity: e}, err
	case *nodev1.RulePeer_Range:
		return decodeRange(verdict.PeerCIDR, w.Range)
	case *nodev1.RulePeer_WorldRange:
		return decodeRange(verdict.PeerWorldCIDR, w.WorldRange)
	}
	return verdict.Peer{}, errors.New("a peer of a kind that is not known")
}

func decodeRange(kind verdict.PeerKind, m *nodev1.AddressRange) (verdict.Peer, error) {
	p := verdict.Peer{Kind: kind}
	var err error
	if p.CIDR, err = prefix(m.GetCidr()); err != nil {
		return p, err
	}
	for _, text := range m.GetExcept() {
		x, err := prefix(text)
		if err != nil {
			return p, err
		}
		p.Except = append(p.Except, x)
	}
	return p, nil
}

func prefix(text string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(text)
	if err == nil && (p != p.Masked() || p.Addr().Is4In6()) {
		err = fmt.Errorf("parse prefix %q: it is not in its canonical form", text)
	}
	return p, err
}

// allEntities are the bits that are known.
const allEntities = verdict.KubeAPIServer<<1 - 1

func entities(bits uint32) (verdict.Entity, error) {
	if bits == 0 || bits > uint32(allEntities) {
		return 0, fmt.Errorf("entities %#x", bits)
	}
	return verdict.Entity(bits), nil
}
