package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AuthorizationPolicy says who may reach pods. Pods that a policy with action
// ALLOW selects are reached by those alone that one of these allows; what a
// policy with action DENY matches is denied whatever else allows it. It has the
// JSON names of its namesake in security.istio.io.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:storageversion
// +kubebuilder:resource:path=authorizationpolicies,singular=authorizationpolicy,shortName=ap;flap,categories=fairlead
// +kubebuilder:printcolumn:name="Action",type=string,JSONPath=`.spec.action`,description="What is done with what it matches"
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`,description="Whether it is in force"
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].reason`,description="Why it is or is not in force"
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AuthorizationPolicy struct {
	metav1.TypeMeta `json:",inline"`
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// Spec says who may reach which pods.
	// +optional
	Spec AuthorizationPolicySpec `json:"spec,omitempty"`
	// Status is what Fairlead made of it.
	// +optional
	Status Status `json:"status,omitempty,omitzero"`
}

// AuthorizationPolicyList is a list of AuthorizationPolicy.
//
// +kubebuilder:object:root=true
type AuthorizationPolicyList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []AuthorizationPolicy `json:"items"`
}

// AuthorizationPolicySpec says who may reach which pods.
//
// +kubebuilder:validation:XValidation:rule="(has(self.selector) ? 1 : 0) + (has(self.targetRef) ? 1 : 0) + (has(self.targetRefs) ? 1 : 0) <= 1",message="at most one of selector, targetRef and targetRefs may be set"
type AuthorizationPolicySpec struct {
	// Selector limits it to pods with these labels; all pods of the namespace if
	// absent, of all namespaces in the root namespace.
	// +optional
	Selector *PodLabels `json:"selector,omitempty"`

	// TargetRef is the older form of targetRefs.
	// +optional
	TargetRef *PolicyTarget `json:"targetRef,omitempty"`

	// TargetRefs name what is guarded instead of pods: a Gateway, a Service.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	TargetRefs []PolicyTarget `json:"targetRefs,omitempty"`

	// Rules are what is matched, any of them; nothing if absent, so that ALLOW
	// without rules denies all.
	// +optional
	// +kubebuilder:validation:MaxItems=512
	Rules []AuthorizationRule `json:"rules,omitempty"`

	// Action is what is done with what a rule matches; ALLOW if absent.
	// +optional
	// +kubebuilder:validation:Enum=ALLOW;DENY;AUDIT;CUSTOM
	Action string `json:"action,omitempty"`

	// Provider decides for the action CUSTOM.
	// +optional
	Provider *ExtensionProvider `json:"provider,omitempty"`
}

// PodLabels selects pods.
type PodLabels struct {
	// MatchLabels that a pod must carry, all of them.
	// +optional
	// +kubebuilder:validation:MaxProperties=4096
	MatchLabels map[string]string `json:"matchLabels,omitempty"`
}

// PolicyTarget names an object of the same namespace.
type PolicyTarget struct {
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// Namespace must be that of the policy, or absent.
	// +optional
	Namespace string `json:"namespace,omitempty"`
}

// ExtensionProvider names who decides.
type ExtensionProvider struct {
	// +optional
	Name string `json:"name,omitempty"`
}

// AuthorizationRule matches what comes from one of the sources, goes to one of
// the operations, and meets all conditions. An empty one matches everything.
type AuthorizationRule struct {
	// From are sources, any of them; all if absent.
	// +optional
	// +kubebuilder:validation:MaxItems=512
	From []AuthorizationFrom `json:"from,omitempty"`

	// To are operations, any of them; all if absent.
	// +optional
	To []AuthorizationTo `json:"to,omitempty"`

	// When are conditions, all of them.
	// +optional
	When []AuthorizationCondition `json:"when,omitempty"`
}

// AuthorizationFrom holds a source.
type AuthorizationFrom struct {
	// +optional
	Source *AuthorizationSource `json:"source,omitempty"`
}

// AuthorizationSource is who comes; all that is set must hold, any value of each
// field. Where not said else, a value may begin or end with "*".
type AuthorizationSource struct {
	// Principals are "<trust domain>/ns/<namespace>/sa/<service account>".
	// +optional
	Principals []string `json:"principals,omitempty"`
	// +optional
	NotPrincipals []string `json:"notPrincipals,omitempty"`
	// RequestPrincipals come from a token in the request.
	// +optional
	RequestPrincipals []string `json:"requestPrincipals,omitempty"`
	// +optional
	NotRequestPrincipals []string `json:"notRequestPrincipals,omitempty"`
	// Namespaces of the source's principal.
	// +optional
	Namespaces []string `json:"namespaces,omitempty"`
	// +optional
	NotNamespaces []string `json:"notNamespaces,omitempty"`
	// ServiceAccounts are "<namespace>/<name>", or "<name>" of the policy's
	// namespace, without "*".
	// +optional
	// +kubebuilder:validation:MaxItems=16
	ServiceAccounts []string `json:"serviceAccounts,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxItems=16
	NotServiceAccounts []string `json:"notServiceAccounts,omitempty"`
	// TrustDomains of the source's principal.
	// +optional
	TrustDomains []string `json:"trustDomains,omitempty"`
	// +optional
	NotTrustDomains []string `json:"notTrustDomains,omitempty"`
	// IPBlocks are addresses and CIDRs that the connection comes from.
	// +optional
	IPBlocks []string `json:"ipBlocks,omitempty"`
	// +optional
	NotIPBlocks []string `json:"notIpBlocks,omitempty"`
	// RemoteIPBlocks are those that a proxy in front tells of.
	// +optional
	RemoteIPBlocks []string `json:"remoteIpBlocks,omitempty"`
	// +optional
	NotRemoteIPBlocks []string `json:"notRemoteIpBlocks,omitempty"`
}

// AuthorizationTo holds an operation.
type AuthorizationTo struct {
	// +optional
	Operation *AuthorizationOperation `json:"operation,omitempty"`
}

// AuthorizationOperation is what is asked for; all that is set must hold, any
// value of each field.
type AuthorizationOperation struct {
	// +optional
	Hosts []string `json:"hosts,omitempty"`
	// +optional
	NotHosts []string `json:"notHosts,omitempty"`
	// Ports of the pod, numbers.
	// +optional
	Ports []string `json:"ports,omitempty"`
	// +optional
	NotPorts []string `json:"notPorts,omitempty"`
	// +optional
	Methods []string `json:"methods,omitempty"`
	// +optional
	NotMethods []string `json:"notMethods,omitempty"`
	// +optional
	Paths []string `json:"paths,omitempty"`
	// +optional
	NotPaths []string `json:"notPaths,omitempty"`
}

// AuthorizationCondition is about one attribute: it has one of the values, and
// none of the others.
type AuthorizationCondition struct {
	// Key is the attribute, "source.ip" or "destination.port".
	// +kubebuilder:validation:MinLength=1
	Key string `json:"key"`
	// +optional
	Values []string `json:"values,omitempty"`
	// +optional
	NotValues []string `json:"notValues,omitempty"`
}
