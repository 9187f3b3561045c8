package translate

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

const (
	hcmFilter    = "envoy.filters.network.http_connection_manager"
	routerFilter = "envoy.filters.http.router"
)

// HCMOptions say which connection manager to make.
type HCMOptions struct {
	StatPrefix string
	// RouteConfig names the route table. Where Scoped is set, the table is chosen by scope instead: Tag, then the address
	// that the client asked for (see HCM).
	RouteConfig string
	Scoped      bool
	Tag         string
	// Gateway marks the edge of the mesh, whose clients are not trusted: their addresses are taken from the connection,
	// escaped slashes are resolved, slow requests and idle streams end.
	Gateway bool
	// AccessLog writes a line of JSON to standard output for each request.
	AccessLog bool
}

// The limits of connections. Stream windows follow Envoy's advice for edges.
const (
	maxStreams       = 100
	streamWindow     = 64 << 10
	connectionWindow = 1 << 20
	headersTimeout   = 10 * time.Second
	idleTimeout      = time.Hour
)

// HCM is the network filter that serves HTTP/1, HTTP/2 and WebSocket upgrades.
//
// With Scoped, two headers are set before the scope is chosen, whatever the client sent: HeaderTag to Tag and HeaderVIP to
// the local address of the connection ("10.0.0.1:80"). Their values in this order are the key of Scope.
func HCM(o HCMOptions) *listenerv3.Filter {
	m := &hcmv3.HttpConnectionManager{
		StatPrefix:  o.StatPrefix,
		CodecType:   hcmv3.HttpConnectionManager_AUTO,
		HttpFilters: httpFilters(),
		// Both HTTP versions of one path must select one route, now and when policies compare paths.
		NormalizePath:              wrapperspb.Bool(true),
		MergeSlashes:               true,
		StripTrailingHostDot:       true,
		ServerHeaderTransformation: hcmv3.HttpConnectionManager_PASS_THROUGH,
		GenerateRequestId:          wrapperspb.Bool(true),
		UpgradeConfigs:             []*hcmv3.HttpConnectionManager_UpgradeConfig{{UpgradeType: "websocket"}},
		UseRemoteAddress:           wrapperspb.Bool(o.Gateway),
		// Long streams are legitimate inside the mesh (gRPC watches); routes may set their own limit.
		StreamIdleTimeout:         durationpb.New(0),
		CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{IdleTimeout: durationpb.New(idleTimeout)},
	}
	if o.Gateway {
		guardEdge(m)
	}
	if o.AccessLog {
		m.AccessLog = accessLog()
	}
	setRoutes(m, o)
	return &listenerv3.Filter{
		Name:       hcmFilter,
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(m)},
	}
}

// guardEdge bounds what clients from outside may do.
func guardEdge(m *hcmv3.HttpConnectionManager) {
	m.PathWithEscapedSlashesAction = hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT
	m.RequestHeadersTimeout = durationpb.New(headersTimeout)
	m.StreamIdleTimeout = durationpb.New(idleTimeout)
	m.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{
		MaxConcurrentStreams:        wrapperspb.UInt32(maxStreams),
		InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
		InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
	}
}

// httpFilters are the same for every route; what they do is said by the route (typed_per_filter_config). The order matters:
// a preflight is answered before a fault delays it, and the router comes last.
func httpFilters() []*hcmv3.HttpFilter {
	return []*hcmv3.HttpFilter{
		httpFilter(corsFilter, &corsv3.Cors{}),
		httpFilter(faultFilter, &faultv3.HTTPFault{}),
		httpFilter(routerFilter, &routerv3.Router{}),
	}
}

func httpFilter(name string, m validated) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(m)}}
}
