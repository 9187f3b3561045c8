package translate

import (
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dnscommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
)

const (
	// connectTimeout is Istio's default; Envoy's own is 5 s.
	connectTimeout = 10 * time.Second
	// dnsRefresh is how often a name is asked again where the answer says no time.
	dnsRefresh = time.Minute
)

// Cluster is one upstream (envoy.config.cluster.v3.Cluster).
func Cluster(c *model.Cluster) *clusterv3.Cluster {
	out := &clusterv3.Cluster{
		Name:            c.ID.String(),
		ConnectTimeout:  durationpb.New(connectTimeout),
		CircuitBreakers: circuitBreakers(&c.Policy),
		// An endpoint that is gone from EDS is gone, whatever a health check last said of it.
		IgnoreHealthOnHostRemoval: true,
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{
			// Never send requests to endpoints that are known to be bad or draining because too many are (Envoy's default
			// does below 50 %).
			HealthyPanicThreshold: &typev3.Percent{},
		},
	}
	if c.Policy.Refused != "" {
		refuse(out, c.Policy.Refused)
		return out
	}
	if t := c.Policy.Pool.ConnectTimeout; t != nil {
		out.ConnectTimeout = duration(*t)
	}
	discovery(out, c)
	balance(out, c)
	outlierDetection(out, c.Policy.Outlier)
	protocolOptions(out, c)
	transport(out, c)
	return out
}

// refuse makes a cluster that has no endpoint: requests are answered by 503, connections are closed, and no byte leaves.
// Why stands in the cluster's metadata, for the one who reads a config dump.
func refuse(out *clusterv3.Cluster, why string) {
	out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	out.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		"fairlead": {Fields: map[string]*structpb.Value{"refused": structpb.NewStringValue(validText(why))}},
	}}
}

// discovery says where the endpoints come from.
func discovery(out *clusterv3.Cluster, c *model.Cluster) {
	dialled := c.Resolution == model.ResolveNone || c.Policy.LB.Kind == model.LBPassthrough
	switch {
	case dialled:
		out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}
		if c.UpstreamPort != 0 {
			out.LbConfig = &clusterv3.Cluster_OriginalDstLbConfig_{OriginalDstLbConfig: &clusterv3.Cluster_OriginalDstLbConfig{
				UpstreamPortOverride: wrapperspb.UInt32(uint32(c.UpstreamPort)),
			}}
		}
	case (c.Resolution == model.ResolveDNS || c.Resolution == model.ResolveDNSRoundRobin) && len(c.DNS) == 0:
		out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	case c.Resolution == model.ResolveDNS:
		resolver(out, c, false)
	case c.Resolution == model.ResolveDNSRoundRobin:
		resolver(out, c, true)
	default:
		out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		source := ads()
		// The stream always answers for a cluster's endpoints, empty ones too: waiting for them is what keeps a new cluster
		// from answering 503 while they are on their way.
		source.InitialFetchTimeout = &durationpb.Duration{}
		out.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{ServiceName: out.Name, EdsConfig: source}
	}
}

// resolver asks a DNS for the endpoints. one makes all addresses of the one name a single endpoint, whose connections go
// to the first address of the latest answer (Envoy's LOGICAL_DNS); otherwise each address is an endpoint (STRICT_DNS). The
// cluster's own fields for both are deprecated in Envoy 1.40.
func resolver(out *clusterv3.Cluster, c *model.Cluster, one bool) {
	out.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.cluster.dns",
		TypedConfig: pack(&dnsv3.DnsCluster{
			DnsRefreshRate: durationpb.New(dnsRefresh), RespectDnsTtl: true,
			DnsLookupFamily: dnscommonv3.DnsLookupFamily_V4_PREFERRED, AllAddressesInSingleEndpoint: one,
		}),
	}}
	out.LoadAssignment = assignment(out.Name, c.DNS)
}

// circuitBreakers bound what all clients of one Envoy open together. What the rule does not bound is not bounded: Envoy's
// defaults (1024, three retries) would be limits that nobody asked for.
func circuitBreakers(p *model.TrafficPolicy) *clusterv3.CircuitBreakers {
	t := &clusterv3.CircuitBreakers_Thresholds{
		MaxConnections:     limit(p.Pool.MaxConnections),
		MaxPendingRequests: limit(p.Pool.MaxPending),
		MaxRequests:        limit(p.Pool.MaxRequests),
		MaxRetries:         limit(p.Pool.MaxRetries),
		TrackRemaining:     true,
	}
	if b := p.RetryBudget; b != nil {
		t.RetryBudget = &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
			BudgetPercent:       &typev3.Percent{Value: b.Percent},
			MinRetryConcurrency: wrapperspb.UInt32(b.MinConcurrency),
		}
		if b.Interval > 0 {
			t.RetryBudget.BudgetInterval = duration(b.Interval)
		}
	}
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{t}}
}

func limit(v *uint32) *wrapperspb.UInt32Value {
	if v == nil {
		return wrapperspb.UInt32(math.MaxUint32)
	}
	return wrapperspb.UInt32(*v)
}
