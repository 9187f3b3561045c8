package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// DestinationRule says how clients talk to a service once a route has chosen it:
// load balancing, limits, ejection of bad endpoints, TLS, and its subsets.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=destinationrules,shortName=dr;fldr,categories=fairlead
// +kubebuilder:printcolumn:name="Host",type=string,JSONPath=`.spec.host`,description="Service that the rule is for"
// +kubebuilder:printcolumn:name="Subsets",type=string,JSONPath=`.spec.subsets[*].name`,description="Subsets that routes may name"
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`,description="Whether Envoy has acknowledged it"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].reason`,description="Why it is or is not programmed"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type DestinationRule struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the rule.
	// +required
	Spec DestinationRuleSpec `json:"spec"`
	// Status is what Fairlead made of it.
	// +optional
	Status Status `json:"status,omitempty,omitzero"`
}

// DestinationRuleList is a list of DestinationRule.
//
// +kubebuilder:object:root=true
type DestinationRuleList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []DestinationRule `json:"items"`
}

// DestinationRuleSpec is the rule for one host, or for a wildcard of hosts.
type DestinationRuleSpec struct {
	// Host is the service: a Service ("reviews" is completed with the object's
	// namespace) or a host of a ServiceEntry; a leading wildcard label is allowed.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^(\*|(\*[.-]?)?[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*\.?)$`
	Host string `json:"host"`

	// TrafficPolicy for the whole service.
	// +optional
	TrafficPolicy *TrafficPolicy `json:"trafficPolicy,omitempty"`

	// Subsets of the service's endpoints, by label. A route that names one uses it.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	Subsets []Subset `json:"subsets,omitempty"`

	// ExportTo are the namespaces whose clients the rule is for: a name, "." for
	// the object's own namespace, "*" for all. Empty is all.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^(\*|\.|~|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$`
	ExportTo []string `json:"exportTo,omitempty"`

	// WorkloadSelector restricts the rule to clients with these labels in the
	// object's namespace.
	// +optional
	WorkloadSelector *ClientSelector `json:"workloadSelector,omitempty"`
}

// ClientSelector selects client workloads by labels which they must all carry.
type ClientSelector struct {
	// MatchLabels that a client must carry.
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
}

// Subset is a part of a service's endpoints.
type Subset struct {
	// Name that routes use.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// Labels that an endpoint must carry.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`

	// TrafficPolicy of the subset; what it does not set is taken from the rule.
	// +optional
	TrafficPolicy *TrafficPolicy `json:"trafficPolicy,omitempty"`
}

// TrafficPolicy is how clients talk to endpoints.
type TrafficPolicy struct {
	// LoadBalancer chooses among the endpoints.
	// +optional
	LoadBalancer *LoadBalancerSettings `json:"loadBalancer,omitempty"`

	// ConnectionPool limits connections and requests.
	// +optional
	ConnectionPool *ConnectionPoolSettings `json:"connectionPool,omitempty"`

	// OutlierDetection takes failing endpoints out for a while.
	// +optional
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`

	// TLS towards the endpoints.
	// +optional
	TLS *ClientTLSSettings `json:"tls,omitempty"`

	// PortLevelSettings replace, for one port, the settings above as a whole: what
	// they leave out is the default and not what the service has.
	// +optional
	// +kubebuilder:validation:MaxItems=128
	PortLevelSettings []PortTrafficPolicy `json:"portLevelSettings,omitempty"`

	// Tunnel carries TCP within HTTP to the endpoints.
	// +optional
	Tunnel *TunnelSettings `json:"tunnel,omitempty"`

	// ProxyProtocol puts a PROXY header before each connection.
	// +optional
	ProxyProtocol *ProxyProtocol `json:"proxyProtocol,omitempty"`

	// RetryBudget limits retries by the load instead of by a number.
	// +optional
	RetryBudget *RetryBudget `json:"retryBudget,omitempty"`
}

// PortTrafficPolicy is the traffic policy of one port.
type PortTrafficPolicy struct {
	// Port of the service.
	// +optional
	Port *PortSelector `json:"port,omitempty"`

	// LoadBalancer chooses among the endpoints.
	// +optional
	LoadBalancer *LoadBalancerSettings `json:"loadBalancer,omitempty"`

	// ConnectionPool limits connections and requests.
	// +optional
	ConnectionPool *ConnectionPoolSettings `json:"connectionPool,omitempty"`

	// OutlierDetection takes failing endpoints out for a while.
	// +optional
	OutlierDetection *OutlierDetection `json:"outlierDetection,omitempty"`

	// TLS towards the endpoints.
	// +optional
	TLS *ClientTLSSettings `json:"tls,omitempty"`
}

// TunnelSettings carries TCP or TLS connections within HTTP requests.
type TunnelSettings struct {
	// Protocol is the HTTP method, CONNECT or POST. CONNECT if absent.
	// +optional
	// +kubebuilder:validation:Enum=CONNECT;POST
	Protocol string `json:"protocol,omitempty"`

	// TargetHost is where the tunnel leads.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	TargetHost string `json:"targetHost"`

	// TargetPort is the port where the tunnel leads.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	TargetPort int32 `json:"targetPort"`
}

// ProxyProtocol is a header that tells the endpoint the client's address.
type ProxyProtocol struct {
	// Version of the header: V1 is text, V2 is binary. V1 if absent.
	// +optional
	// +kubebuilder:validation:Enum=V1;V2
	Version string `json:"version,omitempty"`
}

// RetryBudget is a limit on concurrent retries.
type RetryBudget struct {
	// Percent of the active and pending requests; 20 if absent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent *float64 `json:"percent,omitempty"`

	// MinRetryConcurrency is always allowed; 3 if absent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinRetryConcurrency *int32 `json:"minRetryConcurrency,omitempty"`

	// BudgetInterval also counts the requests of this span before now. "0s" if
	// absent.
	// +optional
	BudgetInterval Duration `json:"budgetInterval,omitempty"`
}
