package translate

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
)

// Endpoints are what EDS serves for a cluster to the clients of a locality, zero for an unknown one. They differ by
// locality only where e.Locality is set: Localities tells which make a difference.
func Endpoints(e *model.ClusterEndpoints, from model.Locality) *endpointv3.ClusterLoadAssignment {
	l := e.Locality
	switch {
	case e.Near == model.OnlyNode: // a node without endpoints of its own
		return assignment(e.Cluster, nil)
	case l == nil:
	case len(l.Distribute) > 0:
		if to := distribution(l, from); to != nil {
			return distributed(e, to)
		}
	case len(l.FailoverPriority) > 0 || from != (model.Locality{}):
		return prioritized(e, from)
	}
	return assignment(e.Cluster, e.Endpoints)
}

// Localities are those of clients that are to get a set of their own; a client whose locality is not among them takes that
// of the nearest one above it (its zone, its region), and else the one of the zero locality, which is not listed.
func Localities(e *model.ClusterEndpoints) []model.Locality {
	if e.Locality == nil {
		return nil
	}
	seen := map[model.Locality]bool{}
	add := func(l model.Locality) {
		if l.Region != "" {
			seen[l], seen[model.Locality{Region: l.Region, Zone: l.Zone}], seen[model.Locality{Region: l.Region}] = true, true, true
		}
	}
	for i := range e.Endpoints {
		add(e.Endpoints[i].Locality)
	}
	for from := range e.Locality.Failover {
		add(model.Locality{Region: from})
	}
	for _, d := range e.Locality.Distribute {
		p := append(strings.SplitN(strings.TrimSuffix(strings.TrimSuffix(d.From, "*"), "/"), "/", 3), "", "")
		add(model.Locality{Region: p[0], Zone: p[1], SubZone: p[2]})
	}
	return slices.SortedFunc(maps.Keys(seen), compareLocality)
}

// group is a set of endpoints of one locality and priority.
type group struct {
	locality model.Locality
	priority uint32
	share    uint32 // 0: by the endpoints' weights
	members  []*model.ClusterEndpoint
}

// assignment serves all endpoints with one priority.
func assignment(cluster string, list []model.ClusterEndpoint) *endpointv3.ClusterLoadAssignment {
	return assemble(cluster, list, func(*model.ClusterEndpoint) uint32 { return 0 }, nil)
}

// assemble groups endpoints by priority and locality. share gives a locality its part of the load; a locality whose share
// is 0 is left out; nil takes all by the endpoints' weights.
func assemble(cluster string, list []model.ClusterEndpoint, priority func(*model.ClusterEndpoint) uint32, share func(model.Locality) uint32) *endpointv3.ClusterLoadAssignment {
	type place struct {
		l model.Locality
		p uint32
	}
	index := map[place]int{}
	var groups []group
	for i := range list {
		e := &list[i]
		at := place{e.Locality, priority(e)}
		n, ok := index[at]
		if !ok {
			g := group{locality: at.l, priority: at.p}
			if share != nil {
				if g.share = share(at.l); g.share == 0 {
					continue
				}
			}
			n = len(groups)
			index[at] = n
			groups = append(groups, g)
		}
		groups[n].members = append(groups[n].members, e)
	}
	slices.SortFunc(groups, func(a, b group) int {
		return cmp.Or(cmp.Compare(a.priority, b.priority), compareLocality(a.locality, b.locality))
	})
	out := &endpointv3.ClusterLoadAssignment{ClusterName: cluster}
	for i := range groups {
		out.Endpoints = append(out.Endpoints, groups[i].proto())
	}
	return out
}

func compareLocality(a, b model.Locality) int {
	return cmp.Or(cmp.Compare(a.Region, b.Region), cmp.Compare(a.Zone, b.Zone), cmp.Compare(a.SubZone, b.SubZone))
}

func (g *group) proto() *endpointv3.LocalityLbEndpoints {
	out := &endpointv3.LocalityLbEndpoints{
		Priority: g.priority,
		// Also when it is empty: gRPC refuses the set without it (gRFC A27).
		Locality: &corev3.Locality{Region: g.locality.Region, Zone: g.locality.Zone, SubZone: g.locality.SubZone},
	}
	total := uint32(0)
	for _, e := range g.members {
		weight := max(e.Weight, 1)
		total = saturating(total, weight)
		lb := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: socket(e)}}}
		if weight > 1 {
			lb.LoadBalancingWeight = wrapperspb.UInt32(weight)
		}
		if e.Draining {
			lb.HealthStatus = corev3.HealthStatus_DRAINING
		}
		out.LbEndpoints = append(out.LbEndpoints, lb)
	}
	if g.share > 0 {
		total = g.share
	}
	out.LoadBalancingWeight = wrapperspb.UInt32(total)
	return out
}

func saturating(a, b uint32) uint32 {
	if a > 1<<31-b {
		return 1 << 31
	}
	return a + b
}

func socket(e *model.ClusterEndpoint) *corev3.Address {
	if a, err := netip.ParseAddr(e.Address); err == nil {
		return address(netip.AddrPortFrom(a, e.Port))
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: e.Address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(e.Port)},
	}}}
}
