package translate

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// grpcNames makes what gRPC clients ask for and nobody else, when one asks: a mesh without gRPC clients keeps none of it,
// and an edit of routes makes none. A Listener of the name that a client dials says nothing but the name of a route table;
// a cluster without endpoints stands for each that does not exist, since a client would wait 15 s to learn that, with all
// routes that came with it.
type grpcNames struct {
	names  *table.Output[*resolve.Scope]
	domain string // ".svc.cluster.local"
}

func newGRPCNames(e *table.Engine, res *resolve.Resolved) grpcNames {
	return grpcNames{table.Publish(resolve.GRPCNames(e, res.Outbound)), ".svc." + res.Config.ClusterDomain}
}

// made is a resource that no table has, or nil. Its position is 0: it says nothing that could be older than what a client
// has.
func (g grpcNames) made(s *table.Snapshot, typeURL, name string) *snapshot.Resource {
	var m proto.Message
	var origins []model.Ref
	switch typeURL {
	case resource.ListenerType:
		to, ok := g.find(s, name)
		if !ok {
			return nil
		}
		m, origins = APIListener(name, to.Table), []model.Ref{to.Origin}
	case resource.ClusterType:
		m = noEndpoints(name, "no such destination")
	default:
		return nil
	}
	r, err := snapshot.Encode(name, m, 0, origins...)
	if err != nil {
		return nil // a name that is not UTF-8
	}
	r.Variant = snapshot.GRPCVariant
	return r
}

// find reads a name as a client dials it: "host:port", of a Service also "name.namespace:port" and
// "name.namespace.svc:port".
func (g grpcNames) find(s *table.Snapshot, name string) (*resolve.Scope, bool) {
	if to, ok := g.names.Get(s, name); ok {
		return to, true
	}
	to, ok := g.names.Get(s, g.full(name))
	return to, ok && to.Origin.Kind == "Service"
}

// full completes the short name of a Service.
func (g grpcNames) full(name string) string {
	host, port, _ := strings.Cut(name, ":")
	return strings.TrimSuffix(host, ".svc") + g.domain + ":" + port
}

// keys are the listeners that a changed name stands for.
func (g grpcNames) keys(name string) []snapshot.Key {
	spellings := []string{name}
	host, port, _ := strings.Cut(name, ":")
	if short, ok := strings.CutSuffix(host, g.domain); ok {
		spellings = append(spellings, short+":"+port, short+".svc:"+port)
	}
	keys := make([]snapshot.Key, len(spellings))
	for i, n := range spellings {
		keys[i] = snapshot.Key{Type: resource.ListenerType, Name: n, Variant: snapshot.GRPCVariant}
	}
	return keys
}

// APIListener is what a gRPC client learns of a name that it dials: the route table, and the filters that its routes may
// configure (gRFC A27, A33).
func APIListener(name, routes string) *listenerv3.Listener {
	return &listenerv3.Listener{Name: name, ApiListener: &listenerv3.ApiListener{ApiListener: pack(&hcmv3.HttpConnectionManager{
		StatPrefix: "grpc",
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			RouteConfigName: routes,
			ConfigSource:    &corev3.ConfigSource{ConfigSourceSpecifier: ads().ConfigSourceSpecifier, ResourceApiVersion: corev3.ApiVersion_V3},
		}},
		HttpFilters: []*hcmv3.HttpFilter{httpFilter(faultFilter, &faultv3.HTTPFault{}), httpFilter(routerFilter, &routerv3.Router{})},
	})}}
}

// grpcRows are the rows that a resource has for gRPC clients, where it is not fit for them as it is.
func grpcRows(name string, namespaces []string) []string {
	rows := []string{rowKey(name, snapshot.GRPCVariant)}
	for _, ns := range namespaces {
		rows = append(rows, rowKey(name, snapshot.GRPCVariant+"/"+ns))
	}
	return rows
}

// grpcClient tells whether a variant is for gRPC clients, and of which namespace; it is empty for those that do not say.
func grpcClient(variant string) (namespace string, ok bool) {
	rest, ok := strings.CutPrefix(variant, snapshot.GRPCVariant)
	return strings.TrimPrefix(rest, "/"), ok
}

// declareGRPCRoutes triggers the route tables that gRPC clients need in another form, and those of frontends without an
// address, which Envoy finds by name in a table for all.
func (o *Outputs) declareGRPCRoutes() table.Trigger {
	return table.NewIndex(o.res.Outbound.Frontends, "route tables for grpc clients", func(key string, f *model.Frontend) []string {
		if f.HTTP == nil || len(f.Addresses) > 0 && fitsGRPC(f.HTTP) {
			return nil
		}
		return grpcRows(key, sourceNamespaces(f.HTTP))
	})
}
