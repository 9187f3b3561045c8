package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// WorkloadEntry describes a workload that is not a pod, such as a virtual
// machine, so that a ServiceEntry can select it by label.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=workloadentries,singular=workloadentry,shortName=we;flwe,categories=fairlead
// +kubebuilder:printcolumn:name="Address",type=string,JSONPath=`.spec.address`,description="Address of the workload"
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`,description="Whether Envoy has acknowledged it"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].reason`,description="Why it is or is not programmed"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type WorkloadEntry struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec describes the workload.
	// +required
	Spec WorkloadEntrySpec `json:"spec"`
	// Status is what Fairlead made of it.
	// +optional
	Status Status `json:"status,omitempty,omitzero"`
}

// WorkloadEntryList is a list of WorkloadEntry.
//
// +kubebuilder:object:root=true
type WorkloadEntryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []WorkloadEntry `json:"items"`
}

// WorkloadEntrySpec describes one workload; a ServiceEntry's endpoints have the
// same form.
//
// +kubebuilder:validation:XValidation:rule="has(self.address) || has(self.network)",message="address must be set, or network where a gateway of that network leads to the workload"
// +kubebuilder:validation:XValidation:rule="!has(self.address) || !self.address.startsWith('unix://') || !has(self.ports)",message="a Unix socket has no ports"
type WorkloadEntrySpec struct {
	// Address is an IP address, a name (only where the ServiceEntry resolves by
	// DNS) or "unix:///path" for a socket of the client's host.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Address string `json:"address,omitempty"`

	// Ports maps a port name of the service to the port of this workload. A name
	// that is not listed is the service's target port, or its port.
	// +optional
	// +kubebuilder:validation:MaxProperties=128
	// +kubebuilder:validation:XValidation:rule="self.all(name, self[name] >= 1 && self[name] <= 65535)",message="ports must be between 1 and 65535"
	Ports map[string]int32 `json:"ports,omitempty"`

	// Labels of the workload, for selectors and subsets.
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	Labels map[string]string `json:"labels,omitempty"`

	// Network that the workload is in; endpoints of one network reach each other
	// directly.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Network string `json:"network,omitempty"`

	// Locality as "region/zone/subzone"; the later parts may be left out.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	Locality string `json:"locality,omitempty"`

	// Weight is the share of load relative to the other endpoints; 1 if absent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Weight *int32 `json:"weight,omitempty"`

	// ServiceAccount whose identity the workload has, in the object's namespace.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	ServiceAccount string `json:"serviceAccount,omitempty"`
}
