package integration_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	setstatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	statefilterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/translate"
)

// routeRig is an Envoy with a listener for each way that routes are reached: "edge" by table, "mesh" by scope, "stub" with
// filter state of a client in namespace shop with labels app=web,v=1.
type routeRig struct {
	*pushRig
	a, b  *mesh.Backend
	grpc  string
	hosts []*routev3.VirtualHost
	at    map[string]string // listener to address
}

const rigTable = "gateway/rig"

func newRouteRig(t *testing.T, hosts []*routev3.VirtualHost) *routeRig {
	r := &routeRig{a: mesh.NewBackend(t, "a"), b: mesh.NewBackend(t, "b"), hosts: hosts, at: map[string]string{}}
	r.grpc = newHealthServer(t)
	first := []*snapshot.Resource{
		edsCluster(t, "a", time.Second), endpoints(t, "a", r.a.Address.String()),
		edsCluster(t, "b", time.Second), endpoints(t, "b", r.b.Address.String()),
		edsCluster(t, "both", time.Second), endpoints(t, "both", r.a.Address.String(), r.b.Address.String()),
		edsCluster(t, "empty", time.Second), encoded(t, "empty", &endpointv3.ClusterLoadAssignment{ClusterName: "empty"}),
		ringCluster(t, "ring"), endpoints(t, "ring", r.a.Address.String(), r.b.Address.String()),
		grpcCluster(t, "grpc"), endpoints(t, "grpc", r.grpc),
		dnsCluster(t, "dns", "localhost", r.a.Address.String()),
		encoded(t, rigTable, translate.RouteConfiguration(rigTable, hosts)),
		rigListener(t, "edge", translate.HCM(translate.HCMOptions{StatPrefix: "edge", RouteConfig: rigTable, Gateway: true, AccessLog: true})),
		rigListener(t, "mesh", translate.HCM(translate.HCMOptions{StatPrefix: "mesh", Scoped: true, Tag: model.MeshTag})),
		rigListener(t, "stub", clientState(t), translate.HCM(translate.HCMOptions{StatPrefix: "stub", RouteConfig: rigTable})),
	}
	r.pushRig = newPushRig(t, first...)
	for _, l := range []string{"edge", "mesh", "stub"} {
		address, err := r.envoy.WaitListener(l, 30*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		r.at[l] = address
	}
	key := r.at["mesh"]
	r.update([]*snapshot.Resource{encoded(t, key, translate.Scope(key, rigTable, model.MeshTag, key))})
	r.settled()
	return r
}

func rigListener(t *testing.T, name string, filters ...*listenerv3.Filter) *snapshot.Resource {
	return encoded(t, name, &listenerv3.Listener{
		Name: name, Address: socket("127.0.0.1", 0), FilterChains: []*listenerv3.FilterChain{{Filters: filters}},
	})
}

func clientState(t *testing.T) *listenerv3.Filter {
	value := func(key, value string) *setstatev3.FilterStateValue {
		return &setstatev3.FilterStateValue{
			Key: &setstatev3.FilterStateValue_ObjectKey{ObjectKey: key}, FactoryKey: "envoy.string",
			Value: &setstatev3.FilterStateValue_FormatString{FormatString: &corev3.SubstitutionFormatString{
				Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
					Specifier: &corev3.DataSource_InlineString{InlineString: value},
				}},
			}},
		}
	}
	return &listenerv3.Filter{Name: "state", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed(t, &statefilterv3.Config{
		OnNewConnection: []*setstatev3.FilterStateValue{value(model.SourceNamespaceKey, "shop"), value(model.SourceLabelsKey, "app=web,v=1")},
	})}}
}

func ringCluster(t *testing.T, name string) *snapshot.Resource {
	return encoded(t, name, &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(time.Second), LbPolicy: clusterv3.Cluster_RING_HASH,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: adsSource()},
	})
}

func grpcCluster(t *testing.T, name string) *snapshot.Resource {
	return encoded(t, name, &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: adsSource()},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(t, &httpv3.HttpProtocolOptions{
				UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
							Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
						},
					},
				},
			}),
		},
	})
}

func dnsCluster(t *testing.T, name, hostname, address string) *snapshot.Resource {
	port := uint32(netip.MustParseAddrPort(address).Port())
	return encoded(t, name, &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(time.Second), DnsLookupFamily: clusterv3.Cluster_V4_ONLY,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: socket(hostname, port),
			}}}},
		}}},
	})
}

// call is one request of a test: "METHOD host/path", and headers as "name: value".
type call struct {
	listener, method, host, path string
	header                       []string
}

// reply is the answer; echo is set when an upstream gave it.
type reply struct {
	status int
	header http.Header
	body   string
	echo   mesh.Echo
}

func (r *routeRig) do(t *testing.T, c call) reply {
	t.Helper()
	if c.listener == "" {
		c.listener = "edge"
	}
	if c.method == "" {
		c.method = http.MethodGet
	}
	req, err := http.NewRequest(c.method, "http://"+r.at[c.listener]+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	// Opaque is written as it is: Go would clean and escape the path.
	req.URL.Opaque = c.path
	req.Host = c.host
	for _, h := range c.header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
	}
	tr := &http.Transport{DisableKeepAlives: true, DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("%+v: %v", c, err)
	}
	out := reply{status: res.StatusCode, header: res.Header, body: string(body)}
	_ = json.Unmarshal(body, &out.echo)
	return out
}
