package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// VirtualService says how requests and connections for a set of hosts are
// routed: at gateways, and inside the mesh for clients that call those hosts.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=virtualservices,shortName=vs;flvs,categories=fairlead
// +kubebuilder:printcolumn:name="Hosts",type=string,JSONPath=`.spec.hosts`,description="Hosts that are routed"
// +kubebuilder:printcolumn:name="Gateways",type=string,JSONPath=`.spec.gateways`,description="Gateways that serve the routes; empty is the mesh"
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`,description="Whether Envoy has acknowledged it"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].reason`,description="Why it is or is not programmed"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type VirtualService struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec is the wanted routing.
	// +required
	Spec VirtualServiceSpec `json:"spec"`
	// Status is what Fairlead made of it.
	// +optional
	Status Status `json:"status,omitempty,omitzero"`
}

// VirtualServiceList is a list of VirtualService.
//
// +kubebuilder:object:root=true
type VirtualServiceList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []VirtualService `json:"items"`
}

// VirtualServiceSpec is the routing of a set of hosts. Routes are tried in the
// order written; the first whose match holds decides.
//
// +kubebuilder:validation:XValidation:rule="has(self.http) || has(self.tcp) || has(self.tls)",message="at least one of http, tcp or tls must be set"
// +kubebuilder:validation:XValidation:rule="(has(self.hosts) && self.hosts.size() > 0) || !(has(self.tcp) || has(self.tls))",message="hosts must be set for tcp and tls routes; only an http delegate goes without"
type VirtualServiceSpec struct {
	// Hosts are the names that clients ask for: a full name, a short name that is
	// completed with the object's namespace, "*" or a name with a leading wildcard
	// label ("*.example.com"), or an address. Empty in a VirtualService that is
	// only the delegate of another one.
	// +optional
	// +kubebuilder:validation:MaxItems=512
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^(\*|(\*[.-]?)?[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*\.?|[0-9A-Fa-f:.]+)$`
	Hosts []string `json:"hosts,omitempty"`

	// Gateways that serve these routes, as "namespace/name" or as "name" in the
	// object's namespace. The reserved word "mesh" means every client in the mesh,
	// and is the default.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=317
	// +kubebuilder:validation:items:Pattern=`^((\.|[a-z0-9]([-a-z0-9]*[a-z0-9])?)/)?[a-z0-9]([-.a-z0-9]*[a-z0-9])?$`
	Gateways []string `json:"gateways,omitempty"`

	// HTTP are the routes for HTTP traffic, TLS-terminated HTTPS included.
	// +optional
	// +kubebuilder:validation:MaxItems=1024
	HTTP []HTTPRoute `json:"http,omitempty"`

	// TLS are the routes for TLS connections that are passed through, chosen by
	// the server name that the client asks for.
	// +optional
	// +kubebuilder:validation:MaxItems=512
	TLS []TLSRoute `json:"tls,omitempty"`

	// TCP are the routes for opaque connections.
	// +optional
	// +kubebuilder:validation:MaxItems=512
	TCP []TCPRoute `json:"tcp,omitempty"`

	// ExportTo are the namespaces whose clients and gateways may use the routes:
	// a name, "." for the object's own namespace, "*" for all. Empty is all.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^(\*|\.|~|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$`
	ExportTo []string `json:"exportTo,omitempty"`
}

// Destination is a service, and perhaps a part of it, that receives traffic.
type Destination struct {
	// Host is the service's name: a Service ("reviews" is completed with the
	// namespace of the object that says it, "reviews.shop.svc.cluster.local" is
	// exact) or a host of a ServiceEntry.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Host string `json:"host"`

	// Subset is the name of a subset that a DestinationRule defines for the host.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Subset string `json:"subset,omitempty"`

	// Port of the service. It may be left out if the service has one port.
	// +optional
	Port *PortSelector `json:"port,omitempty"`
}

// PortSelector names a port of a service.
type PortSelector struct {
	// Number of the port, not of the target port behind it.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Number int32 `json:"number,omitempty"`
}

// Percent is a share in percent, fractions allowed.
type Percent struct {
	// Value from 0 to 100.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Value float64 `json:"value"`
}
