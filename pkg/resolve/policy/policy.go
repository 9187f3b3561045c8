// Package policy makes one model of all kinds of L3/L4 policy, and of who is selected.
//
//	NetworkPolicy | ClusterNetworkPolicy | CiliumNetworkPolicy | AuthorizationPolicy → Policy → verdict.Set (by identity)
//
// A kind's own semantics end in its compiler, one file a kind; from there on all are alike. What a kind says and cannot be
// enforced is a note to its author, and fails closed for the traffic that it would guard.
package policy

import (
	"net/netip"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
)

// Policy is what one object says.
type Policy struct {
	Ref model.Ref
	// Subjects are whom it is about, any of them.
	Subjects []Selector
	// Isolates says in which directions and families what no rule of the main tier allows is denied for the subjects.
	Isolates [2][verdict.Families]bool
	Rules    []Rule
	// Audit lets all pass that the object would deny, and tells.
	Audit bool
	Notes []Note
}

// Rule is one rule of an object.
type Rule struct {
	Direction verdict.Direction
	Family    verdict.Family
	Tier      verdict.Tier
	// Priority orders the objects of the admin and baseline tiers, lowest first; ties go by name, rules by their place.
	Priority int32
	Action   verdict.Action
	// Peers are who the other side may be, any of them; nobody when empty.
	Peers []Peer
	// Ports are those of the destination, any of them; none matches nothing, verdict.AnyPort everything.
	Ports []verdict.Ports
	// Named are ports of the destination by their names: of the subject for ingress, of each peer for egress. They come to Ports.
	Named []NamedPort
	// Name is how its author counts the rule: "ingress[0]".
	Name string
}

// NamedPort is a container port that a policy calls by its name.
type NamedPort struct {
	Name     string
	Protocol uint8 // IANA number; 0 is any
}

// Peer is one way to say who the other side is: exactly one field is set.
type Peer struct {
	Pods   *Selector
	Entity verdict.Entity
	Range  *Range
	// Service is what stands behind Services; for egress only.
	Service *Service
}

// Range is addresses, whoever has them.
type Range struct {
	CIDR   netip.Prefix
	Except []netip.Prefix
	// World leaves out what is a pod or a node (verdict.PeerWorldCIDR).
	World bool
}

// Service selects Services, and means the pods that their selectors select. Of a Service without a selector it is the addresses of
// its endpoints, each a Range of World. (CiliumNetworkPolicy's toServices; ports of the Service do not count.)
type Service struct {
	// Namespace is empty for all.
	Namespace string
	// Name is empty for all that meet Labels.
	Name   string
	Labels []Requirement
}

// Selector selects pods, or nodes, by what must all hold. Its zero value selects every pod.
type Selector struct {
	// Nodes selects nodes by Labels, and no pods.
	Nodes bool
	// Namespaces are those that pods may be in, by name; nil is all.
	Namespaces []string
	// NamespaceLabels is what the labels of their namespace must meet.
	NamespaceLabels []Requirement
	// Labels is what their own labels must meet.
	Labels []Requirement
	// ServiceAccounts are those that they may run as, by name; nil is all.
	ServiceAccounts []string
	// Names is what their own names must match.
	Names []NameRequirement
	// Port is a named port that they must have, with that number.
	Port *verdict.NamedPort
}

// NameRequirement is one condition on who a pod is.
type NameRequirement struct {
	Of Name
	// Not turns the condition around.
	Not bool
	// Patterns are any of what matches the whole name; "*" in it stands for any text, also none.
	Patterns []string
}

// Name is what of a pod a NameRequirement looks at.
type Name string

const (
	// OfNamespace is the name of its namespace.
	OfNamespace Name = "namespace"
	// OfPrincipal is the path of its SPIFFE ID, "/ns/<namespace>/sa/<service account>". A pod without a ServiceAccount has none, and
	// matches nothing.
	OfPrincipal Name = "principal"
)

// Requirement is one condition on labels (apimachinery's LabelSelectorRequirement).
type Requirement struct {
	Key      string
	Operator Operator
	Values   []string // sorted
}

// Operator is how a label is compared.
type Operator string

// The operators. NotIn holds for what does not carry the label.
const (
	In           Operator = "In"
	NotIn        Operator = "NotIn"
	Exists       Operator = "Exists"
	DoesNotExist Operator = "DoesNotExist"
)

// Note is what the author is told of a field.
type Note struct {
	// Refused says that the traffic which the field guards is denied; else it is a warning.
	Refused bool
	Reason  string // of the condition, "UnsupportedValue"
	Path    string // "spec.ingress[0].toPorts"
	Message string
}
