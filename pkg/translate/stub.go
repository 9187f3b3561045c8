package translate

import (
	"maps"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	setfilterstatecommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	setfilterstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	internalupstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// The clusters that every node has beside those of services.
const (
	outboundCluster    = "fairlead/outbound"    // the hop into the shared listener
	passthroughCluster = "fairlead/passthrough" // to the address that the client asked for
	invalidCluster     = "fairlead/invalid"     // never exists: what is sent there fails
)

// declareFixed makes the outbound listener and the stubs exist whatever the sources hold.
func (o *Outputs) declareFixed() table.Trigger {
	keys := []string{model.OutboundListener}
	for _, s := range o.res.Config.Stubs {
		keys = append(keys, s.Name)
	}
	return o.res.Fixed(o.engine, "fixed listeners", keys)
}

// stub is a small listener that says who the client is and hands the connection over.
func (o *Outputs) stub(r *table.Reader, name string) (*snapshot.Resource, bool) {
	i := slices.IndexFunc(o.res.Config.Stubs, func(s resolve.Stub) bool { return s.Name == name })
	if i < 0 {
		return nil, false
	}
	return encode(r, name, StubListener(&o.res.Config.Stubs[i], o.res.Config.TrustDomain), nil)
}

// StubListener is the outbound listener of one client: filter state only. The addresses are kept through the hop (keys
// of envoy.filters.listener.original_dst); the identity is hashable and TRANSITIVE, so that connection pools never mix
// two clients; the rest only informs the routes.
func StubListener(s *resolve.Stub, trustDomain string) *listenerv3.Listener {
	identity := "spiffe://" + trustDomain + "/ns/" + s.Namespace + "/sa/" + s.ServiceAccount
	state := &setfilterstatev3.Config{OnNewConnection: []*setfilterstatecommonv3.FilterStateValue{
		filterState("envoy.filters.listener.original_dst.local_ip", "", "%DOWNSTREAM_LOCAL_ADDRESS%", once),
		filterState("envoy.filters.listener.original_dst.remote_ip", "", "%DOWNSTREAM_REMOTE_ADDRESS%", once),
		filterState(model.SourceNamespaceKey, "envoy.string", literal(s.Namespace), once),
		filterState(model.SourceLabelsKey, "envoy.string", literal(labelString(s.Labels)), once),
		filterState(model.SourceIdentityKey, "envoy.hashable_string", literal(identity), transitive),
	}}
	return &listenerv3.Listener{
		Name:            s.Name,
		Address:         address(s.Address),
		ListenerFilters: []*listenerv3.ListenerFilter{optionalProxyProtocol()},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{
			networkFilter("envoy.filters.network.set_filter_state", state),
			// The shared listener ends idle connections, as it knows the policy of the destination.
			tcpProxy(&model.TCPRoute{
				Backends: []model.Backend{{Cluster: outboundCluster, Weight: 1}}, Connections: model.Connections{IdleTimeout: new(time.Duration)},
			}),
		}}},
	}
}

const (
	once       = setfilterstatecommonv3.FilterStateValue_ONCE
	transitive = setfilterstatecommonv3.FilterStateValue_TRANSITIVE
)

func filterState(key, factory, format string, shared setfilterstatecommonv3.FilterStateValue_SharedWithUpstream) *setfilterstatecommonv3.FilterStateValue {
	return &setfilterstatecommonv3.FilterStateValue{
		Key:        &setfilterstatecommonv3.FilterStateValue_ObjectKey{ObjectKey: key},
		FactoryKey: factory,
		Value: &setfilterstatecommonv3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
				Specifier: &corev3.DataSource_InlineString{InlineString: format},
			}},
		}},
		SharedWithUpstream: shared,
	}
}

// literal escapes what Envoy would interpolate.
func literal(s string) string { return strings.ReplaceAll(s, "%", "%%") }

// labelString is how labels travel in filter state: "a=1,b=2", sorted; a comma or equals sign cannot be in a label.
func labelString(labels map[string]string) string {
	keys := slices.Sorted(maps.Keys(labels))
	for i, k := range keys {
		keys[i] = k + "=" + labels[k]
	}
	return strings.Join(keys, ",")
}

// fixedClusters are the clusters that every node has.
func fixedClusters() []*clusterv3.Cluster {
	internal := &internalupstreamv3.InternalUpstreamTransport{TransportSocket: &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.raw_buffer",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&rawbufferv3.RawBuffer{})},
	}}
	return []*clusterv3.Cluster{
		{
			Name:                 outboundCluster,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
			LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: outboundCluster, Endpoints: []*endpointv3.LocalityLbEndpoints{{
				LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
					Address: &corev3.Address{Address: &corev3.Address_EnvoyInternalAddress{EnvoyInternalAddress: &corev3.EnvoyInternalAddress{
						AddressNameSpecifier: &corev3.EnvoyInternalAddress_ServerListenerName{ServerListenerName: model.OutboundListener},
					}}},
				}}}},
			}}},
			TransportSocket: &corev3.TransportSocket{
				Name:       "envoy.transport_sockets.internal_upstream",
				ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(internal)},
			},
		},
		{
			Name:                 passthroughCluster,
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST},
			LbPolicy:             clusterv3.Cluster_CLUSTER_PROVIDED,
		},
	}
}
