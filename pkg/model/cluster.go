package model

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Protocol is what a port speaks.
type Protocol string

// The protocols, from appProtocol, then the port name's prefix, then TCP.
const (
	ProtoTCP   Protocol = "TCP"
	ProtoHTTP  Protocol = "HTTP"
	ProtoHTTP2 Protocol = "HTTP2"
	ProtoGRPC  Protocol = "GRPC"
	ProtoHTTPS Protocol = "HTTPS"
	ProtoTLS   Protocol = "TLS"
	ProtoUDP   Protocol = "UDP"
)

// IsHTTP tells that requests can be routed one by one.
func (p Protocol) IsHTTP() bool { return p == ProtoHTTP || p == ProtoHTTP2 || p == ProtoGRPC }

// IsTLS tells that the first bytes are a TLS hello with a server name.
func (p Protocol) IsTLS() bool { return p == ProtoHTTPS || p == ProtoTLS }

// Host is a destination that can be named in a route: a Service or one host of a ServiceEntry.
// Its table key is "namespace/hostname".
type Host struct {
	Namespace string
	// Name is the host name ("reviews.default.svc.cluster.local", "api.example.com", "*.example.com").
	Name string
	// Origin is the Service or ServiceEntry.
	Origin Ref
	Ports  []HostPort
	// Addresses are the virtual IPs or CIDRs; Headless tells that there are none on purpose.
	Addresses  []netip.Prefix
	Headless   bool
	Resolution Resolution
	External   bool // MESH_EXTERNAL
	// ExportTo lists the namespaces that may see it; empty or "*" means all.
	ExportTo []string
	// Selector picks pods and WorkloadEntries of a ServiceEntry (workloadSelector); for a Service, whose pods are in its
	// EndpointSlices, WorkloadEntries only.
	Selector map[string]string
	// Inline are the endpoints that a ServiceEntry lists.
	Inline []WorkloadEndpoint
	// SubjectAltNames that the server's certificate must have (ServiceEntry).
	SubjectAltNames []string
	// Created orders conflicting definitions.
	Created time.Time
	// Service is the key of the Service, for its EndpointSlices.
	Service         string
	PublishNotReady bool
	SessionAffinity bool
	ExternalName    string
	// Near is what the Service says of endpoints near the client.
	Near Nearness
	// Audience are the clients that see it.
	Audience *Audience
}

// Nearness prefers endpoints near the client.
type Nearness string

// What a Service may say: trafficDistribution PreferSameZone (PreferClose) and PreferSameNode prefer them as long as there
// are any; internalTrafficPolicy Local takes no others.
const (
	NearZone Nearness = "zone"
	NearNode Nearness = "node"
	OnlyNode Nearness = "only node"
)

// Key is the table key.
func (h *Host) Key() string { return h.Namespace + "/" + h.Name }

// Port finds a port by number, or nil.
func (h *Host) Port(number uint16) *HostPort {
	for i := range h.Ports {
		if h.Ports[i].Number == number {
			return &h.Ports[i]
		}
	}
	return nil
}

// HostPort is one port of a Host.
type HostPort struct {
	Name     string
	Number   uint16
	Target   uint16 // port of the endpoint when it is a fixed number of a ServiceEntry; 0: same, or by slice
	Protocol Protocol
	// TargetName is the name of a Service's targetPort, for WorkloadEntries that it selects.
	TargetName string
}

// Resolution is how the endpoints of a Host are found.
type Resolution string

// The resolutions of a ServiceEntry; a Service with a selector is ResolveEDS.
const (
	ResolveEDS           Resolution = "EDS"
	ResolveNone          Resolution = "NONE" // to the address that the client asked for
	ResolveDNS           Resolution = "DNS"
	ResolveDNSRoundRobin Resolution = "DNS_ROUND_ROBIN"
)

// WorkloadEndpoint is an endpoint by name or address, from a ServiceEntry or WorkloadEntry.
type WorkloadEndpoint struct {
	Address        string
	Ports          map[string]uint16
	Labels         map[string]string
	Locality       Locality
	Weight         uint32
	Network        string
	ServiceAccount string
}

// ClusterID is the parsed form of a cluster's name: svc/<namespace>/<host>/<port>[/<subset>].
type ClusterID struct {
	Namespace, Host string
	Port            uint16
	Subset          string
}

// String is the cluster's name, which is also its EDS name.
func (c ClusterID) String() string {
	s := "svc/" + c.Namespace + "/" + c.Host + "/" + strconv.Itoa(int(c.Port))
	if c.Subset != "" {
		s += "/" + c.Subset
	}
	return s
}

// HostKey is the table key of the Host.
func (c ClusterID) HostKey() string { return c.Namespace + "/" + c.Host }

// ParseClusterID is the inverse of String.
func ParseClusterID(name string) (ClusterID, bool) {
	p := strings.Split(name, "/")
	if len(p) < 4 || len(p) > 5 || p[0] != "svc" {
		return ClusterID{}, false
	}
	n, err := strconv.ParseUint(p[3], 10, 16)
	if err != nil {
		return ClusterID{}, false
	}
	id := ClusterID{Namespace: p[1], Host: p[2], Port: uint16(n)}
	if len(p) == 5 {
		id.Subset = p[4]
	}
	return id, true
}

// Cluster is one upstream: a port of a Host, or a subset of it.
type Cluster struct {
	ID       ClusterID
	Protocol Protocol
	Discovery
	// Policy is what DestinationRules say for it, defaults filled in by the translation.
	Policy  TrafficPolicy
	Origins []Ref
	// Audience are the clients that see its host.
	Audience *Audience
}

