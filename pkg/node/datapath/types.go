package datapath

import (
	"net/netip"

	"fairlead.io/fairlead/pkg/verdict"
)

// Address is what is known of an address of a pod or a node. What has none is World.
type Address struct {
	Identity, Namespace uint32 // 0 is none
	// Entities has All always. Host is of this node's own addresses: the hooks of what the host itself sends and receives take Host
	// for whatever has no Address, too, such as the address of a bridge.
	Entities verdict.Entity
	// Interface is the host's side of the pod's veth, of a pod of this node that has an Endpoint; else 0. It makes the address one
	// that policy is enforced for.
	Interface uint32
}

// Class is a kind of peer class. Numbers of one are apart from those of another.
type Class uint8

const (
	ClassIdentity Class = iota
	ClassNamespace
	// ClassEntities is numbered by the entity bits of the other side, all of them: what several entities say is folded together.
	ClassEntities
	// ClassRange is numbered by the ranges of the Set (Range).
	ClassRange
	// ClassWorldRange is so too, for what is World. Where a Part does not use it, World has the ranges of ClassRange.
	ClassWorldRange
	classes
)

// RuleKey is where an entry is found.
type RuleKey struct {
	Set, Number uint32
	Class       Class
	Direction   verdict.Direction
	Family      verdict.Family
	verdict.PortKey
}

// Rule is an entry.
type Rule struct {
	RuleKey
	verdict.Value
}

// RangeKey is a range of addresses that a Set tells apart, in one direction.
type RangeKey struct {
	Set       uint32
	Direction verdict.Direction
	// World is of ClassWorldRange, else it is of ClassRange.
	World  bool
	Prefix netip.Prefix
}

// Range gives the smallest range of a Set that an address is in its class number, which is not 0.
type Range struct {
	RangeKey
	Number uint32
}

// Parts are what of a Set is in use, by direction and family. A Set of the zero value allows everything; one that was never put, nothing.
type Parts [2][verdict.Families]Part

// Part is what is in use: what is not is not looked up.
type Part struct {
	Isolated bool
	// Classes has a bit for each Class: 1<<ClassIdentity.
	Classes uint8
	// Lengths has a bit for each PortKey.Bits in use, under any protocol but 0: 1<<16 is single ports.
	Lengths uint32
	// Any says that there are entries of protocol 0, which have all ports.
	Any bool
}

// MAC is a link-layer address.
type MAC [6]byte

// MaxAddresses is how many addresses an Endpoint may have.
const MaxAddresses = 4

// Endpoint is a pod of this node that has a network of its own.
type Endpoint struct {
	// Interface is the host's side of its veth, by index.
	Interface uint32
	// MAC is the pod's own: what it sends comes from there.
	MAC MAC
	// Router is what the pod sends to have it routed: the MAC of the bridge itself, or of the host's side of a veth that is no port.
	Router MAC
	// Bridge is the bridge that Interface is a port of, by index, or 0.
	Bridge uint32
	// Addresses are the pod's own: what it sends comes from there. MaxAddresses at most.
	Addresses []netip.Addr
	// Identity is the number of the pod's identity. A subject without a Set has everything denied but what the host sends.
	Identity uint32
}
