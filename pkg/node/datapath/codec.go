package datapath

import (
	"fmt"
	"net/netip"

	"fairlead.io/fairlead/bpf"
	"fairlead.io/fairlead/pkg/verdict"
)

// Between the words of Go and the layouts of bpf/words.h.

func addrOf(a netip.Addr) bpf.DatapathAddr { return bpf.DatapathAddr{B: a.As16()} }

func netipOf(a bpf.DatapathAddr) netip.Addr { return netip.AddrFrom16(a.B).Unmap() }

func (a Address) encode() bpf.DatapathAddress {
	return bpf.DatapathAddress{Identity: a.Identity, Namespace: a.Namespace, Entities: uint32(a.Entities), Ifindex: a.Interface}
}

func decodeAddress(a bpf.DatapathAddress) Address {
	return Address{Identity: a.Identity, Namespace: a.Namespace, Entities: verdict.Entity(a.Entities), Interface: a.Ifindex}
}

func (p Parts) encode() (out bpf.DatapathSet) {
	for d := range p {
		for f, part := range p[d] {
			o := &out.Parts[d][f]
			o.Known, o.Isolated, o.Classes, o.Any, o.Lengths = 1, bit(part.Isolated), part.Classes, bit(part.Any), part.Lengths
		}
	}
	return out
}

func decodeParts(s bpf.DatapathSet) (out Parts) {
	for d := range s.Parts {
		for f := range s.Parts[d] {
			o := &s.Parts[d][f]
			out[d][f] = Part{Isolated: o.Isolated != 0, Classes: o.Classes, Any: o.Any != 0, Lengths: o.Lengths}
		}
	}
	return out
}

func bit(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

func (k RuleKey) encode() bpf.DatapathRuleKey {
	return bpf.DatapathRuleKey{
		Set: k.Set, Number: k.Number, Class: uint8(k.Class), Place: uint8(k.Direction)<<4 | uint8(k.Family),
		Protocol: k.Protocol, Bits: k.Bits, Port: k.Port,
	}
}

func decodeRuleKey(k bpf.DatapathRuleKey) RuleKey {
	return RuleKey{
		Set: k.Set, Number: k.Number, Class: Class(k.Class), Direction: verdict.Direction(k.Place >> 4), Family: verdict.Family(k.Place & 15),
		PortKey: verdict.PortKey{Protocol: k.Protocol, Bits: k.Bits, Port: k.Port},
	}
}

func encodeValue(v verdict.Value) bpf.DatapathValue {
	return bpf.DatapathValue{
		AdminRank: v.Admin.Rank, AdminRule: v.Admin.Rule, AdminAction: uint8(v.Admin.Action),
		BaseRank: v.Base.Rank, BaseRule: v.Base.Rule, BaseAction: uint8(v.Base.Action),
		Deny: v.Deny, Allow: v.Allow,
	}
}

func decodeValue(v bpf.DatapathValue) verdict.Value {
	return verdict.Value{
		Admin: verdict.Ranked{Rank: v.AdminRank, Rule: v.AdminRule, Action: verdict.Action(v.AdminAction)},
		Base:  verdict.Ranked{Rank: v.BaseRank, Rule: v.BaseRule, Action: verdict.Action(v.BaseAction)},
		Deny:  v.Deny, Allow: v.Allow,
	}
}

// rangeAbove is what of a range's key stands before the address: set, direction and their like.
const rangeAbove = 64

func (k RangeKey) encode() (bpf.DatapathRangeKey, error) {
	if !k.Prefix.IsValid() || k.Prefix.Addr().Is4In6() {
		return bpf.DatapathRangeKey{}, fmt.Errorf("encode range %q: not a prefix of IPv4 or IPv6", k.Prefix)
	}
	out := bpf.DatapathRangeKey{
		Length: rangeAbove + uint32(k.Prefix.Bits()), Set: k.Set, Direction: uint8(k.Direction),
		Six: bit(k.Prefix.Addr().Is6()), World: bit(k.World), Address: k.Prefix.Masked().Addr().As16(),
	}
	if k.Prefix.Addr().Is4() {
		out.Length += 96
	}
	return out, nil
}

func decodeRangeKey(k bpf.DatapathRangeKey) (RangeKey, error) {
	a, bits := netip.AddrFrom16(k.Address), int(k.Length)-rangeAbove
	if k.Six == 0 {
		a, bits = a.Unmap(), bits-96
	}
	p := netip.PrefixFrom(a, bits)
	if !p.IsValid() || a.Is4() != (k.Six == 0) {
		return RangeKey{}, fmt.Errorf("decode range: %d bits of %v", k.Length, a)
	}
	return RangeKey{Set: k.Set, Direction: verdict.Direction(k.Direction), World: k.World != 0, Prefix: p}, nil
}

func (e Endpoint) encode() (bpf.DatapathEndpoint, error) {
	out := bpf.DatapathEndpoint{Mac: e.MAC, Router: e.Router, Bridge: e.Bridge, Identity: e.Identity}
	if len(e.Addresses) > MaxAddresses {
		return out, fmt.Errorf("attach interface %d: %d addresses, where a pod may have %d", e.Interface, len(e.Addresses), MaxAddresses)
	}
	for i, a := range e.Addresses {
		out.Addresses[i] = addrOf(a)
	}
	return out, nil
}

func decodeEndpoint(ifindex uint32, e bpf.DatapathEndpoint) Endpoint {
	out := Endpoint{Interface: ifindex, MAC: e.Mac, Router: e.Router, Bridge: e.Bridge, Identity: e.Identity}
	for _, a := range e.Addresses {
		if a.B != [16]byte{} {
			out.Addresses = append(out.Addresses, netipOf(a))
		}
	}
	return out
}
