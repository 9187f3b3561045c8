package v2

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CiliumNetworkPolicy is about pods of its namespace.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=ciliumnetworkpolicies,singular=ciliumnetworkpolicy,shortName=cnp;ciliumnp,categories=cilium;ciliumpolicy
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || has(self.specs)",message="spec or specs must be set"
type CiliumNetworkPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is one rule.
	// +optional
	Spec *Rule `json:"spec,omitempty"`
	// Specs are more rules, each with a selector of its own.
	// +optional
	Specs []Rule `json:"specs,omitempty"`
	// Status is what was made of it.
	// +optional
	Status Status `json:"status,omitempty,omitzero"`
}

// CiliumNetworkPolicyList is a list of CiliumNetworkPolicy.
//
// +kubebuilder:object:root=true
type CiliumNetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CiliumNetworkPolicy `json:"items"`
}

// CiliumClusterwideNetworkPolicy is about pods of all namespaces, or about nodes.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=ciliumclusterwidenetworkpolicies,singular=ciliumclusterwidenetworkpolicy,scope=Cluster,shortName=ccnp,categories=cilium;ciliumpolicy
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="has(self.spec) || has(self.specs)",message="spec or specs must be set"
type CiliumClusterwideNetworkPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is one rule.
	// +optional
	Spec *Rule `json:"spec,omitempty"`
	// Specs are more rules, each with a selector of its own.
	// +optional
	Specs []Rule `json:"specs,omitempty"`
	// Status is what was made of it.
	// +optional
	Status Status `json:"status,omitempty,omitzero"`
}

// CiliumClusterwideNetworkPolicyList is a list of CiliumClusterwideNetworkPolicy.
//
// +kubebuilder:object:root=true
type CiliumClusterwideNetworkPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []CiliumClusterwideNetworkPolicy `json:"items"`
}

