package admin

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/snapshot"
)

// Kinds are the kinds of /api/config and of proxy-config, with their type URLs. Routes come in whole tables or, for tables
// that are searched by :authority, as virtual hosts.
var Kinds = map[string][]string{
	"clusters":  {"type.googleapis.com/envoy.config.cluster.v3.Cluster"},
	"endpoints": {"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"},
	"listeners": {"type.googleapis.com/envoy.config.listener.v3.Listener"},
	"routes":    {"type.googleapis.com/envoy.config.route.v3.RouteConfiguration", "type.googleapis.com/envoy.config.route.v3.VirtualHost"},
	"scopes":    {"type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"},
	"secrets":   {"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"},
	"peers":     {"type.googleapis.com/fairlead.node.v1.Peer", "type.googleapis.com/fairlead.node.v1.PeerSet"},
	"trust":     {"type.googleapis.com/fairlead.node.v1.TrustBundle"},
	"verdicts":  {"type.googleapis.com/fairlead.node.v1.VerdictSet"},
	"workloads": {"type.googleapis.com/fairlead.node.v1.Workload"},
}

// Served is one resource that a node has.
type Served struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	Acked   bool   `json:"acked"`
	// Stub is set when a deny stub stands in for a resource that the node rejected.
	Stub bool `json:"stub,omitempty"`
	// Newer is the version that waits to be taken, when the node has another than the latest: Resource is the newer one then.
	Newer string `json:"newer,omitempty"`
	// Origins are the objects that it was made from.
	Origins []string `json:"origins,omitempty"`
	// Resource is Envoy's own message as JSON, without private keys; null when it exists no longer.
	Resource json.RawMessage `json:"resource"`
}

// NodeConfig is the answer of /api/config.
type NodeConfig struct {
	Node      string   `json:"node"`
	Kind      string   `json:"kind"`
	Resources []Served `json:"resources"`
}

func (s *Server) config(w http.ResponseWriter, r *http.Request) {
	node, kind := r.PathValue("node"), r.PathValue("kind")
	types, ok := Kinds[kind]
	if !ok {
		fail(w, http.StatusNotFound, "kind "+kind+" is none of "+strings.Join(slices.Sorted(maps.Keys(Kinds)), ", "))
		return
	}
	info, known := s.client(node)
	if !known {
		fail(w, http.StatusNotFound, s.nobody(node))
		return
	}
	snap := s.cfg.Source.Latest()
	out := NodeConfig{Node: node, Kind: kind, Resources: []Served{}}
	for _, has := range s.cfg.Resources(node) {
		if slices.Contains(types, has.Type) {
			out.Resources = append(out.Resources, served(snap, info.Node, has))
		}
	}
	answer(w, out)
}

// client gives the newest connection of a node.
func (s *Server) client(node string) (found push.ClientInfo, ok bool) {
	for _, c := range s.cfg.Clients() {
		if c.Node.ID == node {
			found, ok = c, true
		}
	}
	return found, ok
}

func (s *Server) nobody(node string) string {
	var ids []string
	for _, c := range s.cfg.Clients() {
		ids = append(ids, c.Node.ID)
	}
	if ids = slices.Compact(ids); len(ids) == 0 {
		return "node " + node + " is not connected, nor is any other: start an Envoy whose bootstrap names this server"
	}
	return "node " + node + " is not connected; connected are: " + strings.Join(ids, ", ")
}

func served(snap snapshot.Snapshot, node snapshot.Node, has push.ClientResource) Served {
	out := Served{Type: push.ShortType(has.Type), Name: has.Name, Version: has.Version, Acked: has.Acked, Stub: has.Stub, Resource: json.RawMessage("null")}
	if snap == nil {
		return out
	}
	res := snap.Lookup(node.Variants(), has.Type, has.Name)
	if res == nil {
		return out
	}
	if hash, _, ok := snapshot.ParseVersion(has.Version); !has.Stub && ok && hash != res.Hash {
		out.Newer = res.Version()
	}
	if has.Stub && res.Deny != nil {
		res = res.Deny
	}
	for _, o := range res.Origins {
		out.Origins = append(out.Origins, o.String())
	}
	out.Resource = ResourceJSON(res.Body)
	return out
}
