package v1alpha1

// HTTPMatchRequest is a set of conditions on a request which must all hold.
//
// +kubebuilder:validation:XValidation:rule="!has(self.uri) || has(self.uri.exact) || has(self.uri.prefix) || has(self.uri.regex)",message="uri needs one of exact, prefix or regex"
// +kubebuilder:validation:XValidation:rule="!has(self.scheme) || has(self.scheme.exact) || has(self.scheme.prefix) || has(self.scheme.regex)",message="scheme needs one of exact, prefix or regex"
// +kubebuilder:validation:XValidation:rule="!has(self.method) || has(self.method.exact) || has(self.method.prefix) || has(self.method.regex)",message="method needs one of exact, prefix or regex"
// +kubebuilder:validation:XValidation:rule="!has(self.authority) || has(self.authority.exact) || has(self.authority.prefix) || has(self.authority.regex)",message="authority needs one of exact, prefix or regex"
type HTTPMatchRequest struct {
	// Name of the condition, for access logs and statistics.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// URI is compared with the path, without the query.
	// +optional
	URI *StringMatch `json:"uri,omitempty"`

	// Scheme is compared with the request's scheme, "http" or "https".
	// +optional
	Scheme *StringMatch `json:"scheme,omitempty"`

	// Method is compared with the request's method, case-sensitively.
	// +optional
	Method *StringMatch `json:"method,omitempty"`

	// Authority is compared with the Host header or the :authority of HTTP/2.
	// +optional
	Authority *StringMatch `json:"authority,omitempty"`

	// Headers that must be there, by lower-case name. An empty condition asks only
	// that the header is present.
	// +optional
	// +kubebuilder:validation:MaxProperties=128
	Headers map[string]StringMatch `json:"headers,omitempty"`

	// WithoutHeaders are conditions none of which may hold. An empty condition
	// asks that the header is absent.
	// +optional
	// +kubebuilder:validation:MaxProperties=128
	WithoutHeaders map[string]StringMatch `json:"withoutHeaders,omitempty"`

	// QueryParams that must be there, by name. An empty condition asks only that
	// the parameter is present.
	// +optional
	// +kubebuilder:validation:MaxProperties=128
	QueryParams map[string]StringMatch `json:"queryParams,omitempty"`

	// Port that the request came in on: the gateway's server port, or the port of
	// the service that a mesh client called.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port int32 `json:"port,omitempty"`

	// SourceLabels that the client's pod must carry. Only for the mesh.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	SourceLabels map[string]string `json:"sourceLabels,omitempty"`

	// SourceNamespace that the client's pod must be in. Only for the mesh.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	SourceNamespace string `json:"sourceNamespace,omitempty"`

	// Gateways for which this condition counts; overrides the object's list.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Gateways []string `json:"gateways,omitempty"`

	// IgnoreURICase compares exact and prefix paths without regard to case.
	// +optional
	IgnoreURICase bool `json:"ignoreUriCase,omitempty"`

	// StatPrefix names extra statistics for requests that take this route.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	StatPrefix string `json:"statPrefix,omitempty"`
}

// StringMatch compares a string in one of three ways. None set means "present",
// which only headers and query parameters may ask.
//
// A CEL rule here would be estimated for every header of every match of every
// route, and pass the API server's cost limit; the number of properties says "at
// most one" and costs nothing.
//
// +kubebuilder:validation:MaxProperties=1
type StringMatch struct {
	// Exact is the whole string.
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	Exact *string `json:"exact,omitempty"`

	// Prefix is the beginning of the string.
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	Prefix *string `json:"prefix,omitempty"`

	// Regex is an RE2 expression that must match the whole string.
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	Regex *string `json:"regex,omitempty"`
}
