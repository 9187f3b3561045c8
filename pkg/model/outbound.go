package model

import "net/netip"

// Frontend is a port of a mesh host as its clients see it.
type Frontend struct {
	// Name is that of the cluster without subset, "svc/<namespace>/<host>/<port>"; for HTTP also of its route table.
	Name     string
	ID       ClusterID
	Protocol Protocol
	// Addresses are the virtual IPs and CIDRs; empty for a host that is known by name only.
	Addresses []netip.Prefix
	// HTTP are its routes when the protocol is HTTP.
	HTTP *VirtualHost
	// TCP are its routes otherwise, the default one included.
	TCP     []TCPRoute
	Origins []Ref
}

// SourceNamespaceKey and the others are the filter state that a stub listener sets on a connection, for routes to match on.
const (
	SourceNamespaceKey = "fairlead.source.namespace"
	SourceLabelsKey    = "fairlead.source.labels"
	SourceIdentityKey  = "fairlead.source.identity"
)

// MeshTag and HostTag are the first part of a scope key: by the address of a Service, or by :authority.
const (
	MeshTag = "mesh"
	HostTag = "host"
)

// HostTable names the route table that serves mesh hosts by :authority.
const HostTable = "outbound/hosts"

// OutboundListener names the shared internal listener that holds the service chains once a node.
const OutboundListener = "outbound"
