package v1alpha1

// LoadBalancerSettings is the choice among endpoints.
//
// +kubebuilder:validation:XValidation:rule="!(has(self.simple) && has(self.consistentHash))",message="simple and consistentHash exclude each other"
// +kubebuilder:validation:XValidation:rule="!(has(self.warmup) && has(self.warmupDurationSecs))",message="warmupDurationSecs is the older form of warmup: set one"
// +kubebuilder:validation:XValidation:rule="!(has(self.localityLbSetting) && has(self.zoneAwareLbSetting))",message="localityLbSetting and zoneAwareLbSetting exclude each other"
type LoadBalancerSettings struct {
	// Simple is an algorithm that needs no tuning. LEAST_REQUEST if absent.
	// +optional
	Simple SimpleLB `json:"simple,omitempty"`

	// ConsistentHash sends equal requests to equal endpoints.
	// +optional
	ConsistentHash *ConsistentHashLB `json:"consistentHash,omitempty"`

	// LocalityLBSetting spreads load over regions and zones.
	// +optional
	LocalityLBSetting *LocalityLoadBalancerSetting `json:"localityLbSetting,omitempty"`

	// ZoneAwareLBSetting keeps load in the client's zone as far as its endpoints
	// suffice.
	// +optional
	ZoneAwareLBSetting *ZoneAwareLoadBalancerSetting `json:"zoneAwareLbSetting,omitempty"`

	// Warmup gives a new endpoint its share slowly. For ROUND_ROBIN and
	// LEAST_REQUEST.
	// +optional
	Warmup *WarmupConfiguration `json:"warmup,omitempty"`

	// WarmupDurationSecs is the older form of Warmup: its duration alone.
	// +optional
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	WarmupDurationSecs Duration `json:"warmupDurationSecs,omitempty"`
}

// SimpleLB is an algorithm.
//
// +kubebuilder:validation:Enum=UNSPECIFIED;LEAST_CONN;RANDOM;PASSTHROUGH;ROUND_ROBIN;LEAST_REQUEST
type SimpleLB string

// The algorithms.
const (
	// SimpleLBUnspecified is the default, LEAST_REQUEST.
	SimpleLBUnspecified SimpleLB = "UNSPECIFIED"
	// SimpleLBLeastConn is the older name of LEAST_REQUEST.
	SimpleLBLeastConn SimpleLB = "LEAST_CONN"
	// SimpleLBRandom draws an endpoint.
	SimpleLBRandom SimpleLB = "RANDOM"
	// SimpleLBPassthrough uses the address that the client dialled.
	SimpleLBPassthrough SimpleLB = "PASSTHROUGH"
	// SimpleLBRoundRobin takes turns.
	SimpleLBRoundRobin SimpleLB = "ROUND_ROBIN"
	// SimpleLBLeastRequest prefers endpoints with fewer requests in flight.
	SimpleLBLeastRequest SimpleLB = "LEAST_REQUEST"
)

// ConsistentHashLB sends requests with an equal key to the same endpoint.
//
// +kubebuilder:validation:XValidation:rule="(has(self.httpHeaderName) ? 1 : 0) + (has(self.httpCookie) ? 1 : 0) + (has(self.useSourceIp) ? 1 : 0) + (has(self.httpQueryParameterName) ? 1 : 0) == 1",message="exactly one of httpHeaderName, httpCookie, useSourceIp or httpQueryParameterName must be set"
// +kubebuilder:validation:XValidation:rule="!(has(self.ringHash) && has(self.maglev))",message="ringHash and maglev exclude each other"
type ConsistentHashLB struct {
	// HTTPHeaderName is the header whose value is the key.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	HTTPHeaderName string `json:"httpHeaderName,omitempty"`

	// HTTPCookie is the cookie whose value is the key.
	// +optional
	HTTPCookie *HTTPCookie `json:"httpCookie,omitempty"`

	// UseSourceIP makes the client's address the key, for TCP as well.
	// +optional
	UseSourceIP *bool `json:"useSourceIp,omitempty"`

	// HTTPQueryParameterName is the query parameter whose value is the key.
	// +optional
	// +kubebuilder:validation:MaxLength=256
	HTTPQueryParameterName string `json:"httpQueryParameterName,omitempty"`

	// RingHash uses a ring; the default.
	// +optional
	RingHash *RingHash `json:"ringHash,omitempty"`

	// Maglev uses a fixed table.
	// +optional
	Maglev *Maglev `json:"maglev,omitempty"`

	// MinimumRingSize is the older form of RingHash.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinimumRingSize *int64 `json:"minimumRingSize,omitempty"`
}

