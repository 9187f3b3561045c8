package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Sidecar limits what pods can reach, and so what the Envoys of their nodes are
// sent. The name is Istio's; there is no sidecar.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=sidecars,singular=sidecar,shortName=sc;flsc,categories=fairlead
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`,description="Whether it is in force"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].reason`,description="Why it is or is not in force"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Sidecar struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec describes what can be reached.
	// +required
	Spec SidecarSpec `json:"spec"`
	// Status is what Fairlead made of it.
	// +optional
	Status Status `json:"status,omitempty,omitzero"`
}

// SidecarList is a list of Sidecar.
//
// +kubebuilder:object:root=true
type SidecarList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Sidecar `json:"items"`
}

// SidecarSpec says for which pods of the object's namespace it is, and what they
// can reach. In the root namespace, without a selector, it is the default of all
// namespaces that have none of their own.
type SidecarSpec struct {
	// WorkloadSelector limits it to pods with these labels; all pods of the
	// namespace if absent.
	// +optional
	WorkloadSelector *WorkloadSelector `json:"workloadSelector,omitempty"`

	// Ingress is in Istio's API; it has no effect here, where a node's Envoy takes
	// the traffic of all its pods.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Ingress []SidecarIngress `json:"ingress,omitempty"`

	// Egress lists what can be reached; everything if absent.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Egress []SidecarEgress `json:"egress,omitempty"`

	// InboundConnectionPool is in Istio's API; it has no effect here.
	// +optional
	InboundConnectionPool *ConnectionPoolSettings `json:"inboundConnectionPool,omitempty"`

	// OutboundTrafficPolicy is in Istio's API; it has no effect here.
	// +optional
	OutboundTrafficPolicy *OutboundTrafficPolicy `json:"outboundTrafficPolicy,omitempty"`
}

// SidecarEgress lists hosts that can be reached.
type SidecarEgress struct {
	// Port is in Istio's API; it has no effect here: hosts are reached on all ports.
	// +optional
	Port *SidecarPort `json:"port,omitempty"`

	// Bind is in Istio's API; it has no effect here.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Bind string `json:"bind,omitempty"`

	// CaptureMode is in Istio's API; it has no effect here.
	// +optional
	CaptureMode CaptureMode `json:"captureMode,omitempty"`

	// Hosts that can be reached, as "namespace/host". The namespace, where the host
	// is defined, is a name, "." for that of the pod, "*" for any or "~" for none;
	// the host is a full name, "*.x" for those below x, or "*" for all.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=1024
	// +kubebuilder:validation:items:MaxLength=317
	// +kubebuilder:validation:items:Pattern=`^(\*|\.|~|[a-z0-9]([-a-z0-9]*[a-z0-9])?)/(\*|(\*\.)?[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*\.?)$`
	Hosts []string `json:"hosts"`
}

// SidecarIngress is a port that Istio's sidecar takes traffic on.
type SidecarIngress struct {
	// Port to take traffic on.
	// +required
	Port SidecarPort `json:"port"`

	// Bind is the address of it.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Bind string `json:"bind,omitempty"`

	// CaptureMode says how traffic comes there.
	// +optional
	CaptureMode CaptureMode `json:"captureMode,omitempty"`

	// DefaultEndpoint is where the workload listens.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	DefaultEndpoint string `json:"defaultEndpoint,omitempty"`

	// TLS of the port.
	// +optional
	TLS *ServerTLSSettings `json:"tls,omitempty"`

	// ConnectionPool bounds the connections to the workload.
	// +optional
	ConnectionPool *ConnectionPoolSettings `json:"connectionPool,omitempty"`
}

// SidecarPort is a port of Istio's sidecar.
type SidecarPort struct {
	// Number of the port.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Number int32 `json:"number,omitempty"`

	// Protocol spoken.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Protocol string `json:"protocol,omitempty"`

	// Name of the port.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// TargetPort is in Istio's API, which ignores it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	TargetPort int32 `json:"targetPort,omitempty"`
}

// CaptureMode is how traffic comes to Istio's sidecar.
//
// +kubebuilder:validation:Enum=DEFAULT;IPTABLES;NONE
type CaptureMode string

// OutboundTrafficPolicy says what Istio does with unknown destinations.
type OutboundTrafficPolicy struct {
	// Mode is ALLOW_ANY or REGISTRY_ONLY.
	// +optional
	// +kubebuilder:validation:Enum=REGISTRY_ONLY;ALLOW_ANY
	Mode string `json:"mode,omitempty"`

	// EgressProxy is where unknown destinations are sent.
	// +optional
	EgressProxy *Destination `json:"egressProxy,omitempty"`
}
