package translate

import (
	"math"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
)

// forward translates the action that sends requests on. It is nil when no backend has weight, or all that have are
// invalid: such a rule answers 500 (Gateway API, HTTPBackendRef and weight).
func forward(f *model.Forward, path model.PathMatch, host string) (*routev3.RouteAction, error) {
	backends, invalid := weighted(f.Backends)
	if len(backends) == invalid {
		return nil, nil
	}
	if f.HostRewrite != "" {
		host = f.HostRewrite
	}
	out := &routev3.RouteAction{
		RequestMirrorPolicies: mirrors(f.Mirrors),
		HashPolicy:            hashPolicies(f.Hash),
		RetryPolicy:           retryPolicy(f.Retry),
		UpgradeConfigs:        upgrades(f.Upgrades),
	}
	if invalid > 0 {
		out.ClusterNotFoundResponseCode = routev3.RouteAction_INTERNAL_SERVER_ERROR
	}
	setTimeouts(out, f)
	setClusters(out, backends, host, f.AutoHostRewrite)
	if f.PathRewrite != nil {
		if err := setPathRewrite(out, path, f.PathRewrite); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// weighted keeps the backends that get requests, and counts the invalid ones among them.
func weighted(in []model.Backend) (out []model.Backend, invalid int) {
	var sum uint64
	for _, b := range in {
		if b.Weight == 0 {
			continue
		}
		if b.Cluster == "" {
			invalid++
		}
		sum += uint64(b.Weight)
		out = append(out, b)
	}
	for sum > math.MaxUint32 { // Envoy's limit
		sum = 0
		for i := range out {
			out[i].Weight = max(out[i].Weight/2, 1)
			sum += uint64(out[i].Weight)
		}
	}
	return out, invalid
}

// setClusters names the destination, or several by weight. Only weighted clusters have header changes of their own.
func setClusters(out *routev3.RouteAction, backends []model.Backend, host string, auto bool) {
	clusters := make([]*routev3.WeightedCluster_ClusterWeight, len(backends))
	plain, ownHost := true, false
	for i, b := range backends {
		clusters[i] = clusterWeight(b)
		plain = plain && b.RequestHeaders.Empty() && b.ResponseHeaders.Empty()
		ownHost = ownHost || clusters[i].HostRewriteSpecifier != nil
	}
	switch {
	case ownHost:
		// Envoy applies the route's rewrite after the cluster's, so the clusters without one of their own get it.
		for _, c := range clusters {
			if c.HostRewriteSpecifier == nil && host != "" {
				c.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: host}
			}
		}
	case host != "":
		out.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: host}
		out.AppendXForwardedHost = true
	case auto:
		out.HostRewriteSpecifier = &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: wrapperspb.Bool(true)}
	}
	if len(backends) == 1 && plain && !ownHost {
		out.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: backends[0].Cluster}
		return
	}
	out.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{
		WeightedClusters: &routev3.WeightedCluster{Clusters: clusters},
	}
}

func clusterWeight(b model.Backend) *routev3.WeightedCluster_ClusterWeight {
	request, response := requestMods(b.RequestHeaders), responseMods(b.ResponseHeaders)
	out := &routev3.WeightedCluster_ClusterWeight{
		Name:                    b.Cluster,
		Weight:                  wrapperspb.UInt32(b.Weight),
		RequestHeadersToAdd:     request.add,
		RequestHeadersToRemove:  request.remove,
		ResponseHeadersToAdd:    response.add,
		ResponseHeadersToRemove: response.remove,
	}
	if b.Cluster == "" {
		out.Name = invalidCluster
	}
	host := request.host
	if b.HostRewrite != "" {
		host = b.HostRewrite
	}
	if host != "" {
		out.HostRewriteSpecifier = &routev3.WeightedCluster_ClusterWeight_HostRewriteLiteral{HostRewriteLiteral: host}
	}
	return out
}
