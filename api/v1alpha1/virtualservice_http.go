package v1alpha1

// HTTPRoute is one rule: which requests, and what happens to them.
//
// +kubebuilder:validation:XValidation:rule="(has(self.route) ? 1 : 0) + (has(self.redirect) ? 1 : 0) + (has(self.directResponse) ? 1 : 0) + (has(self.delegate) ? 1 : 0) == 1",message="exactly one of route, redirect, directResponse or delegate must be set"
// +kubebuilder:validation:XValidation:rule="!(has(self.mirror) && has(self.mirrors))",message="mirror and mirrors exclude each other"
// +kubebuilder:validation:XValidation:rule="!has(self.rewrite) || !(has(self.redirect) || has(self.directResponse))",message="rewrite needs a route: it has no effect on a redirect or a direct response"
type HTTPRoute struct {
	// Name of the rule, for access logs and statistics. A rule of a delegate is
	// named after both, "root-delegate".
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// Match lists conditions, any of which selects the rule. Empty selects all.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Match []HTTPMatchRequest `json:"match,omitempty"`

	// Route lists where the requests go, by weight.
	// +optional
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.size() < 2 || self.exists(d, has(d.weight) && d.weight > 0)",message="the weights of several destinations must not all be zero"
	Route []HTTPRouteDestination `json:"route,omitempty"`

	// Redirect answers with a redirection.
	// +optional
	Redirect *HTTPRedirect `json:"redirect,omitempty"`

	// DirectResponse answers with a fixed response.
	// +optional
	DirectResponse *HTTPDirectResponse `json:"directResponse,omitempty"`

	// Delegate hands the requests to the rules of another VirtualService. The
	// conditions of both must hold.
	// +optional
	Delegate *Delegate `json:"delegate,omitempty"`

	// Rewrite changes path or authority before the request is forwarded.
	// +optional
	Rewrite *HTTPRewrite `json:"rewrite,omitempty"`

	// Timeout of the whole request, retries included. "0s" is none.
	// +optional
	Timeout Duration `json:"timeout,omitempty"`

	// Retries of requests that fail.
	// +optional
	Retries *HTTPRetry `json:"retries,omitempty"`

	// Fault is injected into a share of the requests.
	// +optional
	Fault *HTTPFaultInjection `json:"fault,omitempty"`

	// Mirror receives a copy of the requests; its answers are dropped.
	// +optional
	Mirror *Destination `json:"mirror,omitempty"`

	// Mirrors each receive a copy of the requests.
	// +optional
	// +kubebuilder:validation:MaxItems=16
	Mirrors []HTTPMirrorPolicy `json:"mirrors,omitempty"`

	// MirrorPercentage is the share of requests that Mirror receives. All if absent.
	// +optional
	MirrorPercentage *Percent `json:"mirrorPercentage,omitempty"`

	// MirrorPercent is the older, whole-numbered form of MirrorPercentage, which
	// wins over it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MirrorPercent *int32 `json:"mirrorPercent,omitempty"`

	// CORSPolicy answers preflight requests and marks the responses of others.
	// +optional
	CORSPolicy *CORSPolicy `json:"corsPolicy,omitempty"`

	// Headers of requests and responses that are changed.
	// +optional
	Headers *Headers `json:"headers,omitempty"`
}

// HTTPRouteDestination is one target of an HTTP route.
type HTTPRouteDestination struct {
	// Destination of the requests.
	// +required
	Destination Destination `json:"destination"`

	// Weight is the share of this destination, relative to the sum of all weights
	// of the route. May be left out if the route has one destination.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Weight *int32 `json:"weight,omitempty"`

	// Headers that are changed for this destination, after those of the route.
	// +optional
	Headers *Headers `json:"headers,omitempty"`
}

// Headers groups the changes of both directions.
type Headers struct {
	// Request headers, changed before the request is forwarded.
	// +optional
	Request *HeaderOperations `json:"request,omitempty"`

	// Response headers, changed before the response is returned.
	// +optional
	Response *HeaderOperations `json:"response,omitempty"`
}

// HeaderOperations changes headers; names are not case-sensitive.
type HeaderOperations struct {
	// Set replaces a header, or adds it.
	// +optional
	// +kubebuilder:validation:MaxProperties=128
	Set map[string]string `json:"set,omitempty"`

	// Add appends a value beside those that are there.
	// +optional
	// +kubebuilder:validation:MaxProperties=128
	Add map[string]string `json:"add,omitempty"`

	// Remove drops headers.
	// +optional
	// +kubebuilder:validation:MaxItems=128
	Remove []string `json:"remove,omitempty"`
}

// Delegate names the VirtualService whose rules take over.
type Delegate struct {
	// Name of the delegate.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name,omitempty"`

	// Namespace of the delegate; that of the root if empty.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	Namespace string `json:"namespace,omitempty"`
}

// HTTPMirrorPolicy is one receiver of copied requests.
type HTTPMirrorPolicy struct {
	// Destination of the copies.
	// +required
	Destination Destination `json:"destination"`

	// Percentage of requests that are copied. All if absent.
	// +optional
	Percentage *Percent `json:"percentage,omitempty"`
}
