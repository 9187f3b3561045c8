package push

// The types that have a place in the order. Any other type is served without one.
const (
	clusterType     = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType    = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	secretType      = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
	listenerType    = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routeType       = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	scopedRouteType = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
	virtualHostType = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	workloadType    = "type.googleapis.com/fairlead.node.v1.Workload"
	trustType       = "type.googleapis.com/fairlead.node.v1.TrustBundle"
	peerType        = "type.googleapis.com/fairlead.node.v1.Peer"
	peerSetType     = "type.googleapis.com/fairlead.node.v1.PeerSet"
	verdictType     = "type.googleapis.com/fairlead.node.v1.VerdictSet"
)

// kind is what the protocol says about a type.
type kind struct {
	url string
	// rank is the place in the order of additions; removals go the other way.
	rank int
	// free types are never held: their changes travel at once, from the newest snapshot.
	free bool
	// wildcard types are subscribed to as a whole by a first request that names nothing (xDS protocol, "wildcard").
	// Envoy does so for CDS, LDS, SRDS and, because it must not send the namespace, VHDS; an agent for its pods, the trust
	// bundles and the peers.
	wildcard bool
}

func kindOf(url string) kind {
	k := kind{url: url}
	switch url {
	case clusterType:
		k.rank, k.wildcard = 0, true
	case endpointType:
		k.rank, k.free = 1, true
	case secretType:
		k.rank, k.free = 2, true
	case listenerType:
		k.rank, k.wildcard = 3, true
	case routeType:
		k.rank = 4
	case scopedRouteType:
		k.rank, k.wildcard = 5, true
	case virtualHostType:
		k.rank, k.wildcard = 6, true
	case peerType: // a verdict is about peers that the agent knows, and the sets that it names
		k.rank, k.wildcard = 8, true
	case peerSetType:
		k.rank = 8
	case verdictType:
		k.rank = 9
	default:
		k.rank, k.free, k.wildcard = 7, true, true
	}
	return k
}

// ShortType is the last part of a type URL, as people call the type: "Cluster".
func ShortType(url string) string { return short(url) }

// short is the last part of a type URL, for people and metric labels.
func short(url string) string {
	for i := len(url) - 1; i >= 0; i-- {
		if url[i] == '.' || url[i] == '/' {
			return url[i+1:]
		}
	}
	return url
}

// label bounds the values of a metric's type label: strangers choose type URLs.
func label(url string) string {
	switch url {
	case clusterType, endpointType, secretType, listenerType, routeType, scopedRouteType, virtualHostType,
		workloadType, trustType, peerType, peerSetType, verdictType:
		return short(url)
	}
	return "other"
}
