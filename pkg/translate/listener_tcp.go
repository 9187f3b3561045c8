package translate

import (
	"net/netip"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	originaldstv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/original_dst/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/proxy_protocol/v3"
	tlsinspectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	tcpproxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
)

// tcpServerChains are the chains of a server whose connections are not parsed as HTTP: TCP, TLS that is passed through,
// and TLS that is terminated before TCP.
func tcpServerChains(s *model.Server, bound []resolve.TCPBinding) []*listenerv3.FilterChain {
	var chains []*listenerv3.FilterChain
	for i := range bound {
		b := &bound[i]
		if b.Server != resolve.ServerKey(s) {
			continue
		}
		c := tcpChain(strconv.Itoa(i)+"/"+b.Route.Name, &b.Route)
		if s.TLS != nil && s.TLS.Mode != model.Passthrough {
			c.TransportSocket = downstreamTLS(s.TLS, nil)
		}
		chains = append(chains, c)
	}
	return uniqueMatches(chains)
}

// tcpChain is the filter chain of one connection-level route.
func tcpChain(name string, t *model.TCPRoute) *listenerv3.FilterChain {
	m := &listenerv3.FilterChainMatch{}
	for _, sni := range t.SNI {
		if sni != "*" {
			m.ServerNames = append(m.ServerNames, sni)
		}
	}
	for _, p := range t.Destinations {
		m.PrefixRanges = append(m.PrefixRanges, cidr(p))
	}
	if t.SourceSubnet != nil {
		m.SourcePrefixRanges = []*corev3.CidrRange{cidr(*t.SourceSubnet)}
	}
	c := &listenerv3.FilterChain{Name: name, Filters: []*listenerv3.Filter{tcpProxy(t)}}
	if !proto.Equal(m, &listenerv3.FilterChainMatch{}) {
		c.FilterChainMatch = m
	}
	return c
}

// uniqueMatches keeps the first of the chains that match the same connections: Envoy refuses a listener with two.
func uniqueMatches(chains []*listenerv3.FilterChain) []*listenerv3.FilterChain {
	seen := map[string]bool{}
	kept := chains[:0]
	for _, c := range chains {
		key, err := proto.MarshalOptions{Deterministic: true}.Marshal(c.GetFilterChainMatch())
		if err != nil || seen[string(key)] {
			continue
		}
		seen[string(key)] = true
		kept = append(kept, c)
	}
	return kept
}

// tcpProxy sends connections to clusters by weight. A route without a usable backend names a cluster that does not
// exist, so that its connections are reset.
func tcpProxy(t *model.TCPRoute) *listenerv3.Filter {
	p := &tcpproxyv3.TcpProxy{StatPrefix: "tcp"}
	limitConnections(p, &t.Connections)
	w := &tcpproxyv3.TcpProxy_WeightedCluster{}
	for _, b := range t.Backends {
		if b.Weight > 0 {
			name := b.Cluster
			if name == "" {
				name = invalidCluster
			}
			w.Clusters = append(w.Clusters, &tcpproxyv3.TcpProxy_WeightedCluster_ClusterWeight{Name: name, Weight: b.Weight})
		}
	}
	switch len(w.Clusters) {
	case 0:
		p.ClusterSpecifier = &tcpproxyv3.TcpProxy_Cluster{Cluster: invalidCluster}
	case 1:
		p.ClusterSpecifier = &tcpproxyv3.TcpProxy_Cluster{Cluster: w.Clusters[0].Name}
	default:
		p.ClusterSpecifier = &tcpproxyv3.TcpProxy_WeightedClusters{WeightedClusters: w}
	}
	return networkFilter("envoy.filters.network.tcp_proxy", p)
}

// limitConnections bounds the connections of a route, and says what their load balancer hashes.
func limitConnections(p *tcpproxyv3.TcpProxy, c *model.Connections) {
	if c.IdleTimeout != nil {
		p.IdleTimeout = duration(*c.IdleTimeout)
	}
	if c.MaxDuration != nil {
		p.MaxDownstreamConnectionDuration = duration(*c.MaxDuration)
	}
	if c.HashSourceIP {
		p.HashPolicy = []*typev3.HashPolicy{{PolicySpecifier: &typev3.HashPolicy_SourceIp_{SourceIp: &typev3.HashPolicy_SourceIp{}}}}
	}
}

func networkFilter(name string, m proto.Message) *listenerv3.Filter {
	return &listenerv3.Filter{Name: name, ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(m)}}
}

func listenerFilter(name string, m proto.Message) *listenerv3.ListenerFilter {
	return &listenerv3.ListenerFilter{Name: name, ConfigType: &listenerv3.ListenerFilter_TypedConfig{TypedConfig: pack(m)}}
}

// pack wraps a message deterministically; the messages are made here, so they always encode.
func pack(m proto.Message) *anypb.Any {
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic("encode " + string(m.ProtoReflect().Descriptor().FullName()) + ": " + err.Error())
	}
	return a
}

func tlsInspector() *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.tls_inspector", &tlsinspectorv3.TlsInspector{})
}

func originalDst() *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.original_dst", &originaldstv3.OriginalDst{})
}

// optionalProxyProtocol takes the addresses from a PROXY header where the client sends one.
func optionalProxyProtocol() *listenerv3.ListenerFilter {
	return listenerFilter("envoy.filters.listener.proxy_protocol", &proxyprotocolv3.ProxyProtocol{AllowRequestsWithoutProxyProtocol: true})
}

// ranges are CIDRs as text, without host bits.
func ranges(list []*corev3.CidrRange) []string {
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = c.AddressPrefix + "/" + strconv.Itoa(int(c.PrefixLen.GetValue()))
		if p, err := netip.ParsePrefix(out[i]); err == nil {
			out[i] = p.Masked().String()
		}
	}
	return out
}

func cidr(p netip.Prefix) *corev3.CidrRange {
	return &corev3.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))}
}