// Discovery says how a cluster finds its hosts.
type Discovery struct {
	Resolution Resolution
	// DNS are the names to resolve, or addresses, when Resolution is a DNS one.
	DNS []ClusterEndpoint
	// UpstreamPort replaces the port that the client asked for when Resolution is ResolveNone; 0 keeps it.
	UpstreamPort uint16
}

// TrafficPolicy is the merged policy of a cluster.
type TrafficPolicy struct {
	LB      LoadBalancer
	Pool    ConnectionPool
	Outlier *Outlier
	TLS     *UpstreamTLS
	PROXY   int // PROXY protocol version to send, 0 none
	// RetryBudget bounds retries by the load; nil: ConnectionPool.MaxRetries does.
	RetryBudget *RetryBudget
	// Refused, when not empty, says why nothing may be sent: a security setting that cannot be met. Such a cluster has no
	// endpoints.
	Refused string
}

// RetryBudget allows Percent of the active and pending requests as retries, and always MinConcurrency of them.
type RetryBudget struct {
	Percent        float64
	MinConcurrency uint32
	Interval       time.Duration
}

// LBKind is a load-balancing algorithm.
type LBKind string

// The algorithms.
const (
	LBLeastRequest LBKind = "LEAST_REQUEST"
	LBRoundRobin   LBKind = "ROUND_ROBIN"
	LBRandom       LBKind = "RANDOM"
	LBPassthrough  LBKind = "PASSTHROUGH"
	LBRingHash     LBKind = "RING_HASH"
	LBMaglev       LBKind = "MAGLEV"
)

// LoadBalancer chooses a host of a cluster.
type LoadBalancer struct {
	Kind LBKind // empty: LEAST_REQUEST
	Hash *HashPolicy
	// RingMinimum and MaglevTable size the hash structures, 0 for Envoy's default.
	RingMinimum, MaglevTable uint64
	Warmup                   *Warmup
	Locality                 *LocalityLB
}

// Warmup raises the load of a new host slowly.
type Warmup struct {
	Duration       time.Duration
	MinimumPercent uint32
	Aggression     float64 // 0: 1.0
}

// LocalityLB prefers hosts that are near. Exactly one of the lists is set, or none for "same zone, region, rest".
type LocalityLB struct {
	Enabled          bool
	Distribute       []LocalityDistribute
	Failover         map[string]string // from region → to region
	FailoverPriority []string          // labels, "topology.kubernetes.io/region" …
}

// LocalityDistribute says where traffic from one locality goes, in percent.
type LocalityDistribute struct {
	From string
	To   map[string]uint32
}

// ConnectionPool bounds what a client opens.
type ConnectionPool struct {
	MaxConnections, MaxPending, MaxRequests, MaxRetries *uint32
	MaxRequestsPerConnection, MaxConcurrentStreams      *uint32
	ConnectTimeout, IdleTimeout, MaxDuration            *time.Duration
	TCPIdleTimeout                                      *time.Duration
	Keepalive                                           *Keepalive
	H2Upgrade                                           *bool
	UseClientProtocol                                   bool
	HTTP2Keepalive                                      *HTTP2Keepalive
}

// Keepalive is TCP keepalive.
type Keepalive struct {
	Probes         uint32
	Time, Interval time.Duration
}

// HTTP2Keepalive are PING frames; Timeout zero is Interval's half, at most 20 s.
type HTTP2Keepalive struct{ Interval, Timeout time.Duration }

// Outlier ejects hosts that fail.
type Outlier struct {
	Consecutive5xx, ConsecutiveGateway, ConsecutiveLocal *uint32
	SplitLocal                                           bool
	Interval, BaseEjection                               time.Duration
	MaxEjectionPercent                                   *uint32
	MinHealthPercent                                     uint32
	// ErrorCodes are the HTTP statuses that count as errors; empty: 5xx.
	ErrorCodes []uint32
}

// TLSMode is how connections to a cluster are secured.
type TLSMode string

// The modes of a DestinationRule's tls, and of BackendTLSPolicy (SIMPLE).
const (
	TLSDisable TLSMode = "DISABLE"
	TLSSimple  TLSMode = "SIMPLE"
	TLSMutual  TLSMode = "MUTUAL"
	TLSMesh    TLSMode = "ISTIO_MUTUAL"
)

// UpstreamTLS secures connections to a cluster. Secrets are names of SDS resources.
type UpstreamTLS struct {
	Mode             TLSMode
	SNI              string
	SubjectAltNames  []string
	CertificateName  string // SDS name of the client's certificate
	ValidationName   string // SDS name of the CA bundle; empty: the system's roots
	CertificateFile  string
	KeyFile, CAFile  string
	CRLFile          string
	InsecureNoVerify bool
}

// ClusterEndpoints is what EDS serves for one cluster.
type ClusterEndpoints struct {
	Cluster   string
	Endpoints []ClusterEndpoint
	// Locality asks for another set by the client's locality; nil serves all clients the same.
	Locality *LocalityLB
	// Near is NearNode or OnlyNode where the set differs by the client's node; empty otherwise.
	Near    Nearness
	Origins []Ref
}

// ClusterEndpoint is one host of a cluster, by address (or name, for DNS clusters) and port.
type ClusterEndpoint struct {
	Address  string
	Port     uint16
	Locality Locality
	Weight   uint32 // 0: 1
	// Draining hosts finish what they have (serving and terminating).
	Draining bool
	// Labels are kept only where a locality failover asks for them, Node only where the set differs by node.
	Labels map[string]string
	Node   string
}
