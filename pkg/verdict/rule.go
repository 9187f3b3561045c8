package verdict

import (
	"net/netip"
)

// Direction is seen from the identity that a Set is of.
type Direction uint8

const (
	Egress Direction = iota
	Ingress
)

// Family is a kind of policy with defaults of its own.
type Family uint8

const (
	Network Family = iota // NetworkPolicy, ClusterNetworkPolicy, CiliumNetworkPolicy
	Mesh                  // AuthorizationPolicy
	// NetworkAudit and MeshAudit are the same with the policies that are in audit mode: what they deny passes, and is told.
	NetworkAudit
	MeshAudit
	Families // how many
)

// Tier orders the rules of a family.
type Tier uint8

const (
	Admin Tier = iota
	Main
	Baseline
)

// Action is what a rule does with what it matches.
type Action uint8

const (
	Allow Action = iota
	Deny
	// Pass goes on with the next tier; in Admin and Baseline only.
	Pass
)

// Set is all that policies say of one identity.
type Set struct {
	Rules []Rule
	// Isolated says by direction and family whether what no rule of Main allows is denied: where there is an Origin, by which
	// policies.
	Isolated [2][Families][]Origin
}

// Origin is the object and the rule that an answer comes from.
type Origin struct {
	Group, Kind, Namespace, Name string
	// Rule is as its author counts: "ingress[0]". Empty for the whole object.
	Rule string
}

// Rule is one rule of one policy.
type Rule struct {
	Direction Direction
	Family    Family
	Tier      Tier
	// Rank orders the rules of Admin and of Baseline in a Set, from 1; the lowest that matches decides.
	Rank   uint32
	Action Action
	// Peers are who the other side may be, any of them. Nobody when empty: "everybody" is the entity All.
	Peers []Peer
	// Ports are those of the destination, any of them. None matches no packet: everything is the range AnyPort.
	Ports  []Ports
	Origin Origin
}

// PeerKind says what of a Peer counts.
type PeerKind uint8

const (
	// PeerSet is a list of identities, by its name.
	PeerSet PeerKind = iota
	// PeerNamespace is all pods of a namespace.
	PeerNamespace
	PeerEntity
	// PeerCIDR is a range of addresses without some, whoever has them.
	PeerCIDR
	// PeerWorldCIDR is such a range of what is World alone: a pod or a node is not in it, whatever its address.
	PeerWorldCIDR
)

// Peer is one way to say who the other side is.
type Peer struct {
	Kind   PeerKind
	Name   string // of the PeerSet or the namespace
	Entity Entity
	CIDR   netip.Prefix
	Except []netip.Prefix
}

// Entity is a set of addresses that need no list. They are bits: an address may be of several.
type Entity uint8

const (
	// All is every address.
	All Entity = 1 << iota
	// World is what is neither a pod nor a node.
	World
	// Pods are those of the cluster that have a network of their own.
	Pods
	// Host is the node that the identity's pod runs on, with the pods that use its network.
	Host
	// RemoteNode is any other node.
	RemoteNode
	// KubeAPIServer is where the API server listens.
	KubeAPIServer
)

// Names are the words for entities.
func (e Entity) Names() (out []string) {
	for i, name := range []string{"all", "world", "pods", "host", "remote-node", "kube-apiserver"} {
		if e&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// Remote is the other side of a connection.
type Remote struct {
	Address netip.Addr
	// Identity and Namespace are empty for what is not a pod.
	Identity, Namespace string
	// Entities has All always.
	Entities Entity
}

// Ports is a range of the ports of a protocol (IANA number; 0 is every protocol, with all ports). An ICMP type is 256 ports,
// one for each code.
type Ports struct {
	Protocol    uint8
	First, Last uint16
}

// AnyPort is everything.
var AnyPort = Ports{0, 0, 0xffff}

func (p Ports) has(protocol uint8, port uint16) bool {
	return (p.Protocol == 0 || p.Protocol == protocol) && p.First <= port && port <= p.Last
}
