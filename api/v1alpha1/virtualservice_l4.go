package v1alpha1

// TLSRoute routes TLS connections that are not terminated.
type TLSRoute struct {
	// Match lists conditions, any of which selects the route.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	Match []TLSMatchAttributes `json:"match"`

	// Route lists where the connections go.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.size() < 2 || self.exists(d, has(d.weight) && d.weight > 0)",message="the weights of several destinations must not all be zero"
	Route []RouteDestination `json:"route,omitempty"`
}

// TLSMatchAttributes must all hold for a TLS connection to match.
type TLSMatchAttributes struct {
	// SNIHosts are server names, wildcards allowed; each must lie within a host of
	// the VirtualService.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^(\*|(\*[.-]?)?[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*\.?)$`
	SNIHosts []string `json:"sniHosts"`

	// DestinationSubnets are addresses or CIDRs, one of which must hold the
	// address that the client dialled.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$`
	DestinationSubnets []string `json:"destinationSubnets,omitempty"`

	// Port that the client dialled.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// SourceLabels that the client's pod must carry. Only for the mesh.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	SourceLabels map[string]string `json:"sourceLabels,omitempty"`

	// Gateways for which this condition counts; overrides the object's list.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Gateways []string `json:"gateways,omitempty"`

	// SourceNamespace that the client's pod must be in. Only for the mesh.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	SourceNamespace string `json:"sourceNamespace,omitempty"`
}

// TCPRoute routes opaque connections.
type TCPRoute struct {
	// Match lists conditions, any of which selects the route. Empty selects all.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Match []L4MatchAttributes `json:"match,omitempty"`

	// Route lists where the connections go.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.size() < 2 || self.exists(d, has(d.weight) && d.weight > 0)",message="the weights of several destinations must not all be zero"
	Route []RouteDestination `json:"route,omitempty"`
}

// L4MatchAttributes must all hold for a connection to match.
type L4MatchAttributes struct {
	// DestinationSubnets are addresses or CIDRs, one of which must hold the
	// address that the client dialled.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$`
	DestinationSubnets []string `json:"destinationSubnets,omitempty"`

	// Port that the client dialled.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// SourceSubnet is an address or CIDR that must hold the client's address.
	// Istio marks the field as not implemented.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	SourceSubnet string `json:"sourceSubnet,omitempty"`

	// SourceLabels that the client's pod must carry. Only for the mesh.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	SourceLabels map[string]string `json:"sourceLabels,omitempty"`

	// Gateways for which this condition counts; overrides the object's list.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Gateways []string `json:"gateways,omitempty"`

	// SourceNamespace that the client's pod must be in. Only for the mesh.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	SourceNamespace string `json:"sourceNamespace,omitempty"`
}

// RouteDestination is one target of a TCP or TLS route.
type RouteDestination struct {
	// Destination of the connections.
	// +required
	Destination Destination `json:"destination"`

	// Weight is the share of this destination, relative to the sum of all weights
	// of the route. May be left out if the route has one destination.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Weight *int32 `json:"weight,omitempty"`
}
