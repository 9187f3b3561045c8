package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// ServiceEntry adds a service that Kubernetes does not know: an outside API, a
// database, or workloads beside the cluster.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=serviceentries,singular=serviceentry,shortName=se;flse,categories=fairlead
// +kubebuilder:printcolumn:name="Hosts",type=string,JSONPath=`.spec.hosts`,description="Hosts of the service"
// +kubebuilder:printcolumn:name="Location",type=string,JSONPath=`.spec.location`,description="Inside or outside the mesh"
// +kubebuilder:printcolumn:name="Resolution",type=string,JSONPath=`.spec.resolution`,description="How endpoints are found"
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`,description="Whether Envoy has acknowledged it"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].reason`,description="Why it is or is not programmed"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type ServiceEntry struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec describes the service.
	// +required
	Spec ServiceEntrySpec `json:"spec"`
	// Status is what Fairlead made of it.
	// +optional
	Status Status `json:"status,omitempty,omitzero"`
}

// ServiceEntryList is a list of ServiceEntry.
//
// +kubebuilder:object:root=true
type ServiceEntryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []ServiceEntry `json:"items"`
}

// ServiceEntrySpec describes a service and where its endpoints come from.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.workloadSelector) && has(self.endpoints))",message="endpoints and workloadSelector exclude each other"
// +kubebuilder:validation:XValidation:rule="!has(self.endpoints) || self.endpoints.size() == 0 || (has(self.resolution) && self.resolution != 'NONE')",message="resolution NONE has no endpoints: it forwards to the address that the client dialled"
// +kubebuilder:validation:XValidation:rule="!has(self.resolution) || self.resolution != 'DNS_ROUND_ROBIN' || !has(self.endpoints) || self.endpoints.size() <= 1",message="resolution DNS_ROUND_ROBIN resolves one name: at most one endpoint"
// +kubebuilder:validation:XValidation:rule="!has(self.addresses) || !has(self.resolution) || self.resolution in ['NONE', 'STATIC'] || !self.addresses.exists(a, a.contains('/'))",message="CIDR addresses need resolution NONE or STATIC"
type ServiceEntrySpec struct {
	// Hosts are the names of the service. A leading wildcard label is allowed, "*"
	// alone is not.
	// +required
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^(\*[.-]?)?[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([-A-Za-z0-9_]*[A-Za-z0-9_])?)*\.?$`
	Hosts []string `json:"hosts"`

	// Addresses are virtual addresses, or CIDRs, that clients dial for the service.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=64
	// +kubebuilder:validation:items:Pattern=`^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$`
	Addresses []string `json:"addresses,omitempty"`

	// Ports of the service, unique by name and by number.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:XValidation:rule="self.all(a, self.exists_one(b, a.number == b.number))",message="port numbers must be unique"
	Ports []ServicePort `json:"ports,omitempty"`

	// Location says whether the endpoints are part of the mesh. MESH_EXTERNAL if
	// absent.
	// +optional
	Location ServiceEntryLocation `json:"location,omitempty"`

	// Resolution says how endpoints are found. NONE if absent.
	// +optional
	Resolution ServiceEntryResolution `json:"resolution,omitempty"`

	// Endpoints of the service. With DNS resolution and none given, the hosts are
	// resolved.
	// +optional
	// +kubebuilder:validation:MaxItems=4096
	Endpoints []WorkloadEntrySpec `json:"endpoints,omitempty"`

	// WorkloadSelector takes pods and WorkloadEntries of the object's namespace as
	// endpoints.
	// +optional
	WorkloadSelector *WorkloadSelector `json:"workloadSelector,omitempty"`

	// ExportTo are the namespaces whose clients and gateways see the service: a
	// name, "." for the object's own namespace, "*" for all, "~" for none. Empty
	// is all.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^(\*|\.|~|[a-z0-9]([-a-z0-9]*[a-z0-9])?)$`
	ExportTo []string `json:"exportTo,omitempty"`

	// SubjectAltNames are names one of which a server must prove with its
	// certificate when TLS is originated to it.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	SubjectAltNames []string `json:"subjectAltNames,omitempty"`
}

// ServicePort is one port of a ServiceEntry.
type ServicePort struct {
	// Number that clients dial.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Number int32 `json:"number"`

	// Protocol spoken; any case. Taken from the name's prefix, then TCP, if absent.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:XValidation:rule="self == '' || self.upperAscii() in ['HTTP', 'HTTPS', 'HTTP2', 'HTTP_PROXY', 'GRPC', 'GRPC-WEB', 'TCP', 'TLS', 'UDP', 'MONGO', 'MYSQL', 'REDIS']",message="protocol must be one of HTTP, HTTPS, HTTP2, HTTP_PROXY, GRPC, GRPC-WEB, TCP, TLS, UDP, MONGO, MYSQL, REDIS"
	Protocol string `json:"protocol,omitempty"`

	// Name of the port, such as "http-api".
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// TargetPort that the endpoints listen on; Number if absent.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	TargetPort int32 `json:"targetPort,omitempty"`
}

// WorkloadSelector selects workloads by labels which they must all carry.
type WorkloadSelector struct {
	// Labels that a workload must carry.
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	Labels map[string]string `json:"labels,omitempty"`
}

// ServiceEntryLocation is the side of the mesh's border that endpoints are on.
//
// +kubebuilder:validation:Enum=MESH_EXTERNAL;MESH_INTERNAL
type ServiceEntryLocation string

// The locations.
const (
	LocationMeshExternal ServiceEntryLocation = "MESH_EXTERNAL"
	LocationMeshInternal ServiceEntryLocation = "MESH_INTERNAL"
)

// ServiceEntryResolution is how a service's endpoints are found.
//
// +kubebuilder:validation:Enum=NONE;STATIC;DNS;DNS_ROUND_ROBIN;DYNAMIC_DNS
type ServiceEntryResolution string

// The resolutions.
const (
	// ResolutionNone forwards to the address that the client dialled.
	ResolutionNone ServiceEntryResolution = "NONE"
	// ResolutionStatic uses the addresses of the endpoints.
	ResolutionStatic ServiceEntryResolution = "STATIC"
	// ResolutionDNS uses every address that the names resolve to.
	ResolutionDNS ServiceEntryResolution = "DNS"
	// ResolutionDNSRoundRobin uses the first address of the latest answer.
	ResolutionDNSRoundRobin ServiceEntryResolution = "DNS_ROUND_ROBIN"
	// ResolutionDynamicDNS resolves the name that each request asks for.
	ResolutionDynamicDNS ServiceEntryResolution = "DYNAMIC_DNS"
)
