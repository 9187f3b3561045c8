package translate

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The headers that the connection manager sets to select a route table (see HCM); no backend sees them.
const (
	HeaderTag = "x-fl-tag"
	HeaderVIP = "x-fl-vip"
)

// maxDirectBody is the largest body of a direct response in bytes. Envoy's default of 4 KiB refuses the whole table.
const maxDirectBody = 1 << 20

// RouteConfiguration is a route table. A domain that two virtual hosts claim stays with the first: Envoy would refuse the
// table. The virtual hosts may be shared with other tables and are not changed.
func RouteConfiguration(name string, vhosts []*routev3.VirtualHost) *routev3.RouteConfiguration {
	return &routev3.RouteConfiguration{
		Name:                           name,
		VirtualHosts:                   unclaimed(vhosts),
		RequestHeadersToRemove:         []string{HeaderTag, HeaderVIP},
		MaxDirectResponseBodySizeBytes: wrapperspb.UInt32(maxDirectBody),
		// :authority may carry the port of the listener, of a node port or of a tunnel; hosts are matched without.
		IgnorePortInHostMatching: true,
	}
}

func unclaimed(vhosts []*routev3.VirtualHost) []*routev3.VirtualHost {
	out := make([]*routev3.VirtualHost, 0, len(vhosts))
	owner := map[string]bool{}
	for _, v := range vhosts {
		var free []string
		for _, d := range v.Domains {
			if !owner[d] {
				free = append(free, d)
			}
			owner[d] = true
		}
		switch {
		case len(free) == 0:
		case len(free) == len(v.Domains):
			out = append(out, v)
		default:
			out = append(out, withDomains(v, free))
		}
	}
	return out
}

func withDomains(v *routev3.VirtualHost, domains []string) *routev3.VirtualHost {
	return &routev3.VirtualHost{Name: v.Name, Domains: domains, Routes: v.Routes, RequireTls: v.RequireTls}
}
