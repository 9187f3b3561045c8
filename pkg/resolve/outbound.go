package resolve

import (
	"net/netip"
	"slices"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// Outbound is what clients of the mesh are served: one frontend a port of a host, and how it is found.
type Outbound struct {
	// Frontends is keyed by cluster name without subset.
	Frontends *table.Derived[*model.Frontend]
	// Scopes maps the address of an HTTP frontend, "ip:port", to its route table.
	Scopes *table.Derived[*Scope]
	// Named are the virtual hosts of the table that is searched by :authority, by "host:port".
	Named *table.Derived[*model.VirtualHost]

	cfg      Config
	hosts    *Hosts
	policies *Policies
	http     *VirtualHosts
	tcp      *table.Index[*RouteState]
	claims   *table.Index[*model.Frontend] // by each name that the frontend may be called by
}

// Scope is one key of the address-based route lookup.
type Scope struct {
	// Address is "ip:port", Table the route table, Origin whose it is.
	Address, Table string
	Origin         model.Ref
	// Audience are the clients that see the host.
	Audience *model.Audience
}

func newOutbound(e *table.Engine, cfg Config, hosts *Hosts, policies *Policies, http *VirtualHosts, t *Traffic) *Outbound {
	o := &Outbound{cfg: cfg, hosts: hosts, policies: policies, http: http}
	o.tcp = table.NewIndex(t.Routes, "tcp routes by mesh host", func(_ string, s *RouteState) []string {
		var keys []string
		for i := range s.TCP {
			if s.TCP[i].Config == MeshConfig {
				keys = append(keys, s.TCP[i].Host)
			}
		}
		return keys
	})
	ports := table.NewIndex(hosts.Table, "frontends of hosts", func(_ string, h *model.Host) []string {
		var keys []string
		for _, p := range h.Ports {
			if p.Protocol != model.ProtoUDP {
				keys = append(keys, model.ClusterID{Namespace: h.Namespace, Host: h.Name, Port: p.Number}.String())
			}
		}
		return keys
	})
	o.Frontends = table.NewDerived(e, "frontends", o.frontend, []table.Trigger{ports})
	addresses := table.NewIndex(o.Frontends, "http frontends by address", func(_ string, f *model.Frontend) []string {
		return scopeAddresses(f)
	})
	o.Scopes = table.NewDerived(e, "scopes", func(r *table.Reader, address string) (*Scope, bool) {
		return scope(table.List(r, addresses, address), address)
	}, []table.Trigger{addresses})
	o.declareNamed(e)
	return o
}

// frontend joins one port of a host with the routes for it.
func (o *Outbound) frontend(r *table.Reader, name string) (*model.Frontend, bool) {
	id, ok := model.ParseClusterID(name)
	if !ok {
		return nil, false
	}
	h, ok := table.Get(r, o.hosts.Table, id.HostKey())
	if !ok {
		return nil, false
	}
	p := h.Port(id.Port)
	if p == nil {
		return nil, false
	}
	f := &model.Frontend{Name: name, ID: id, Protocol: p.Protocol, Addresses: h.Addresses, Origins: []model.Ref{h.Origin}, Audience: h.Audience}
	if p.Protocol.IsHTTP() {
		f.HTTP = o.httpHost(r, h, id)
		for _, ref := range f.HTTP.Origins {
			f.Origins = addRef(f.Origins, ref)
		}
		return f, true
	}
	f.TCP = append(o.tcpRoutes(r, h, id), o.defaultTCP(r, h, id))
	for i := range f.TCP {
		for _, ref := range f.TCP[i].Origins {
			f.Origins = addRef(f.Origins, ref)
		}
	}
	return f, true
}

// httpHost gathers the mesh routes for one port, and the default one for clients that none of them was made for.
func (o *Outbound) httpHost(r *table.Reader, h *model.Host, id model.ClusterID) *model.VirtualHost {
	v := &model.VirtualHost{Config: id.String(), Host: "*", Domains: []string{"*"}, Origins: []model.Ref{h.Origin}}
	merged, covered := o.meshRoutes(r, h.Name)
	for _, rt := range merged {
		if rt.Match.Port == 0 || rt.Match.Port == id.Port {
			v.Routes = append(v.Routes, onPort(rt, id.Port))
		}
	}
	if !covered {
		v.Routes = append(v.Routes, o.defaultRoute(r, h, id))
	}
	restrict(v, h)
	for _, ref := range origins(v.Routes) {
		v.Origins = addRef(v.Origins, ref)
	}
	return v
}

// meshRoutes are the routes of the mesh for a host name; covered tells that some object is for all clients, so that what it does not
// match is not found, as for Istio.
func (o *Outbound) meshRoutes(r *table.Reader, host string) (routes []model.Route, covered bool) {
	bound, api := o.meshBindings(r, host)
	for _, b := range append(slices.Clone(bound), api...) {
		covered = covered || len(b.Visible) == 0
	}
	return append(sortHTTPRoutes(api), mergeVirtualServices(bound)...), covered
}

// meshBindings are what VirtualServices and HTTPRoutes contribute to a host name of the mesh, by the most specific name that
// has routes.
func (o *Outbound) meshBindings(r *table.Reader, host string) (bound, api []*Binding) {
	for _, name := range withWildcards(host) {
		key := bindingKey(MeshConfig, name)
		bound = o.http.bindings(r, o.http.traffic, key)
		api = o.http.bindings(r, o.http.api, key)
		if len(bound)+len(api) > 0 {
			break
		}
	}
	return bound, api
}

// defaultRoute sends everything to the host itself, retried as Istio does.
func (o *Outbound) defaultRoute(r *table.Reader, h *model.Host, id model.ClusterID) model.Route {
	fw := &model.Forward{
		Backends: []model.Backend{{Cluster: id.String(), Weight: 1}}, Upgrades: []string{"websocket"},
		Retry: DefaultRetry(),
	}
	if hash := o.policies.of(r, h, id.Port, "").LB.Hash; hash != nil {
		fw.Hash = []model.HashPolicy{*hash}
	}
	return model.Route{Name: h.Origin.String(), Forward: fw, Origins: []model.Ref{h.Origin}}
}

// restrict keeps clients of namespaces that the host is not exported to from reaching it. A route for other namespaces only
// is left out.
func restrict(v *model.VirtualHost, h *model.Host) {
	if len(h.ExportTo) == 0 || slices.Contains(h.ExportTo, "*") {
		return
	}
	var seen []string
	for _, ns := range h.ExportTo {
		if ns == "." {
			ns = h.Namespace
		}
		seen = append(seen, ns)
	}
	var routes []model.Route
	for _, rt := range v.Routes {
		s := model.SourceMatch{}
		if rt.Match.Source != nil {
			s = *rt.Match.Source
		}
		if len(s.Namespaces) == 0 {
			s.Namespaces = seen
		} else {
			s.Namespaces = slices.DeleteFunc(slices.Clone(s.Namespaces), func(ns string) bool { return !slices.Contains(seen, ns) })
		}
		if len(s.Namespaces) > 0 {
			rt.Match.Source = &s
			routes = append(routes, rt)
		}
	}
	v.Routes = routes
}

// tcpRoutes are the mesh's tcp and tls routes for one port, oldest object first.
func (o *Outbound) tcpRoutes(r *table.Reader, h *model.Host, id model.ClusterID) []model.TCPRoute {
	var bound []TCPBinding
	for _, e := range table.List(r, o.tcp, h.Name) {
		for _, b := range e.Value.TCP {
			if b.Config == MeshConfig && b.Host == h.Name && (b.Route.Port == 0 || b.Route.Port == id.Port) {
				bound = append(bound, b)
			}
		}
	}
	return sortTCP(bound)
}

func sortTCP(bound []TCPBinding) []model.TCPRoute {
	SortTCP(bound)
	routes := make([]model.TCPRoute, len(bound))
	for i := range bound {
		routes[i] = bound[i].Route
	}
	return routes
}

// SortTCP puts the routes of older objects first.
func SortTCP(bound []TCPBinding) {
	slices.SortStableFunc(bound, func(a, b TCPBinding) int {
		switch {
		case a.Meta.Ref == b.Meta.Ref:
			return 0
		case a.Meta.Older(b.Meta):
			return -1
		}
		return 1
	})
}

// defaultTCP sends all connections to the host itself.
func (o *Outbound) defaultTCP(r *table.Reader, h *model.Host, id model.ClusterID) model.TCPRoute {
	t := model.TCPRoute{
		Name: h.Origin.String(), Origins: []model.Ref{h.Origin},
		Backends: []model.Backend{{Cluster: id.String(), Weight: 1}},
	}
	if p := h.Port(id.Port); p.Protocol.IsTLS() && len(h.Addresses) == 0 {
		t.SNI = []string{h.Name}
	}
	limitConnections(&t, o.policies.of(r, h, id.Port, ""))
	return t
}

// scopeAddresses are the single addresses that an HTTP frontend is found by.
func scopeAddresses(f *model.Frontend) []string {
	if !f.Protocol.IsHTTP() {
		return nil
	}
	var keys []string
	for _, p := range f.Addresses {
		if p.IsSingleIP() {
			keys = append(keys, netip.AddrPortFrom(p.Addr(), f.ID.Port).String())
		}
	}
	return keys
}

// scope picks the frontend that an address leads to.
func scope(claims []table.Entry[*model.Frontend], address string) (*Scope, bool) {
	if len(claims) == 0 {
		return nil, false
	}
	f := preferred(claims)
	return &Scope{Address: address, Table: f.Name, Origin: f.Origins[0], Audience: f.Audience}, true
}
