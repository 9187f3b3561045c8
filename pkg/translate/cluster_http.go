package translate

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
)

const httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// protocolOptions says how HTTP is spoken to the endpoints, and how connections are kept.
func protocolOptions(out *clusterv3.Cluster, c *model.Cluster) {
	p := &c.Policy.Pool
	if k := p.Keepalive; k != nil {
		out.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{TcpKeepalive: keepalive(k)}
	}
	if !c.Protocol.IsHTTP() && !plainHTTP(c) {
		return
	}
	o := &httpv3.HttpProtocolOptions{CommonHttpProtocolOptions: connectionOptions(p)}
	h2 := http2Options(p)
	switch {
	case p.UseClientProtocol && c.Protocol.IsHTTP():
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: h2,
			},
		}
	case speaksHTTP2(c):
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: h2},
			},
		}
	default:
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: &corev3.Http1ProtocolOptions{}},
			},
		}
	}
	if autoSNI(c) {
		o.UpstreamHttpProtocolOptions = &corev3.UpstreamHttpProtocolOptions{
			AutoSni: true, AutoSanValidation: len(c.Policy.TLS.SubjectAltNames) == 0 && !c.Policy.TLS.InsecureNoVerify,
		}
	}
	if h := c.Policy.LB.Hash; h != nil {
		o.HashPolicy = hashPolicies([]model.HashPolicy{*h})
	}
	if c.Policy.Outlier != nil {
		o.OutlierDetection = errorCodes(c.Policy.Outlier.ErrorCodes)
	}
	out.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptionsKey: pack(o)}
}

// plainHTTP tells that a port which is not named as HTTP carries settings that only HTTP routes to it can use.
func plainHTTP(c *model.Cluster) bool {
	p := &c.Policy.Pool
	return connectionOptions(p) != nil || p.H2Upgrade != nil || c.Policy.LB.Hash != nil ||
		c.Policy.Outlier != nil && len(c.Policy.Outlier.ErrorCodes) > 0
}

// speaksHTTP2 tells whether the endpoints are spoken to in HTTP/2: by the port's protocol, or by h2UpgradePolicy.
func speaksHTTP2(c *model.Cluster) bool {
	if c.Protocol == model.ProtoHTTP2 || c.Protocol == model.ProtoGRPC {
		return true
	}
	return c.Policy.Pool.H2Upgrade != nil && *c.Policy.Pool.H2Upgrade
}

func connectionOptions(p *model.ConnectionPool) *corev3.HttpProtocolOptions {
	if p.IdleTimeout == nil && p.MaxDuration == nil && p.MaxRequestsPerConnection == nil {
		return nil
	}
	o := &corev3.HttpProtocolOptions{}
	if p.IdleTimeout != nil {
		o.IdleTimeout = duration(*p.IdleTimeout) // 0 is never
	}
	if p.MaxDuration != nil {
		o.MaxConnectionDuration = duration(*p.MaxDuration)
	}
	if p.MaxRequestsPerConnection != nil {
		o.MaxRequestsPerConnection = wrapperspb.UInt32(*p.MaxRequestsPerConnection)
	}
	return o
}

// maxPingTimeout bounds the default wait for the answer to a PING.
const maxPingTimeout = 20 * time.Second

func http2Options(p *model.ConnectionPool) *corev3.Http2ProtocolOptions {
	o := &corev3.Http2ProtocolOptions{}
	if p.MaxConcurrentStreams != nil {
		o.MaxConcurrentStreams = wrapperspb.UInt32(*p.MaxConcurrentStreams)
	}
	if k := p.HTTP2Keepalive; k != nil {
		timeout := k.Timeout
		if timeout == 0 {
			timeout = max(min(k.Interval/2, maxPingTimeout), time.Millisecond)
		}
		o.ConnectionKeepalive = &corev3.KeepaliveSettings{Interval: duration(k.Interval), Timeout: duration(timeout)}
	}
	return o
}

// keepalive are the kernel's probes, in whole seconds of at least one; what is 0 is the kernel's default.
func keepalive(k *model.Keepalive) *corev3.TcpKeepalive {
	out := &corev3.TcpKeepalive{}
	if k.Probes > 0 {
		out.KeepaliveProbes = wrapperspb.UInt32(k.Probes)
	}
	if k.Time > 0 {
		out.KeepaliveTime = wrapperspb.UInt32(wholeSeconds(k.Time))
	}
	if k.Interval > 0 {
		out.KeepaliveInterval = wrapperspb.UInt32(wholeSeconds(k.Interval))
	}
	return out
}

func wholeSeconds(d time.Duration) uint32 {
	return uint32(max(1, min((d+time.Second-1)/time.Second, 32767))) // TCP_KEEPIDLE takes up to 32767
}
