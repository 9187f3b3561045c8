package bootstrap

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/durationpb"
)

// AgentCluster is the name of the static cluster that leads to the node's agent.
const AgentCluster = "fairlead-agent"

// The names that the agent serves by SDS: the node's own SVID, and what certificates of every trust domain are verified with.
const (
	NodeSecret    = "fairlead/node"
	BundlesSecret = "fairlead/bundles"
)

// TLS is the way to the TLS port of a control plane, with the identity of the node, which its agent keeps. All fields are
// required.
type TLS struct {
	// Address is the control plane's TLS port, host:port; a name is resolved by DNS, to all that it stands for.
	Address string
	// SDS is the agent's socket, "unix:/path".
	SDS string
	// ServerID is the SPIFFE ID that the control plane must have.
	ServerID string
}

// complete gives the address of the agent, and host and port of the control plane.
func (t *TLS) complete() (agent *corev3.Address, host string, port uint32, err error) {
	if agent, err = address(t.SDS); err == nil && agent.GetPipe() == nil {
		err = fmt.Errorf("address %q is not unix:/path", t.SDS)
	}
	if err != nil {
		return nil, "", 0, fmt.Errorf("TLS.SDS: %w", err)
	}
	if _, err := spiffeid.FromString(t.ServerID); err != nil {
		return nil, "", 0, fmt.Errorf("TLS.ServerID %q: %w", t.ServerID, err)
	}
	host, number, err := net.SplitHostPort(t.Address)
	if err == nil && host == "" {
		err = errors.New("the host is missing")
	}
	if err != nil {
		return nil, "", 0, fmt.Errorf("TLS.Address %q is not host:port: %w", t.Address, err)
	}
	n, err := strconv.ParseUint(number, 10, 16)
	if err != nil || n == 0 {
		return nil, "", 0, fmt.Errorf("TLS.Address %q: port must be 1 to 65535", t.Address)
	}
	return agent, host, uint32(n), nil
}

// tlsClusters are the ways to the control plane, by TLS 1.3 with the node's SVID, and to the agent.
func tlsClusters(enc *encoder, t *TLS) ([]*clusterv3.Cluster, error) {
	agent, host, port, err := t.complete()
	if err != nil {
		return nil, err
	}
	out := xdsClusters(enc, &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}})
	xds := out[0]
	context := &tlsv3.UpstreamTlsContext{CommonTlsContext: &tlsv3.CommonTlsContext{
		TlsParams: &tlsv3.TlsParameters{
			TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_3, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
		},
		AlpnProtocols:                  []string{"h2"},
		TlsCertificateSdsSecretConfigs: []*tlsv3.SdsSecretConfig{agentSecret(NodeSecret)},
		ValidationContextType: &tlsv3.CommonTlsContext_CombinedValidationContext{CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
			// The bundles say which trust domains there are, this who in them is the control plane.
			DefaultValidationContext: &tlsv3.CertificateValidationContext{MatchTypedSubjectAltNames: []*tlsv3.SubjectAltNameMatcher{{
				SanType: tlsv3.SubjectAltNameMatcher_URI,
				Matcher: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: t.ServerID}},
			}}},
			ValidationContextSdsSecretConfig: agentSecret(BundlesSecret),
		}},
	}}
	if net.ParseIP(host) == nil {
		xds.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STRICT_DNS}
		xds.DnsLookupFamily = clusterv3.Cluster_ALL // of both families, and the other when one does not answer
		context.Sni = host
	}
	xds.ConnectTimeout = durationpb.New(5 * time.Second) // a handshake is part of it
	xds.TransportSocket = &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls", ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: enc.any(context)},
	}
	toAgent := xdsClusters(enc, agent)[0]
	toAgent.Name, toAgent.LoadAssignment.ClusterName = AgentCluster, AgentCluster
	return append(out, toAgent), nil
}

// agentSecret is a secret that the agent keeps.
func agentSecret(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ResourceApiVersion: corev3.ApiVersion_V3,
		// An agent that starts after its Envoy is waited for.
		InitialFetchTimeout: durationpb.New(0),
		ConfigSourceSpecifier: &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{
			ApiType: corev3.ApiConfigSource_DELTA_GRPC, TransportApiVersion: corev3.ApiVersion_V3, SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
				ClusterName: AgentCluster,
				RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
					BaseInterval: durationpb.New(100 * time.Millisecond), MaxInterval: durationpb.New(time.Second),
				}},
			}}}},
		}},
	}}
}
