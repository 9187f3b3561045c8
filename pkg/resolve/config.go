package resolve

import (
	"net/netip"

	"fairlead.io/fairlead/pkg/verdict"
)

// Config is what an operator sets once for a mesh. It is equal on all replicas.
type Config struct {
	// ClusterDomain ends the names of Services ("cluster.local").
	ClusterDomain string
	// TrustDomain begins the SPIFFE identities of the mesh.
	TrustDomain string
	// ServiceCIDRs are the ranges that the addresses of Services are taken from.
	ServiceCIDRs []netip.Prefix
	// RootNamespace ("fairlead-system", "istio-system") holds mesh-wide defaults: of DestinationRules, and the Sidecar of
	// namespaces that have none.
	RootNamespace string
	// Controller is the name that a GatewayClass carries to be ours.
	Controller string
	// GatewayLabels are what the gateways of this mesh are called by: a Gateway of fairlead.io or networking.istio.io is
	// served when its selector is part of them.
	GatewayLabels map[string]string
	// GatewayAddress is bound by listeners of Gateways that ask for no address.
	GatewayAddress netip.Addr
	// HostTable also serves the mesh's hosts by :authority, for clients that reach the outbound listener without the
	// address of a Service (files mode).
	HostTable bool
	// Labels says which labels of pods are a part of their identity in policy. It is equal on all nodes too.
	Labels verdict.Filter
	// Stubs are the outbound listeners on fixed addresses.
	Stubs []Stub
}

// Stub is a small outbound listener: it says who the client is and hands the connection to the shared listener.
type Stub struct {
	// Name is the listener's; Address where it listens.
	Name    string
	Address netip.AddrPort
	// Namespace, ServiceAccount and Labels are the source's.
	Namespace, ServiceAccount string
	Labels                    map[string]string
}

// DefaultConfig is a mesh on one machine without a cluster.
func DefaultConfig() Config {
	return Config{
		ClusterDomain:  "cluster.local",
		TrustDomain:    "cluster.local",
		ServiceCIDRs:   []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")},
		RootNamespace:  "fairlead-system",
		Controller:     "fairlead.io/gateway-controller",
		GatewayLabels:  map[string]string{"istio": "ingressgateway", "app": "istio-ingressgateway", "fairlead.io/gateway": "node"},
		GatewayAddress: netip.IPv4Unspecified(),
		Labels:         verdict.Filter{Without: verdict.Generated()},
	}
}