// Status of either kind.
type Status struct {
	// +optional
	// +listType=map
	// +listMapKey=type
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Rules is what either kind says.
type Rules struct {
	Spec  *Rule  `json:"spec,omitempty"`
	Specs []Rule `json:"specs,omitempty"`
}

// Rule says what may come to and go from the endpoints that it selects. A direction that has rules, of whichever action, denies
// what none of them allows, unless EnableDefaultDeny says else.
type Rule struct {
	// EndpointSelector selects pods; all when empty. Keys may carry the source of a label, "k8s:app", "reserved:host".
	// +optional
	EndpointSelector *metav1.LabelSelector `json:"endpointSelector,omitempty"`
	// NodeSelector selects nodes, in a CiliumClusterwideNetworkPolicy.
	// +optional
	NodeSelector *metav1.LabelSelector `json:"nodeSelector,omitempty"`

	// Ingress is what may come.
	// +optional
	Ingress []IngressRule `json:"ingress,omitempty"`
	// IngressDeny is what may not come, whatever else allows it.
	// +optional
	IngressDeny []IngressDenyRule `json:"ingressDeny,omitempty"`
	// Egress is what may go.
	// +optional
	Egress []EgressRule `json:"egress,omitempty"`
	// EgressDeny is what may not go, whatever else allows it.
	// +optional
	EgressDeny []EgressDenyRule `json:"egressDeny,omitempty"`

	// EnableDefaultDeny says whether what no rule allows is denied, by direction.
	// +optional
	EnableDefaultDeny DefaultDeny `json:"enableDefaultDeny,omitempty,omitzero"`

	// Labels are for people and tools.
	// +optional
	Labels []RuleLabel `json:"labels,omitempty"`
	// Description is for people.
	// +optional
	Description string `json:"description,omitempty"`
	// Log is shown with flows.
	// +optional
	Log Log `json:"log,omitempty,omitzero"`
}

// DefaultDeny is true for each direction that has rules, unless it is set.
type DefaultDeny struct {
	// +optional
	Ingress *bool `json:"ingress,omitempty"`
	// +optional
	Egress *bool `json:"egress,omitempty"`
}

// RuleLabel marks a rule.
type RuleLabel struct {
	Key string `json:"key"`
	// +optional
	Value string `json:"value,omitempty"`
	// +optional
	Source string `json:"source,omitempty"`
}

// Log is text that is shown with flows.
type Log struct {
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Value string `json:"value,omitempty"`
}

// IngressCommonRule is who comes; one of its fields may be set, everybody if none is.
type IngressCommonRule struct {
	// FromEndpoints are pods of the policy's own namespace, unless a selector names another.
	// +optional
	FromEndpoints []metav1.LabelSelector `json:"fromEndpoints,omitempty"`
	// FromRequires are labels that a source must carry, whatever else allows it.
	// +optional
	FromRequires []metav1.LabelSelector `json:"fromRequires,omitempty"`
	// FromCIDR are addresses outside of the cluster.
	// +optional
	FromCIDR []string `json:"fromCIDR,omitempty"`
	// FromCIDRSet are such ranges, without some.
	// +optional
	FromCIDRSet []CIDRRule `json:"fromCIDRSet,omitempty"`
	// FromEntities are all, world, cluster, host and others.
	// +optional
	FromEntities []string `json:"fromEntities,omitempty"`
	// FromGroups are addresses that a cloud knows.
	// +optional
	FromGroups []Groups `json:"fromGroups,omitempty"`
	// FromNodes are other nodes, by their labels.
	// +optional
	FromNodes []metav1.LabelSelector `json:"fromNodes,omitempty"`
}

// IngressRule allows.
type IngressRule struct {
	IngressCommonRule `json:",inline"`

	// ToPorts are ports of the selected pods; all if absent.
	// +optional
	ToPorts []PortRule `json:"toPorts,omitempty"`
	// ICMPs are types of ICMP, instead of ports.
	// +optional
	ICMPs []ICMPRule `json:"icmps,omitempty"`
	// Authentication is what the source must prove.
	// +optional
	Authentication *Authentication `json:"authentication,omitempty"`
}

// IngressDenyRule denies.
type IngressDenyRule struct {
	IngressCommonRule `json:",inline"`

	// +optional
	ToPorts []PortDenyRule `json:"toPorts,omitempty"`
	// +optional
	ICMPs []ICMPRule `json:"icmps,omitempty"`
}

// EgressCommonRule is where it goes; one of its fields may be set, everywhere if none is.
type EgressCommonRule struct {
	// ToEndpoints are pods of the policy's own namespace, unless a selector names another.
	// +optional
	ToEndpoints []metav1.LabelSelector `json:"toEndpoints,omitempty"`
	// ToRequires are labels that a destination must carry, whatever else allows it.
	// +optional
	ToRequires []metav1.LabelSelector `json:"toRequires,omitempty"`
	// ToCIDR are addresses outside of the cluster.
	// +optional
	ToCIDR []string `json:"toCIDR,omitempty"`
	// ToCIDRSet are such ranges, without some.
	// +optional
	ToCIDRSet []CIDRRule `json:"toCIDRSet,omitempty"`
	// ToEntities are all, world, cluster, host and others.
	// +optional
	ToEntities []string `json:"toEntities,omitempty"`
	// ToServices are what stands behind Services.
	// +optional
	ToServices []Service `json:"toServices,omitempty"`
	// ToGroups are addresses that a cloud knows.
	// +optional
	ToGroups []Groups `json:"toGroups,omitempty"`
	// ToNodes are other nodes, by their labels.
	// +optional
	ToNodes []metav1.LabelSelector `json:"toNodes,omitempty"`
}

// EgressRule allows.
type EgressRule struct {
	EgressCommonRule `json:",inline"`

	// ToPorts are ports of the destination; all if absent.
	// +optional
	ToPorts []PortRule `json:"toPorts,omitempty"`
	// ToFQDNs are addresses that a name has been resolved to.
	// +optional
	ToFQDNs []FQDNSelector `json:"toFQDNs,omitempty"`
	// ICMPs are types of ICMP, instead of ports.
	// +optional
	ICMPs []ICMPRule `json:"icmps,omitempty"`
	// Authentication is what both sides must prove.
	// +optional
	Authentication *Authentication `json:"authentication,omitempty"`
}

// EgressDenyRule denies.
type EgressDenyRule struct {
	EgressCommonRule `json:",inline"`

	// +optional
	ToPorts []PortDenyRule `json:"toPorts,omitempty"`
	// +optional
	ICMPs []ICMPRule `json:"icmps,omitempty"`
}
