package translate

import (
	"net/netip"
	"slices"
	"sort"
	"strconv"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// filterChainField is Listener.filter_chains.
const filterChainField = 3

// chains are the pieces that the outbound listener is put together from.
type chains struct {
	// tcp lists the encoded chains of connection-level frontends; http tells which ports carry HTTP.
	tcp   *table.Index[*frontendChains]
	ports *table.Index[*httpPort]
}

// httpPort is a port number that some frontend with an address, or some named host, serves HTTP on.
type httpPort struct {
	number uint16
	// beyond are the addresses of HTTP frontends that lie outside the ranges of Services; ranges are those that hold more
	// than one address, for which no scope can be named.
	beyond  []netip.Prefix
	ranges  []httpRange
	byVIP   bool
	byName  bool
	origins []model.Ref
}

// httpRange is a frontend on a whole range of addresses.
type httpRange struct {
	table    string
	prefixes []netip.Prefix
}

// declareChains declares what the outbound listener reads: it changes with port numbers and with connection-level
// frontends, not with every HTTP host.
func (o *Outputs) declareChains() chains {
	out := o.res.Outbound
	tcp := table.NewDerived(o.engine, "outbound chains", func(r *table.Reader, name string) (*frontendChains, bool) {
		f, ok := table.Get(r, out.Frontends, name)
		if !ok || f.Protocol.IsHTTP() {
			return nil, false
		}
		return encodeChains(f)
	}, []table.Trigger{out.Frontends})
	byPort := table.NewIndex(out.Frontends, "http frontends by port", func(_ string, f *model.Frontend) []string {
		if !f.Protocol.IsHTTP() {
			return nil
		}
		p := strconv.Itoa(int(f.ID.Port))
		if len(f.Addresses) == 0 {
			return []string{"name/" + p}
		}
		if beyond := o.beyond(f); len(beyond) > 0 {
			return []string{"vip/" + p, "beyond/" + p}
		}
		return []string{"vip/" + p}
	})
	numbers := table.NewIndex(out.Frontends, "http port numbers", func(_ string, f *model.Frontend) []string {
		if !f.Protocol.IsHTTP() {
			return nil
		}
		return []string{strconv.Itoa(int(f.ID.Port))}
	})
	ports := table.NewDerived(o.engine, "http ports", func(r *table.Reader, key string) (*httpPort, bool) {
		n, err := strconv.ParseUint(key, 10, 16)
		if err != nil {
			return nil, false
		}
		p := &httpPort{number: uint16(n), byVIP: table.Any(r, byPort, "vip/"+key), byName: table.Any(r, byPort, "name/"+key)}
		for _, e := range table.List(r, byPort, "beyond/"+key) {
			p.addBeyond(e.Value.Name, o.beyond(e.Value))
			p.origins = addOrigin(p.origins, e.Value.Origins[0])
		}
		return p, true
	}, []table.Trigger{numbers})
	return chains{
		tcp:   table.NewIndex(tcp, "outbound chains, all", func(string, *frontendChains) []string { return []string{"all"} }),
		ports: table.NewIndex(ports, "http ports, all", func(string, *httpPort) []string { return []string{"all"} }),
	}
}

// addBeyond sorts the addresses of a frontend into single ones and ranges. A range stays with the first that has it.
func (p *httpPort) addBeyond(name string, addresses []netip.Prefix) {
	own := httpRange{table: name}
	for _, a := range addresses {
		a = a.Masked()
		switch {
		case a.IsSingleIP():
			p.beyond = append(p.beyond, a)
		case !slices.ContainsFunc(p.ranges, func(r httpRange) bool { return slices.Contains(r.prefixes, a) }) && !slices.Contains(own.prefixes, a):
			own.prefixes = append(own.prefixes, a)
		}
	}
	if len(own.prefixes) > 0 {
		p.ranges = append(p.ranges, own)
	}
}

// beyond are the addresses of a frontend that lie outside the ranges of Services.
func (o *Outputs) beyond(f *model.Frontend) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(f.Addresses), func(p netip.Prefix) bool {
		return slices.ContainsFunc(o.res.Config.ServiceCIDRs, func(c netip.Prefix) bool { return c.Contains(p.Addr()) && c.Bits() <= p.Bits() })
	})
}

