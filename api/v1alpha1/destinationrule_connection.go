package v1alpha1

// ConnectionPoolSettings limits connections and requests to a service.
type ConnectionPoolSettings struct {
	// TCP settings, which HTTP connections obey too.
	// +optional
	TCP *TCPSettings `json:"tcp,omitempty"`

	// HTTP settings.
	// +optional
	HTTP *HTTPSettings `json:"http,omitempty"`
}

// TCPSettings are the limits of connections.
type TCPSettings struct {
	// MaxConnections to the service; no limit if absent or 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MaxConnections *int32 `json:"maxConnections,omitempty"`

	// ConnectTimeout bounds the handshake; 10s if absent.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	ConnectTimeout Duration `json:"connectTimeout,omitempty"`

	// TCPKeepalive turns keepalive probes on.
	// +optional
	TCPKeepalive *TCPKeepalive `json:"tcpKeepalive,omitempty"`

	// MaxConnectionDuration closes a connection at this age.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	MaxConnectionDuration Duration `json:"maxConnectionDuration,omitempty"`

	// IdleTimeout closes a connection without traffic; 1h if absent, never if "0s".
	// +optional
	IdleTimeout Duration `json:"idleTimeout,omitempty"`
}

// TCPKeepalive are the kernel's probes; what is absent is the kernel's default.
type TCPKeepalive struct {
	// Probes without an answer until the connection is dead.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Probes *int32 `json:"probes,omitempty"`

	// Time without traffic until the first probe.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	Time Duration `json:"time,omitempty"`

	// Interval between probes.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	Interval Duration `json:"interval,omitempty"`
}

// HTTPSettings are the limits of requests.
type HTTPSettings struct {
	// HTTP1MaxPendingRequests that wait for a connection, HTTP/2 included; no
	// limit if absent or 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	HTTP1MaxPendingRequests *int32 `json:"http1MaxPendingRequests,omitempty"`

	// HTTP2MaxRequests in flight, HTTP/1.1 included; no limit if absent or 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	HTTP2MaxRequests *int32 `json:"http2MaxRequests,omitempty"`

	// MaxRequestsPerConnection closes a connection after so many; 1 turns
	// keep-alive off, absent or 0 is no limit.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=536870912
	MaxRequestsPerConnection *int32 `json:"maxRequestsPerConnection,omitempty"`

	// MaxRetries in flight; no limit if absent or 0.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MaxRetries *int32 `json:"maxRetries,omitempty"`

	// IdleTimeout closes a connection without requests; 1h if absent, never if
	// "0s".
	// +optional
	IdleTimeout Duration `json:"idleTimeout,omitempty"`

	// H2UpgradePolicy says whether HTTP/1.1 goes to the endpoints as HTTP/2.
	// +optional
	H2UpgradePolicy H2UpgradePolicy `json:"h2UpgradePolicy,omitempty"`

	// UseClientProtocol keeps the HTTP version that the client speaks.
	// +optional
	UseClientProtocol bool `json:"useClientProtocol,omitempty"`

	// MaxConcurrentStreams on one HTTP/2 connection.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MaxConcurrentStreams *int32 `json:"maxConcurrentStreams,omitempty"`

	// HTTP2KeepAlive sends PING frames.
	// +optional
	HTTP2KeepAlive *HTTP2KeepAlive `json:"http2KeepAlive,omitempty"`
}

// HTTP2KeepAlive are PING frames on idle HTTP/2 connections.
type HTTP2KeepAlive struct {
	// Interval between frames.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	Interval Duration `json:"interval,omitempty"`

	// Timeout until a frame without an answer closes the connection.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	Timeout Duration `json:"timeout,omitempty"`
}

// H2UpgradePolicy is whether requests are upgraded to HTTP/2.
//
// +kubebuilder:validation:Enum=DEFAULT;DO_NOT_UPGRADE;UPGRADE
type H2UpgradePolicy string

// The policies; DEFAULT does not upgrade unless the mesh says so.
const (
	H2UpgradeDefault H2UpgradePolicy = "DEFAULT"
	H2UpgradeNever   H2UpgradePolicy = "DO_NOT_UPGRADE"
	H2UpgradeAlways  H2UpgradePolicy = "UPGRADE"
)

