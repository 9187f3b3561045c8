package resolve

import "fairlead.io/fairlead/pkg/model"

// MeshConfig is the Config of a Binding that applies to clients of the mesh rather than to a gateway.
const MeshConfig = "mesh"

// Binding is what one route object contributes to one host of one route table.
type Binding struct {
	// Config is the route table: ServerConfig of a server, or MeshConfig.
	Config string
	// Host is the host name in it: exact, "*.x" or "*". In the mesh it is a Hosts name, or a name that nobody defines.
	Host string
	// Routes in the object's own order of precedence.
	Routes []model.Route
	// Ranks order the routes of HTTPRoutes across objects, one for each of Routes; nil for other kinds.
	Ranks []Rank
	Meta  *model.Meta
	// Server is the key of the server it binds to, empty in the mesh.
	Server string
	// Visible are the namespaces whose clients see the object (exportTo) in the mesh; empty means all. Others get what
	// the host has without it.
	Visible []string
}

// TCPBinding is what one route object contributes to the connections of a server or of the mesh.
type TCPBinding struct {
	// Config is the bind ("0.0.0.0:9000") of the server, or MeshConfig.
	Config string
	// Host is the mesh host that the route is for (the Hosts key), empty at a gateway.
	Host  string
	Route model.TCPRoute
	// TLS tells that the route matches on the server name of a TLS hello that is passed through.
	TLS    bool
	Meta   *model.Meta
	Server string
}

// RouteState is a route object, resolved.
type RouteState struct {
	Bindings []Binding
	TCP      []TCPBinding
	Status   model.ObjectStatus

	// attached are the listeners of Gateway API Gateways that took the route (listenerKey).
	attached []string
}

// GatewayState is a gateway object of either kind, resolved.
type GatewayState struct {
	Servers []model.Server
	Status  model.ObjectStatus

	// listeners are what HTTPRoutes attach to; nil for other kinds, and for a Gateway that is not ours.
	listeners []gatewayListener
}

// bindingKey is how bindings are indexed: "config|host".
func bindingKey(config, host string) string { return config + "|" + host }

// bindingKeys indexes a RouteState by the hosts that it contributes to.
func bindingKeys(_ string, s *RouteState) []string {
	keys := make([]string, len(s.Bindings))
	for i := range s.Bindings {
		keys[i] = bindingKey(s.Bindings[i].Config, s.Bindings[i].Host)
	}
	return keys
}