// outbound puts the shared internal listener together.
func (o *Outputs) outbound(r *table.Reader, c chains) (*snapshot.Resource, bool) {
	l := &listenerv3.Listener{
		Name:                          model.OutboundListener,
		ListenerSpecifier:             &listenerv3.Listener_InternalListener{InternalListener: &listenerv3.Listener_InternalListenerConfig{}},
		ListenerFilters:               []*listenerv3.ListenerFilter{originalDst()},
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(connectionBuffer),
		DefaultFilterChain: &listenerv3.FilterChain{Name: "passthrough", Filters: []*listenerv3.Filter{
			tcpProxy(&model.TCPRoute{Backends: []model.Backend{{Cluster: passthroughCluster, Weight: 1}}}),
		}},
	}
	var whose refSet
	ports := table.List(r, c.ports, "all")
	sort.Slice(ports, func(i, j int) bool { return ports[i].Value.number < ports[j].Value.number })
	for _, e := range ports {
		l.FilterChains = append(l.FilterChains, o.httpChains(e.Value)...)
		whose.add(e.Value.origins...)
	}
	for _, s := range o.res.Config.Stubs {
		l.FilterChains = append(l.FilterChains, &listenerv3.FilterChain{
			Name: "stub/" + s.Name,
			FilterChainMatch: &listenerv3.FilterChainMatch{
				DestinationPort: wrapperspb.UInt32(uint32(s.Address.Port())),
				PrefixRanges:    []*corev3.CidrRange{cidr(netip.PrefixFrom(s.Address.Addr(), s.Address.Addr().BitLen()))},
			},
			Filters: []*listenerv3.Filter{namedHCM()},
		})
	}
	tcp, sniPorts := unclaimedChains(l.FilterChains, table.List(r, c.tcp, "all"))
	inspectTLS(l, sniPorts)
	res, ok := encode(r, l.Name, l, nil)
	if !ok {
		return nil, false
	}
	body := res.Body.Value
	for _, f := range tcp {
		for i := range f.chains {
			body = append(body, f.chains[i].bytes...)
		}
		whose.add(f.origins...)
	}
	res.Origins = whose.refs
	return snapshot.FromBytes(res, body), true
}

// httpChains are the chains of a port number that carries HTTP: by address where Services live, by name elsewhere.
func (o *Outputs) httpChains(p *httpPort) []*listenerv3.FilterChain {
	port := wrapperspb.UInt32(uint32(p.number))
	suffix := "/" + strconv.Itoa(int(p.number))
	var out []*listenerv3.FilterChain
	if p.byVIP {
		m := &listenerv3.FilterChainMatch{DestinationPort: port}
		for _, c := range append(slices.Clone(o.res.Config.ServiceCIDRs), sortedPrefixes(p.beyond)...) {
			m.PrefixRanges = append(m.PrefixRanges, cidr(c))
		}
		out = append(out, &listenerv3.FilterChain{Name: "http" + suffix, FilterChainMatch: m, Filters: []*listenerv3.Filter{
			HCM(HCMOptions{StatPrefix: "outbound", Scoped: true, Tag: model.MeshTag}),
		}})
	}
	for _, r := range p.ranges {
		m := &listenerv3.FilterChainMatch{DestinationPort: port}
		for _, c := range r.prefixes {
			m.PrefixRanges = append(m.PrefixRanges, cidr(c))
		}
		out = append(out, &listenerv3.FilterChain{Name: "range/" + r.table, FilterChainMatch: m, Filters: []*listenerv3.Filter{
			HCM(HCMOptions{StatPrefix: "outbound", RouteConfig: r.table}),
		}})
	}
	if p.byName {
		out = append(out, &listenerv3.FilterChain{
			Name: "named" + suffix, FilterChainMatch: &listenerv3.FilterChainMatch{DestinationPort: port},
			Filters: []*listenerv3.Filter{namedHCM()},
		})
	}
	return out
}

func sortedPrefixes(p []netip.Prefix) []netip.Prefix {
	slices.SortFunc(p, func(a, b netip.Prefix) int { return a.Compare(b) })
	return slices.Compact(p)
}

// namedHCM searches the table of mesh hosts by :authority.
func namedHCM() *listenerv3.Filter {
	return HCM(HCMOptions{StatPrefix: "outbound_named", RouteConfig: model.HostTable})
}
