package v1alpha1

// HTTPRetry says when a failed request is tried again.
type HTTPRetry struct {
	// Attempts after the first try. 0 turns retries off.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Attempts *int32 `json:"attempts,omitempty"`

	// PerTryTimeout bounds each try, the first included. The route's timeout if
	// absent; "0s" is none.
	// +optional
	PerTryTimeout Duration `json:"perTryTimeout,omitempty"`

	// RetryOn are Envoy's conditions and status codes, separated by commas, such
	// as "connect-failure,503".
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	RetryOn string `json:"retryOn,omitempty"`

	// RetryRemoteLocalities lets a retry leave the locality of the first try.
	// +optional
	RetryRemoteLocalities *bool `json:"retryRemoteLocalities,omitempty"`

	// RetryIgnorePreviousHosts keeps a retry from the endpoints that have failed.
	// True if absent.
	// +optional
	RetryIgnorePreviousHosts *bool `json:"retryIgnorePreviousHosts,omitempty"`

	// Backoff is the base of the growing wait between tries; 25ms if absent.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	Backoff Duration `json:"backoff,omitempty"`
}

// HTTPFaultInjection makes requests slow or fail on purpose. Both parts are
// decided independently.
type HTTPFaultInjection struct {
	// Delay before the request is forwarded.
	// +optional
	Delay *FaultDelay `json:"delay,omitempty"`

	// Abort answers instead of forwarding.
	// +optional
	Abort *FaultAbort `json:"abort,omitempty"`
}

// FaultDelay is a wait.
//
// +kubebuilder:validation:XValidation:rule="has(self.fixedDelay) != has(self.exponentialDelay)",message="exactly one of fixedDelay or exponentialDelay must be set"
type FaultDelay struct {
	// FixedDelay is how long a request waits.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	FixedDelay Duration `json:"fixedDelay,omitempty"`

	// ExponentialDelay is a mean wait. Istio marks the field as not implemented.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	ExponentialDelay Duration `json:"exponentialDelay,omitempty"`

	// Percentage of requests that wait. None if absent.
	// +optional
	Percentage *Percent `json:"percentage,omitempty"`

	// Percent is the older, whole-numbered form of Percentage, which wins over it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	Percent *int32 `json:"percent,omitempty"`
}

// FaultAbort is a failure.
//
// +kubebuilder:validation:XValidation:rule="(has(self.httpStatus) ? 1 : 0) + (has(self.grpcStatus) ? 1 : 0) + (has(self.http2Error) ? 1 : 0) == 1",message="exactly one of httpStatus, grpcStatus or http2Error must be set"
type FaultAbort struct {
	// HTTPStatus of the answer. Envoy takes 200 to 599.
	// +optional
	// +kubebuilder:validation:Minimum=200
	// +kubebuilder:validation:Maximum=599
	HTTPStatus *int32 `json:"httpStatus,omitempty"`

	// GRPCStatus of the answer, by name ("UNAVAILABLE") or number ("14").
	// +optional
	// +kubebuilder:validation:MaxLength=32
	GRPCStatus string `json:"grpcStatus,omitempty"`

	// HTTP2Error resets the stream. Istio marks the field as not implemented.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	HTTP2Error string `json:"http2Error,omitempty"`

	// Percentage of requests that fail. None if absent.
	// +optional
	Percentage *Percent `json:"percentage,omitempty"`
}

// CORSPolicy says which pages of other origins may call the route.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.allowOrigin) && has(self.allowOrigins))",message="allowOrigin is the older form of allowOrigins: set one"
type CORSPolicy struct {
	// AllowOrigins are the origins that may call; any match suffices.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	AllowOrigins []StringMatch `json:"allowOrigins,omitempty"`

	// AllowOrigin is the older form of AllowOrigins: exact origins, or "*".
	// +optional
	// +kubebuilder:validation:MaxItems=256
	AllowOrigin []string `json:"allowOrigin,omitempty"`

	// AllowMethods are the methods that a page may use.
	// +optional
	// +kubebuilder:validation:MaxItems=64
	AllowMethods []string `json:"allowMethods,omitempty"`

	// AllowHeaders are the request headers that a page may set.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	AllowHeaders []string `json:"allowHeaders,omitempty"`

	// ExposeHeaders are the response headers that a page may read.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	ExposeHeaders []string `json:"exposeHeaders,omitempty"`

	// MaxAge is how long a browser may remember the answer to a preflight; whole
	// seconds reach it.
	// +optional
	MaxAge Duration `json:"maxAge,omitempty"`

	// AllowCredentials lets a page send cookies and authorization.
	// +optional
	AllowCredentials *bool `json:"allowCredentials,omitempty"`

	// UnmatchedPreflights says what happens to a preflight of another origin.
	// +optional
	UnmatchedPreflights UnmatchedPreflights `json:"unmatchedPreflights,omitempty"`
}

// UnmatchedPreflights is the treatment of a preflight whose origin is not allowed.
//
// +kubebuilder:validation:Enum=UNSPECIFIED;FORWARD;IGNORE
type UnmatchedPreflights string

// The treatments; UNSPECIFIED is FORWARD.
const (
	UnmatchedPreflightsUnspecified UnmatchedPreflights = "UNSPECIFIED"
	UnmatchedPreflightsForward     UnmatchedPreflights = "FORWARD"
	UnmatchedPreflightsIgnore      UnmatchedPreflights = "IGNORE"
)
