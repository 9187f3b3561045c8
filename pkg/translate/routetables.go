package translate

import (
	"slices"
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// VirtualHostType is the type URL of virtual host discovery; go-control-plane names no constant for it.
const VirtualHostType = "type.googleapis.com/envoy.config.route.v3.VirtualHost"

// declareRoutes publishes the route tables. A mesh frontend is a table of its own. The tables that are searched by
// :authority only say that their virtual hosts come one by one.
func (o *Outputs) declareRoutes() {
	frontends := table.NewIndex(o.res.Outbound.Frontends, "http frontends by table", func(key string, f *model.Frontend) []string {
		if f.HTTP == nil || len(f.Addresses) == 0 {
			return nil
		}
		return []string{key}
	})
	ports := table.NewIndex(o.res.Servers.Ports, "route tables of ports", func(_ string, p *resolve.Port) []string {
		return routeTables(p)
	})
	hosts := table.NewIndex(o.res.Outbound.Named, "named hosts by table", func(string, *model.VirtualHost) []string {
		return []string{model.HostTable}
	})
	o.declare(resource.RouteType, "xds routes", func(r *table.Reader, key string) (*snapshot.Resource, bool) {
		name, variant, _ := strings.Cut(key, " ")
		if name == model.HostTable || strings.HasPrefix(name, "gateway/") {
			return encode(r, name, hostTable(name), o.gatewaysOf(r, ports, name))
		}
		f, ok := table.Get(r, o.res.Outbound.Frontends, name)
		if !ok {
			return nil, false
		}
		host := f.HTTP
		if namespace, ok := grpcClient(variant); ok {
			host = grpcHost(host, namespace)
		}
		return encodeVariant(r, name, variant, RouteConfiguration(name, []*routev3.VirtualHost{VirtualHost(host)}), f.HTTP.Origins)
	}, append([]table.Trigger{frontends, ports, hosts, o.declareGRPCRoutes()}, o.stubTables()...))
	o.declareVirtualHosts()
}

// stubTables make the host table exist for the stubs, whose listeners ask for it, before any host is in it.
func (o *Outputs) stubTables() []table.Trigger {
	if len(o.res.Config.Stubs) == 0 {
		return nil
	}
	return []table.Trigger{o.res.Fixed(o.engine, "route tables of stubs", []string{model.HostTable})}
}

// gatewaysOf are the gateways whose servers a table is for.
func (o *Outputs) gatewaysOf(r *table.Reader, ports *table.Index[*resolve.Port], name string) []model.Ref {
	var whose refSet
	for _, p := range table.List(r, ports, name) {
		for i := range p.Value.Servers {
			s := &p.Value.Servers[i]
			if slices.ContainsFunc(resolve.HostsOf(s), func(h string) bool { return resolve.ServerConfig(s, h) == name }) {
				whose.add(s.Gateway)
			}
		}
	}
	return whose.refs
}

// hostTable is a route table whose virtual hosts are resources of their own: an edit of one sends one.
func hostTable(name string) *routev3.RouteConfiguration {
	rc := RouteConfiguration(name, nil)
	rc.Vhds = &routev3.Vhds{ConfigSource: ads()}
	// In the mesh the port of :authority is a port of the host, which may have other routes or another protocol there.
	rc.IgnorePortInHostMatching = name != model.HostTable
	return rc
}

// declareVirtualHosts publishes the virtual hosts, named "<table>/<host>": Envoy finds the table by what stands before the
// last slash.
func (o *Outputs) declareVirtualHosts() {
	name := func(v *model.VirtualHost) []string { return []string{v.Config + "/" + v.Host} }
	gateway := table.NewIndex(o.res.HTTP.Table, "gateway hosts by name", func(_ string, v *model.VirtualHost) []string {
		if v.Config == resolve.MeshConfig {
			return nil
		}
		return name(v)
	})
	named := table.NewIndex(o.res.Outbound.Named, "named hosts by name", func(_ string, v *model.VirtualHost) []string { return name(v) })
	o.declare(VirtualHostType, "xds virtualhosts", func(r *table.Reader, name string) (*snapshot.Resource, bool) {
		for _, ix := range []*table.Index[*model.VirtualHost]{gateway, named} {
			for _, e := range table.List(r, ix, name) {
				return encodeFor(r, e.Value.Audience, name, VirtualHost(e.Value), e.Value.Origins)
			}
		}
		return nil, false
	}, []table.Trigger{gateway, named})
}

// routeTables are the tables that the listeners of a port ask for.
func routeTables(p *resolve.Port) []string {
	var names []string
	for i := range p.Servers {
		if s := &p.Servers[i]; resolve.CarriesHTTP(s) {
			for _, h := range resolve.HostsOf(s) {
				names = append(names, resolve.ServerConfig(s, h))
			}
		}
	}
	return names
}

// refSet gathers the origins of a resource that is made from many objects, in the order of their first appearance.
type refSet struct {
	refs []model.Ref
	seen map[model.Ref]bool
}

func (s *refSet) add(refs ...model.Ref) {
	for _, r := range refs {
		if !s.seen[r] {
			if s.seen == nil {
				s.seen = map[model.Ref]bool{}
			}
			s.seen[r] = true
			s.refs = append(s.refs, r)
		}
	}
}
