package translate

import (
	"slices"
	"strings"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"fairlead.io/fairlead/pkg/model"
)

// distribution picks the distribution for clients of a locality: the first whose from covers it, as Istio does.
func distribution(l *model.LocalityLB, from model.Locality) map[string]uint32 {
	for _, d := range l.Distribute {
		if covers(d.From, from) {
			return d.To
		}
	}
	return nil
}

// covers tells whether "region/zone/subzone", whose later parts may be missing or "*", takes a locality.
func covers(pattern string, l model.Locality) bool {
	have := []string{l.Region, l.Zone, l.SubZone}
	for i, p := range strings.SplitN(pattern, "/", 3) {
		if p == "*" {
			return true
		}
		if p != have[i] {
			return false
		}
	}
	return true
}

// distributed gives localities the shares that a distribution names for them; others get nothing. The localities under
// one pattern divide its share by the weights of their endpoints; each locality is under the most specific pattern.
func distributed(e *model.ClusterEndpoints, to map[string]uint32) *endpointv3.ClusterLoadAssignment {
	patterns := make([]string, 0, len(to))
	for p := range to {
		patterns = append(patterns, p)
	}
	slices.SortFunc(patterns, func(a, b string) int {
		if d := specific(b) - specific(a); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	of := func(l model.Locality) string {
		for _, p := range patterns {
			if covers(p, l) {
				return p
			}
		}
		return ""
	}
	weight, whole := map[model.Locality]uint64{}, map[string]uint64{}
	for i := range e.Endpoints {
		ep := &e.Endpoints[i]
		w := uint64(max(ep.Weight, 1))
		weight[ep.Locality] += w
		whole[of(ep.Locality)] += w
	}
	// Shares are scaled up so that small localities do not round to nothing.
	const scale = 10000
	share := func(l model.Locality) uint32 {
		p := of(l)
		if p == "" {
			return 0
		}
		return uint32(max(1, uint64(to[p])*scale*weight[l]/whole[p]))
	}
	return assemble(e.Cluster, e.Endpoints, func(*model.ClusterEndpoint) uint32 { return 0 }, share)
}

// specific counts the parts of a pattern that are not wildcards.
func specific(pattern string) int {
	n := 0
	for _, p := range strings.Split(pattern, "/") {
		if p == "*" {
			break
		}
		n++
	}
	return n
}

// prioritized lets near endpoints take all the load as long as they are healthy. Priorities are numbered without gaps, as
// Envoy wants them.
func prioritized(e *model.ClusterEndpoints, from model.Locality) *endpointv3.ClusterLoadAssignment {
	rank := func(ep *model.ClusterEndpoint) uint32 { return nearness(e.Locality, from, ep) }
	if len(e.Locality.FailoverPriority) > 0 {
		rank = func(ep *model.ClusterEndpoint) uint32 { return unlike(e.Locality, from, ep) }
	}
	var ranks []uint32
	for i := range e.Endpoints {
		ranks = append(ranks, rank(&e.Endpoints[i]))
	}
	slices.Sort(ranks)
	ranks = slices.Compact(ranks)
	return assemble(e.Cluster, e.Endpoints, func(ep *model.ClusterEndpoint) uint32 {
		i, _ := slices.BinarySearch(ranks, rank(ep))
		return uint32(i)
	}, nil)
}

// nearness is 0 for the same sub-zone, then zone, region, the region that takes over, and the rest.
func nearness(l *model.LocalityLB, from model.Locality, ep *model.ClusterEndpoint) uint32 {
	at := ep.Locality
	switch {
	case at == from:
		return 0
	case at.Region == from.Region && at.Zone == from.Zone:
		return 1
	case at.Region == from.Region:
		return 2
	}
	if to, ok := l.Failover[from.Region]; ok && at.Region == to {
		return 3
	}
	return 4
}

// unlike counts from the end how many labels of a failoverPriority do not match, up to and with the first that does not;
// all of the first n must match for an endpoint to be nearer (Istio, failoverPriority). Where labels are done, failover
// says which other region comes first.
func unlike(l *model.LocalityLB, from model.Locality, ep *model.ClusterEndpoint) uint32 {
	n := len(l.FailoverPriority)
	rank := uint32(n)
	for i, p := range l.FailoverPriority {
		if !alike(p, from, ep) {
			break
		}
		rank = uint32(n - i - 1)
	}
	rank *= 2
	if to, ok := l.Failover[from.Region]; ok && ep.Locality.Region != from.Region && ep.Locality.Region != to {
		rank++
	}
	return rank
}

// alike compares one label of an endpoint with that of the client, or with the value that the rule gives for it.
func alike(priority string, from model.Locality, ep *model.ClusterEndpoint) bool {
	key, want, given := strings.Cut(priority, "=")
	have := ep.Labels[key]
	mine := ""
	switch key {
	case model.RegionLabel:
		have, mine = ep.Locality.Region, from.Region
	case model.ZoneLabel:
		have, mine = ep.Locality.Zone, from.Zone
	case model.SubZoneLabel:
		have, mine = ep.Locality.SubZone, from.SubZone
	}
	if !given {
		want = mine
	}
	return have == want
}