// OutlierDetection ejects endpoints that fail.
type OutlierDetection struct {
	// ConsecutiveErrors is the older form of ConsecutiveGatewayErrors, which wins.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ConsecutiveErrors *int32 `json:"consecutiveErrors,omitempty"`

	// SplitExternalLocalOriginErrors counts failures to connect apart from error
	// answers.
	// +optional
	SplitExternalLocalOriginErrors bool `json:"splitExternalLocalOriginErrors,omitempty"`

	// ConsecutiveLocalOriginFailures to connect until ejection; needs the split.
	// 0 turns this cause off.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ConsecutiveLocalOriginFailures *int32 `json:"consecutiveLocalOriginFailures,omitempty"`

	// ConsecutiveGatewayErrors (502, 503, 504, or a failed connection) until
	// ejection. 0 turns this cause off; so does absence.
	// +optional
	// +kubebuilder:validation:Minimum=0
	ConsecutiveGatewayErrors *int32 `json:"consecutiveGatewayErrors,omitempty"`

	// Consecutive5xxErrors (any 5xx, or a failed connection) until ejection; 5 if
	// absent, 0 turns this cause off.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Consecutive5xxErrors *int32 `json:"consecutive5xxErrors,omitempty"`

	// Interval between sweeps; 10s if absent.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	Interval Duration `json:"interval,omitempty"`

	// BaseEjectionTime is multiplied by how often the endpoint has been ejected;
	// 30s if absent.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	BaseEjectionTime Duration `json:"baseEjectionTime,omitempty"`

	// MaxEjectionPercent of the endpoints that may be out at a time; 10 if absent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MaxEjectionPercent *int32 `json:"maxEjectionPercent,omitempty"`

	// MinHealthPercent below which health is ignored and all endpoints are used;
	// 0, never, if absent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MinHealthPercent *int32 `json:"minHealthPercent,omitempty"`

	// OutlierDetectionHTTPErrorCodes are the statuses that count as errors; 5xx if
	// absent.
	// +optional
	// +kubebuilder:validation:MaxItems=500
	// +kubebuilder:validation:items:Minimum=100
	// +kubebuilder:validation:items:Maximum=599
	OutlierDetectionHTTPErrorCodes []int32 `json:"outlierDetectionHttpErrorCodes,omitempty"`
}

// ClientTLSSettings is the TLS from the mesh's clients to a service.
//
// +kubebuilder:validation:XValidation:rule="!has(self.mode) || self.mode != 'MUTUAL' || has(self.credentialName) || (has(self.clientCertificate) && has(self.privateKey))",message="mode MUTUAL needs credentialName, or clientCertificate and privateKey"
type ClientTLSSettings struct {
	// Mode says whether TLS is spoken and who shows a certificate. DISABLE if
	// absent.
	// +optional
	Mode ClientTLSMode `json:"mode,omitempty"`

	// ClientCertificate is a path to the client's certificate chain, PEM.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	ClientCertificate string `json:"clientCertificate,omitempty"`

	// PrivateKey is a path to the client's key, PEM.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	PrivateKey string `json:"privateKey,omitempty"`

	// CACertificates is a path to the authorities of the server's certificate,
	// PEM.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	CACertificates string `json:"caCertificates,omitempty"`

	// CredentialName is the Secret (or, for authorities alone, the ConfigMap) that
	// holds certificate, key and authorities.
	// +optional
	// +kubebuilder:validation:MaxLength=317
	CredentialName string `json:"credentialName,omitempty"`

	// SubjectAltNames are names one of which the server's certificate must carry.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	SubjectAltNames []string `json:"subjectAltNames,omitempty"`

	// SNI is the server name that is asked for; the request's host if absent.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	SNI string `json:"sni,omitempty"`

	// InsecureSkipVerify accepts any server certificate.
	// +optional
	InsecureSkipVerify *bool `json:"insecureSkipVerify,omitempty"`

	// CACRL is a path to a revocation list for the server's certificate, PEM.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	CACRL string `json:"caCrl,omitempty"`
}

// ClientTLSMode is how TLS is spoken to a service.
//
// +kubebuilder:validation:Enum=DISABLE;SIMPLE;MUTUAL;ISTIO_MUTUAL
type ClientTLSMode string

// The modes.
const (
	// ClientTLSDisable speaks no TLS.
	ClientTLSDisable ClientTLSMode = "DISABLE"
	// ClientTLSSimple verifies the server.
	ClientTLSSimple ClientTLSMode = "SIMPLE"
	// ClientTLSMutual shows a certificate as well.
	ClientTLSMutual ClientTLSMode = "MUTUAL"
	// ClientTLSIstioMutual is the mesh's own mutual TLS.
	ClientTLSIstioMutual ClientTLSMode = "ISTIO_MUTUAL"
)
