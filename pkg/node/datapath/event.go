package datapath

import (
	"net/netip"
	"time"

	"fairlead.io/fairlead/pkg/verdict"
)

// EventKind is what has happened.
type EventKind uint8

const (
	// FlowNew is a connection, or the first datagram of a conversation, that policy allows.
	FlowNew EventKind = 1 + iota
	// FlowClosed is a TCP or SCTP connection that both sides have ended, or one has reset.
	FlowClosed
	// FlowDenied is a packet that was dropped.
	FlowDenied
	// FlowAudited is a FlowNew that passes only because policy, or the node, is in audit mode.
	FlowAudited
)

// Reason is why a packet was dropped, by the numbers of Hubble's flow.DropReason; 0 for what was not.
type Reason uint8

const (
	InvalidSourceMAC Reason = 130
	InvalidSourceIP  Reason = 132
	PolicyDenied     Reason = 133 // no rule allows
	InvalidPacket    Reason = 134
	UnsupportedL3    Reason = 139
	FragmentUnknown  Reason = 175 // the first fragment was not seen
	ForbiddenICMPv6  Reason = 176 // a router advertisement or a redirect of a pod, a neighbour advertisement for another
	PolicyDeny       Reason = 181 // a rule denies
)

// Hook is where a packet was judged.
type Hook uint8

const (
	FromPod Hook = 1 + iota // tcx, bridged
	ToPod                   // tcx, bridged from another port
	Forward                 // netfilter, and so on
	LocalIn
	LocalOut
)

// Said is what one direction says of a connection.
type Said struct {
	// Judged is false where the side is not a pod of this node, or the other direction has denied before; nothing else counts then.
	Judged  bool
	Allowed bool
	Family  verdict.Family
	Because Because
	// Set and Rule name the rule by its number in the Set, from 0, by ByRule only.
	Set  uint32
	Rule uint32
}

// Because is why: the words of verdict.Because, and one more.
type Because uint8

const (
	ByRule Because = iota
	NoPolicy
	Isolation
	// Unknown is a deny because the identity has no Set.
	Unknown
	// Exempt is an allow that no policy is asked for: an ICMP error of an allowed flow, the host to
	// a pod whose identity has no Set.
	Exempt
)

// Event is told by a program about one packet.
type Event struct {
	// Since is the time since the machine started, suspended time not counted (CLOCK_MONOTONIC).
	Since time.Duration
	Kind  EventKind
	Hook  Hook
	// Source and Destination are of the packet, and so is everything else here: of a reply that was dropped, the replying side is the
	// source. Reply says so.
	Source, Destination                 netip.Addr
	SourceIdentity, DestinationIdentity uint32
	Protocol                            uint8
	// The ports of TCP, UDP and SCTP. Of ICMP, DestinationPort is type<<8|code and SourcePort the id of an echo.
	SourcePort, DestinationPort uint16
	TCPFlags                    uint8
	Reply                       bool
	// Established says that the flow had been allowed before: of FlowDenied, that its permission was withdrawn.
	Established bool
	// Direction is that which has decided, of FlowDenied and FlowAudited by policy.
	Direction verdict.Direction
	// Said is by direction.
	Said   [2]Said
	Reason Reason
	// Interface is where the packet came in, or is going out.
	Interface uint32
	// Length is that of the packet, in bytes from the IP header on.
	Length uint32
}

// DropKey is what drops, and packets that pass only by audit mode, are counted by.
type DropKey struct {
	// Subject is the identity whose policy has decided, or that has sent what is invalid; 0 for none.
	Subject uint32
	// Peer is the identity of the other side.
	Peer      uint32
	Direction verdict.Direction
	Family    verdict.Family
	Because   Because
	Set, Rule uint32 // as in Said
	Reason    Reason
	// Audited is what has passed.
	Audited bool
}

// Drop is a counter.
type Drop struct {
	DropKey
	Packets, Bytes uint64
}
