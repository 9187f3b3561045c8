package v1alpha1

// HTTPRedirect is the answer that sends the client elsewhere. What is not set
// stays as in the request.
//
// +kubebuilder:validation:MinProperties=1
// +kubebuilder:validation:XValidation:rule="!(has(self.port) && has(self.derivePort))",message="port and derivePort exclude each other"
// +kubebuilder:validation:XValidation:rule="!(has(self.uri) && has(self.prefixRewrite))",message="uri and prefixRewrite exclude each other"
type HTTPRedirect struct {
	// URI replaces the whole path.
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	URI string `json:"uri,omitempty"`

	// PrefixRewrite replaces the part of the path that the match's prefix covers.
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	PrefixRewrite string `json:"prefixRewrite,omitempty"`

	// Authority replaces the host.
	// +optional
	// +kubebuilder:validation:MaxLength=320
	Authority string `json:"authority,omitempty"`

	// Port replaces the port.
	// +optional
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=65535
	Port *int32 `json:"port,omitempty"`

	// DerivePort takes the port from the scheme, or from the request.
	// +optional
	DerivePort RedirectPort `json:"derivePort,omitempty"`

	// Scheme replaces the scheme, "http" or "https".
	// +optional
	// +kubebuilder:validation:MaxLength=16
	Scheme string `json:"scheme,omitempty"`

	// RedirectCode is the status of the answer; 301 if absent.
	// +optional
	// +kubebuilder:validation:Enum=301;302;303;307;308
	RedirectCode int32 `json:"redirectCode,omitempty"`
}

// RedirectPort is where a redirect's port comes from.
//
// +kubebuilder:validation:Enum=FROM_PROTOCOL_DEFAULT;FROM_REQUEST_PORT
type RedirectPort string

// The sources of a redirect's port.
const (
	RedirectPortProtocolDefault RedirectPort = "FROM_PROTOCOL_DEFAULT"
	RedirectPortRequest         RedirectPort = "FROM_REQUEST_PORT"
)

// HTTPDirectResponse is a fixed answer.
type HTTPDirectResponse struct {
	// Status of the answer. Envoy takes 200 to 599.
	// +required
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	Status int32 `json:"status"`

	// Body of the answer; none if absent.
	// +optional
	Body *HTTPBody `json:"body,omitempty"`
}

// HTTPBody is a response body in one of two forms.
//
// +kubebuilder:validation:MaxProperties=1
type HTTPBody struct {
	// String is the body as text.
	// +optional
	// +kubebuilder:validation:MaxLength=1048576
	String *string `json:"string,omitempty"`

	// Bytes is the body in base64.
	// +optional
	Bytes []byte `json:"bytes,omitempty"`
}

// HTTPRewrite changes a request before it is forwarded.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.uri) && has(self.uriRegexRewrite))",message="uri and uriRegexRewrite exclude each other"
type HTTPRewrite struct {
	// URI replaces the path, or the prefix of it that the match's prefix covers.
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	URI string `json:"uri,omitempty"`

	// Authority replaces the host.
	// +optional
	// +kubebuilder:validation:MaxLength=320
	Authority string `json:"authority,omitempty"`

	// URIRegexRewrite replaces what an expression finds in the path.
	// +optional
	URIRegexRewrite *RegexRewrite `json:"uriRegexRewrite,omitempty"`
}

// RegexRewrite is a search and replace.
type RegexRewrite struct {
	// Match is an RE2 expression.
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	Match string `json:"match,omitempty"`

	// Rewrite is the replacement; \1 to \9 are the groups of Match.
	// +optional
	// +kubebuilder:validation:MaxLength=8192
	Rewrite string `json:"rewrite,omitempty"`
}
