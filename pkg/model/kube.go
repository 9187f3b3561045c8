package model

import (
	"net/netip"
)

// Namespace is a Kubernetes namespace: its labels select routes and policies.
type Namespace struct{ Meta }

// Node is where pods and one Envoy run.
type Node struct {
	Meta
	Locality  Locality
	Addresses []netip.Addr
	Ready     bool
}

// The labels of a locality, on nodes and in failover priorities.
const (
	RegionLabel  = "topology.kubernetes.io/region"
	ZoneLabel    = "topology.kubernetes.io/zone"
	SubZoneLabel = "topology.istio.io/subzone"
)

// Locality is region, zone and sub-zone, from the topology.kubernetes.io labels or a WorkloadEntry.
type Locality struct{ Region, Zone, SubZone string }

// String is "region/zone/subzone" without empty tails, as Istio writes it.
func (l Locality) String() string {
	switch {
	case l.SubZone != "":
		return l.Region + "/" + l.Zone + "/" + l.SubZone
	case l.Zone != "":
		return l.Region + "/" + l.Zone
	}
	return l.Region
}

// Pod is a workload instance. Finished pods (Succeeded, Failed) are not read.
type Pod struct {
	Meta
	Node           string
	ServiceAccount string
	HostNetwork    bool
	// Static pods are written by a kubelet, in whatever namespace it likes, and can name no ServiceAccount: they have no identity.
	Static    bool
	Addresses []netip.Addr
	Ready     bool
	// Workload is what owns the pod, "Deployment/reviews"; empty for a pod by itself.
	Workload string
	// Ports are the declared container ports that have a name, in the order of containers.
	Ports []ContainerPort
}

// ContainerPort is a port that a container declares by name.
type ContainerPort struct {
	Name     string
	Protocol string // TCP, UDP, SCTP
	Number   uint16
}

// Port finds a declared port by its name; 0 when there is none.
func (p *Pod) Port(name string) uint16 {
	for _, c := range p.Ports {
		if c.Name == name {
			return c.Number
		}
	}
	return 0
}

// Service is a Kubernetes Service.
type Service struct {
	Meta
	Type            string // ClusterIP, NodePort, LoadBalancer, ExternalName
	Addresses       []netip.Addr
	Headless        bool
	ExternalName    string
	Selector        map[string]string
	Ports           []ServicePort
	SessionAffinity bool // ClientIP
	// PublishNotReady serves endpoints that are not ready.
	PublishNotReady bool
	// InternalLocal is internalTrafficPolicy: Local; Distribution is trafficDistribution.
	InternalLocal bool
	Distribution  string
}

// ServicePort is one port of a Service. Target is a number or the name of a container port.
type ServicePort struct {
	Name        string
	Number      uint16
	Protocol    string // TCP, UDP, SCTP
	AppProtocol string
	Target      string
}

// EndpointSlice is a part of the endpoints of one Service.
type EndpointSlice struct {
	Meta
	Service   string // the Service's name in the same namespace; empty when not owned by one
	Ports     []EndpointPort
	Endpoints []Endpoint
}

// EndpointPort is a port that all endpoints of a slice listen on.
type EndpointPort struct {
	Name        string
	Number      uint16
	Protocol    string
	AppProtocol string
}

// Endpoint is one backend of a slice. A terminating endpoint that still serves is kept, draining.
type Endpoint struct {
	Addresses   []netip.Addr
	Ready       bool
	Serving     bool
	Terminating bool
	Node        string
	Zone        string
	ZoneHints   []string
	NodeHints   []string
	// Pod is the table key of the target pod ("namespace/name"), or empty.
	Pod string
}

// Secret is a Secret that may hold TLS material. Data is never logged or dumped.
type Secret struct {
	Meta
	Type string // kubernetes.io/tls, Opaque …
	Data SecretData
}

// SecretData prints as its keys only.
type SecretData map[string][]byte

// String names the keys and keeps the values back.
func (d SecretData) String() string {
	s := "{"
	for k := range d {
		s += k + " "
	}
	return s + "}"
}

// GoString keeps %#v from printing keys.
func (d SecretData) GoString() string { return d.String() }

// MarshalJSON keeps the values out of every dump.
func (d SecretData) MarshalJSON() ([]byte, error) { return []byte(`"redacted"`), nil }

// ConfigMap holds CA bundles (key ca.crt).
type ConfigMap struct {
	Meta
	Data map[string]string
}
