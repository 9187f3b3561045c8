package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// Gateway opens ports at the edge of the mesh. What happens behind them is said
// by the VirtualServices that name it. It is not the Gateway of the Gateway API.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=gateways,shortName=gw;flgw,categories=fairlead
// +kubebuilder:printcolumn:name="Hosts",type=string,JSONPath=`.spec.servers[*].hosts`,description="Hosts of the servers"
// +kubebuilder:printcolumn:name="Ports",type=string,JSONPath=`.spec.servers[*].port.number`,description="Ports of the servers"
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`,description="Whether Envoy has acknowledged it"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].reason`,description="Why it is or is not programmed"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Gateway struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec describes the ports.
	// +required
	Spec GatewaySpec `json:"spec"`
	// Status is what Fairlead made of it.
	// +optional
	Status Status `json:"status,omitempty,omitzero"`
}

// GatewayList is a list of Gateway.
//
// +kubebuilder:object:root=true
type GatewayList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Gateway `json:"items"`
}

// GatewaySpec describes the ports of a gateway and where they are opened.
type GatewaySpec struct {
	// Servers are the ports.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=512
	Servers []Server `json:"servers"`

	// Selector are labels of the gateway workloads that open the ports.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Selector map[string]string `json:"selector,omitempty"`
}

// Server is one port, for one set of hosts.
//
// +kubebuilder:validation:XValidation:rule="self.port.number > 0 || (has(self.bind) && self.bind.startsWith('unix://'))",message="port.number must be between 1 and 65535 unless bind is a Unix socket"
// +kubebuilder:validation:XValidation:rule="has(self.tls) || !(self.port.protocol.upperAscii() in ['HTTPS', 'TLS'])",message="protocols HTTPS and TLS need tls"
type Server struct {
	// Port to listen on.
	// +required
	Port Port `json:"port"`

	// Bind is the address to listen on, or "unix:///path"; all addresses if absent.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Bind string `json:"bind,omitempty"`

	// Hosts that are served, as "namespace/host" or "host": which VirtualServices
	// may attach. The namespace is a name, "." for the object's own, or "*"; the
	// host may be "*" or begin with a wildcard label.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=317
	// +kubebuilder:validation:items:Pattern=`^((\*|\.|[a-z0-9]([-a-z0-9]*[a-z0-9])?)/)?(\*|(\*[.-]?)?[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*\.?|[0-9A-Fa-f:.]+)$`
	Hosts []string `json:"hosts"`

	// TLS of the port.
	// +optional
	TLS *ServerTLSSettings `json:"tls,omitempty"`

	// DefaultEndpoint is in Istio's API, which does not implement it either.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	DefaultEndpoint string `json:"defaultEndpoint,omitempty"`

	// Name of the server, unique in the Gateway; for statistics.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`
}

// Port is the port of a server.
type Port struct {
	// Number of the port; 0 only with a Unix socket.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	Number int32 `json:"number"`

	// Protocol spoken; any case. TLS passes a connection on by its server name, or
	// terminates what is not HTTP.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self.upperAscii() in ['HTTP', 'HTTPS', 'HTTP2', 'HTTP_PROXY', 'GRPC', 'GRPC-WEB', 'TCP', 'TLS', 'MONGO', 'MYSQL', 'REDIS']",message="protocol must be one of HTTP, HTTPS, HTTP2, HTTP_PROXY, GRPC, GRPC-WEB, TCP, TLS, MONGO, MYSQL, REDIS"
	Protocol string `json:"protocol"`

	// Name of the port.
	// +required
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`

	// TargetPort is in Istio's API, which ignores it for a Gateway.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	TargetPort int32 `json:"targetPort,omitempty"`
}
