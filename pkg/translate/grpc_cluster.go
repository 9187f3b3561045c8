package translate

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"fairlead.io/fairlead/pkg/model"
)

// fitsGRPCCluster tells that gRPC clients read a cluster as Envoy does. They know EDS, three balancers and no transport
// socket but certificate providers of their own (gRFC A27, A29, A42, A48); anything else makes them refuse the cluster.
func fitsGRPCCluster(c *model.Cluster) bool {
	lb := c.Policy.LB
	switch lb.Kind {
	case model.LBRandom, model.LBMaglev, model.LBPassthrough:
		return false
	}
	return c.Resolution == model.ResolveEDS && beyondGRPC(c) == "" && !weighsLocalities(c)
}

func weighsLocalities(c *model.Cluster) bool {
	l := c.Policy.LB.Locality
	return l != nil && l.Enabled && len(l.Distribute) > 0
}

// beyondGRPC says why a gRPC client cannot be served a cluster; empty when it can. It is then given one without
// endpoints: to ignore what secures the connections would send in clear what must not be.
func beyondGRPC(c *model.Cluster) string {
	switch {
	case c.Policy.Refused != "":
		return c.Policy.Refused
	case secured(c):
		return "gRPC clients cannot use the certificates of a DestinationRule or BackendTLSPolicy"
	case c.Policy.PROXY != 0:
		return "gRPC clients send no PROXY header"
	case c.Resolution == model.ResolveNone, c.Policy.LB.Kind == model.LBPassthrough:
		return "gRPC clients have no original destination"
	case c.Resolution != model.ResolveEDS && len(c.DNS) != 1:
		return "gRPC clients resolve one name a cluster, this one has several or none"
	}
	return ""
}

// grpcCluster is a cluster for gRPC clients: with the balancer that is nearest to the one asked for, and a name that
// they resolve themselves.
func grpcCluster(c *model.Cluster) *clusterv3.Cluster {
	if why := beyondGRPC(c); why != "" {
		return noEndpoints(c.ID.String(), why)
	}
	near := *c
	switch {
	case weighsLocalities(c), c.Policy.LB.Kind == model.LBRandom:
		near.Policy.LB.Kind = model.LBRoundRobin // the one that looks at the localities' weights
	case c.Policy.LB.Kind == model.LBMaglev:
		near.Policy.LB.Kind = model.LBRingHash
	}
	out := Cluster(&near)
	if c.Resolution != model.ResolveEDS {
		out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_LOGICAL_DNS}
	}
	return out
}

// noEndpoints fails every call at once. gRPC has no static clusters, and waits 15 s for one that does not exist.
func noEndpoints(name, why string) *clusterv3.Cluster {
	out := &clusterv3.Cluster{Name: name}
	refuse(out, why)
	out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
	out.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{ServiceName: invalidCluster, EdsConfig: ads()}
	return out
}
