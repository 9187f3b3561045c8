package translate

import (
	"strings"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// virtualHostField is RouteConfiguration.virtual_hosts.
const virtualHostField = 2

// declareRoutes publishes the route tables. A mesh frontend is a table of its own. A gateway's table is put together
// from virtual hosts that were encoded one by one, so that an edit costs one of them and a copy of bytes.
func (o *Outputs) declareRoutes() {
	encodeHost := func(v *model.VirtualHost) (*part, bool) {
		b, ok := encodePart(virtualHostField, VirtualHost(v))
		return &part{bytes: b, origins: v.Origins}, ok
	}
	o.gateway = table.NewDerived(o.engine, "encoded virtualhosts", func(r *table.Reader, key string) (*part, bool) {
		v, ok := table.Get(r, o.res.HTTP.Table, key)
		if !ok || v.Config == resolve.MeshConfig {
			return nil, false
		}
		return encodeHost(v)
	}, []table.Trigger{o.res.HTTP.Table})
	o.named = table.NewDerived(o.engine, "encoded named hosts", func(r *table.Reader, key string) (*part, bool) {
		v, ok := table.Get(r, o.res.Outbound.Named, key)
		if !ok {
			return nil, false
		}
		return encodeHost(v)
	}, []table.Trigger{o.res.Outbound.Named})
	byConfig := table.NewIndex(o.gateway, "encoded virtualhosts by table", func(key string, _ *part) []string {
		config, _, _ := strings.Cut(key, "|")
		return []string{config}
	})
	allNamed := table.NewIndex(o.named, "encoded named hosts, all", func(string, *part) []string {
		return []string{model.HostTable}
	})
	frontends := table.NewIndex(o.res.Outbound.Frontends, "http frontends by table", func(key string, f *model.Frontend) []string {
		if f.HTTP == nil || len(f.Addresses) == 0 {
			return nil
		}
		return []string{key}
	})
	always := table.NewIndex(o.res.Servers.Ports, "route tables of ports", func(_ string, p *resolve.Port) []string {
		return routeTables(p)
	})
	o.declare(resource.RouteType, "xds routes", func(r *table.Reader, name string) (*snapshot.Resource, bool) {
		switch {
		case name == model.HostTable:
			return o.assemble(r, name, table.List(r, allNamed, name))
		case strings.HasPrefix(name, "gateway/"):
			return o.assemble(r, name, table.List(r, byConfig, name))
		}
		f, ok := table.Get(r, o.res.Outbound.Frontends, name)
		if !ok {
			return nil, false
		}
		return encode(r, name, RouteConfiguration(name, []*routev3.VirtualHost{VirtualHost(f.HTTP)}), f.HTTP.Origins)
	}, []table.Trigger{byConfig, allNamed, frontends, always})
}

// routeTables are the tables that the listeners of a port ask for.
func routeTables(p *resolve.Port) []string {
	var names []string
	for i := range p.Servers {
		if s := &p.Servers[i]; s.Protocol.IsHTTP() || s.Protocol == model.ProtoHTTPS {
			for _, h := range resolve.HostsOf(s) {
				names = append(names, resolve.ServerConfig(s, h))
			}
		}
	}
	return names
}

// assemble puts encoded virtual hosts into a RouteConfiguration.
func (o *Outputs) assemble(r *table.Reader, name string, hosts []table.Entry[*part]) (*snapshot.Resource, bool) {
	rc := RouteConfiguration(name, nil)
	// In the mesh the port of :authority is a port of the host, which may have other routes or another protocol there.
	rc.IgnorePortInHostMatching = name != model.HostTable
	res, ok := encode(r, name, rc, nil)
	if !ok {
		return nil, false
	}
	var whose refSet
	body := res.Body.Value
	for _, h := range hosts {
		body = append(body, h.Value.bytes...)
		whose.add(h.Value.origins...)
	}
	res.Origins = whose.refs
	return snapshot.FromBytes(res, body), true
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