// RingHash is a ring of endpoints.
type RingHash struct {
	// MinimumRingSize is the number of points on the ring; 1024 if absent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	MinimumRingSize *int64 `json:"minimumRingSize,omitempty"`
}

// Maglev is a table of endpoints.
type Maglev struct {
	// TableSize is a prime below 5000011; 65537 if absent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	TableSize *int64 `json:"tableSize,omitempty"`
}

// HTTPCookie is the cookie that keys a consistent hash.
type HTTPCookie struct {
	// Name of the cookie.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// Path of a generated cookie.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Path string `json:"path,omitempty"`

	// TTL of a generated cookie: present, a client without the cookie gets one;
	// "0s" makes it last for the browser's session.
	// +optional
	TTL Duration `json:"ttl,omitempty"`

	// Attributes of a generated cookie, such as SameSite.
	// +optional
	// +kubebuilder:validation:MaxItems=32
	Attributes []HTTPCookieAttribute `json:"attributes,omitempty"`
}

// HTTPCookieAttribute is an attribute of a generated cookie.
type HTTPCookieAttribute struct {
	// Name of the attribute.
	// +required
	// +kubebuilder:validation:MaxLength=256
	Name string `json:"name"`

	// Value of the attribute; some have none.
	// +optional
	// +kubebuilder:validation:MaxLength=4096
	Value string `json:"value,omitempty"`
}

// WarmupConfiguration is the slow start of new endpoints.
type WarmupConfiguration struct {
	// Duration until an endpoint has its full share.
	// +required
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1ms')",message="must be at least 1ms"
	Duration Duration `json:"duration"`

	// MinimumPercent of its share that an endpoint begins with; 10 if absent.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=100
	MinimumPercent *float64 `json:"minimumPercent,omitempty"`

	// Aggression bends the growth; 1 is a straight line, and the default.
	// +optional
	// +kubebuilder:validation:Minimum=0
	Aggression *float64 `json:"aggression,omitempty"`
}

// LocalityLoadBalancerSetting spreads load over localities, which are written
// "region/zone/subzone" with "*" for the rest.
//
// +kubebuilder:validation:XValidation:rule="!has(self.distribute) || !(has(self.failover) || has(self.failoverPriority))",message="distribute excludes failover and failoverPriority"
type LocalityLoadBalancerSetting struct {
	// Distribute gives shares by the client's locality.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Distribute []LocalityDistribute `json:"distribute,omitempty"`

	// Failover names the region that takes over from another.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Failover []LocalityFailover `json:"failover,omitempty"`

	// FailoverPriority are labels, "key" or "key=value": the more of them, from
	// the first on, an endpoint shares with the client, the sooner it is used.
	// +optional
	// +kubebuilder:validation:MaxItems=32
	FailoverPriority []string `json:"failoverPriority,omitempty"`

	// Enabled turns locality load balancing on or off for the host.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`
}

// LocalityDistribute gives the shares for clients of one locality.
type LocalityDistribute struct {
	// From is the clients' locality.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	From string `json:"from,omitempty"`

	// To maps localities to percentages whose sum is 100.
	// +optional
	// +kubebuilder:validation:MaxProperties=256
	To map[string]int32 `json:"to,omitempty"`
}

// LocalityFailover is the replacement of one region by another.
type LocalityFailover struct {
	// From is the region that fails.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	From string `json:"from,omitempty"`

	// To is the region that takes over.
	// +optional
	// +kubebuilder:validation:MaxLength=2048
	To string `json:"to,omitempty"`
}

// ZoneAwareLoadBalancerSetting keeps load in the client's zone.
type ZoneAwareLoadBalancerSetting struct {
	// Enabled turns zone awareness on or off for the host.
	// +optional
	Enabled *bool `json:"enabled,omitempty"`

	// Failover names the region that takes over from another.
	// +optional
	// +kubebuilder:validation:MaxItems=256
	Failover []LocalityFailover `json:"failover,omitempty"`

	// FailoverPriority are labels as in LocalityLoadBalancerSetting, region and
	// zone excluded.
	// +optional
	// +kubebuilder:validation:MaxItems=32
	FailoverPriority []string `json:"failoverPriority,omitempty"`

	// MinClusterSize is the number of endpoints below which zones are ignored; 6
	// if absent.
	// +optional
	// +kubebuilder:validation:Minimum=1
	MinClusterSize *int64 `json:"minClusterSize,omitempty"`
}
