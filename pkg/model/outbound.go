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
	// Audience are the clients that see its host.
	Audience *Audience
}

// SourceNamespaceKey and the others are the filter state that a stub listener sets on a connection, for routes to match on.
const (
	SourceNamespaceKey = "fairlead.source.namespace"
	SourceLabelsKey    = "fairlead.source.labels"
	SourceIdentityKey  = "fairlead.source.identity"
)

// MeshTag is the first part of the scope keys of hosts that are found by the address of their Service.
const MeshTag = "mesh"

// HostTable names the route table that serves mesh hosts by :authority.
const HostTable = "outbound/hosts"

// OutboundListener names the shared internal listener that holds the service chains once a node.
const OutboundListener = "outbound"
