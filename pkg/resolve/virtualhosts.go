package resolve

import (
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// VirtualHosts merges what route objects contribute to one host of one table.
type VirtualHosts struct {
	// Table is keyed by "config|host".
	Table *table.Derived[*model.VirtualHost]

	api, traffic *table.Index[*RouteState]
	ports        *table.Derived[*Port]
}

func newVirtualHosts(e *table.Engine, s *Servers, api, traffic *table.Derived[*RouteState]) *VirtualHosts {
	v := &VirtualHosts{
		api:     table.NewIndex(api, "httproutes by host", bindingKeys),
		traffic: table.NewIndex(traffic, "virtualservices by host", bindingKeys),
		ports:   s.Ports,
	}
	served := table.NewIndex(s.Ports, "served hosts", func(_ string, p *Port) []string {
		var keys []string
		for i := range p.Servers {
			if !CarriesHTTP(&p.Servers[i]) {
				continue
			}
			for _, h := range HostsOf(&p.Servers[i]) {
				keys = append(keys, bindingKey(ServerConfig(&p.Servers[i], h), h))
			}
		}
		return keys
	})
	v.Table = table.NewDerived(e, "virtualhosts", v.host, []table.Trigger{v.api, v.traffic, served})
	return v
}

// CarriesHTTP tells whether the requests of a server are routed, rather than its connections.
func CarriesHTTP(s *model.Server) bool {
	return (s.Protocol.IsHTTP() || s.Protocol == model.ProtoHTTPS) && (s.TLS == nil || s.TLS.Mode != model.Passthrough)
}

// HostsOf lists the host names of a server; one without hosts serves all.
func HostsOf(s *model.Server) []string {
	if len(s.Hosts) == 0 {
		return []string{"*"}
	}
	hosts := make([]string, len(s.Hosts))
	for i, h := range s.Hosts {
		hosts[i] = h.Host
		if h.Host == "" {
			hosts[i] = "*"
		}
	}
	return hosts
}

// host builds one virtual host. One that no route binds to still exists while a server serves it, so that its requests
// get 404 rather than the routes of a wildcard beside it.
func (v *VirtualHosts) host(r *table.Reader, key string) (*model.VirtualHost, bool) {
	config, host, _ := strings.Cut(key, "|")
	h := &model.VirtualHost{Config: config, Host: host, Domains: []string{host}}
	servers := v.servers(r, config)
	winner := mostSpecific(servers, host)
	if config != MeshConfig && winner == "" {
		return nil, false
	}
	h.RequireTLS = redirects(servers, winner)
	h.Routes = append(v.httpRoutes(r, config, host, servers, winner), mergeVirtualServices(v.bindings(r, v.traffic, key))...)
	h.Origins = origins(h.Routes)
	for i := range servers {
		if slices.Contains(HostsOf(&servers[i]), winner) { // another Gateway on the port has no part in it
			h.Origins = addRef(h.Origins, servers[i].Gateway)
		}
	}
	return h, true
}

// bindings lists what the objects of an index contribute to one key.
func (v *VirtualHosts) bindings(r *table.Reader, ix *table.Index[*RouteState], key string) []*Binding {
	var out []*Binding
	for _, e := range table.List(r, ix, key) {
		for i := range e.Value.Bindings {
			if b := &e.Value.Bindings[i]; bindingKey(b.Config, b.Host) == key {
				out = append(out, b)
			}
		}
	}
	return out
}

// httpRoutes gathers the HTTPRoutes of a host, then those of the wildcards above it that its server also carries:
// "precedence must be given to rules from the HTTPRoute with the most specific hostname", which does not stop the others
// from matching (Gateway API, HTTPRouteSpec.hostnames).
func (v *VirtualHosts) httpRoutes(r *table.Reader, config, host string, servers []model.Server, server string) []model.Route {
	var out []model.Route
	taken := map[model.Ref]bool{} // one object may have several of the names; its rules count once
	for _, h := range withWildcards(host) {
		var same []*Binding
		for _, b := range v.bindings(r, v.api, bindingKey(config, h)) {
			if !taken[b.Meta.Ref] && (config == MeshConfig || hostOfServer(servers, b.Server, server)) {
				same = append(same, b)
			}
		}
		for _, b := range same {
			taken[b.Meta.Ref] = true
		}
		out = append(out, sortHTTPRoutes(same)...)
		if config == MeshConfig {
			break
		}
	}
	return out
}

// servers are the servers whose route table is config.
func (v *VirtualHosts) servers(r *table.Reader, config string) []model.Server {
	bind, ok := strings.CutPrefix(config, "gateway/")
	if !ok {
		return nil
	}
	bind, _, _ = strings.Cut(bind, "/")
	p, ok := table.Get(r, v.ports, bind)
	if !ok {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.Servers), func(s model.Server) bool {
		return !slices.ContainsFunc(HostsOf(&s), func(h string) bool { return ServerConfig(&s, h) == config })
	})
}

// hostOfServer tells whether the server of that key has the given host.
func hostOfServer(servers []model.Server, key, host string) bool {
	return slices.ContainsFunc(servers, func(s model.Server) bool {
		return ServerKey(&s) == key && slices.Contains(HostsOf(&s), host)
	})
}

// mostSpecific is the server host that a request for host belongs to: only that listener's routes apply to it (Gateway
// API, listener isolation). Empty when none covers it.
func mostSpecific(servers []model.Server, host string) string {
	best := ""
	for i := range servers {
		for _, h := range HostsOf(&servers[i]) {
			if covers(h, host) && len(h) > len(best) {
				best = h
			}
		}
	}
	return best
}

// covers tells whether every name under host is also under pattern.
func covers(pattern, host string) bool {
	if pattern == "*" || strings.EqualFold(pattern, host) {
		return true
	}
	return strings.HasPrefix(pattern, "*.") && strings.HasSuffix(strings.TrimPrefix(host, "*"), pattern[1:])
}

// redirects tells whether every server of that host asks for HTTPS.
func redirects(servers []model.Server, host string) bool {
	any := false
	for i := range servers {
		if !slices.Contains(HostsOf(&servers[i]), host) {
			continue
		}
		if !servers[i].HTTPSRedirect {
			return false
		}
		any = true
	}
	return any
}

func origins(routes []model.Route) []model.Ref {
	var refs []model.Ref
	for i := range routes {
		for _, o := range routes[i].Origins {
			refs = addRef(refs, o)
		}
	}
	return refs
}

func addRef(refs []model.Ref, r model.Ref) []model.Ref {
	if slices.Contains(refs, r) {
		return refs
	}
	return append(refs, r)
}

// withWildcards is a host name and the wildcards that cover it, the most specific first.
func withWildcards(host string) []string {
	out := []string{host}
	rest := strings.TrimPrefix(host, "*.")
	if rest == host && host != "*" {
		_, rest, _ = strings.Cut(host, ".")
	} else {
		_, rest, _ = strings.Cut(rest, ".")
	}
	for host != "*" && rest != "" {
		out = append(out, "*."+rest)
		_, rest, _ = strings.Cut(rest, ".")
	}
	if host != "*" {
		out = append(out, "*")
	}
	return out
}
