package resolve

import (
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/pkg/model"
)

// bindPoint is where rules are bound to: one server of a gateway, or one host of the mesh.
type bindPoint struct {
	attachment
	// port is that of the server; ports are those of the mesh host, for rules that follow the request's port.
	port  uint16
	ports []uint16
	// visible are the namespaces of clients of the mesh; nil means all.
	visible []string
}

// bindHTTP binds the rules to every gateway and to the mesh. A host need not be served by all of them.
func (v *vsRun) bindHTTP(rules []httpRule) []Binding {
	if len(v.vs.Spec.HTTP) == 0 {
		return nil
	}
	var out []Binding
	reach := newReach(v.vs)
	for _, a := range v.attached {
		if a.mesh() {
			out = append(out, v.bindMesh(a, rules, reach)...)
		} else {
			out = append(out, v.bindGateway(a, rules, reach)...)
		}
	}
	reach.complain(v)
	return out
}

// reach keeps where each host of an object is served, and why not elsewhere.
type reach struct {
	served []bool
	why    [][]model.Condition
}

func newReach(vs *VirtualService) *reach {
	return &reach{make([]bool, len(vs.Spec.Hosts)), make([][]model.Condition, len(vs.Spec.Hosts))}
}

// miss notes why a host is not served at one place.
func (c *reach) miss(host int, warning bool, format string, args ...any) {
	n := &notes{}
	n.add(warning, reasonUnresolved, "spec.hosts["+strconv.Itoa(host)+"]", format, args...)
	c.why[host] = append(c.why[host], n.list...)
}

// complain names the hosts that are served nowhere.
func (c *reach) complain(v *vsRun) {
	for i, served := range c.served {
		if !served {
			v.list = append(v.list, c.why[i]...)
		}
	}
}

func (v *vsRun) bindMesh(a attachment, rules []httpRule, reach *reach) []Binding {
	visible, ok := v.seenBy()
	if !ok {
		return nil
	}
	var out []Binding
	for i, h := range v.vs.Spec.Hosts {
		name := v.meshHost(h)
		if name == "*" {
			// It would take every service's traffic.
			reach.miss(i, false, `host "*" is for gateways; in the mesh name the hosts, or remove "mesh" from spec.gateways`)
			continue
		}
		if slices.ContainsFunc(out, func(b Binding) bool { return b.Host == name }) {
			reach.served[i] = true
			continue
		}
		ports, known := v.hostPorts(name)
		switch {
		case !known && !strings.HasPrefix(name, "*"):
			reach.miss(i, true, "no Service or ServiceEntry has the host %s%s; clients of the mesh reach the routes only if they ask for that name", name, v.hint(name))
		case known && len(ports) == 0:
			reach.miss(i, true, "host %s has no port that carries HTTP, so the routes of spec.http are not used for it; name a port http-… or set appProtocol", name)
		default:
			reach.served[i] = true
		}
		routes := v.routes(rules, bindPoint{attachment: a, ports: ports, visible: visible})
		out = append(out, Binding{Config: MeshConfig, Host: name, Routes: routes, Meta: &v.vs.Meta, Visible: visible})
	}
	return out
}

// seenBy are the namespaces whose clients of the mesh see the routes, nil for all; false when none does.
func (v *vsRun) seenBy() ([]string, bool) {
	all, visible := exportList(v.vs)
	if !all && len(visible) == 0 {
		v.warn(reasonNotServed, "spec.exportTo", "no client of the mesh sees the routes: exportTo names no namespace")
		return nil, false
	}
	return visible, true
}

// hostPorts are the ports of a mesh host that carry requests.
func (v *vsRun) hostPorts(name string) (out []uint16, known bool) {
	h, ok := v.hosts.Lookup(v.r, v.vs.Namespace, name)
	if !ok {
		return nil, false
	}
	for _, p := range h.Ports {
		if p.Protocol.IsHTTP() {
			out = append(out, p.Number)
		}
	}
	return out, true
}

func (v *vsRun) bindGateway(a attachment, rules []httpRule, reach *reach) []Binding {
	var out []Binding
	var offered []string
	reached := make([]bool, len(v.vs.Spec.Hosts))
	for i := range a.State.Servers {
		s := &a.State.Servers[i]
		if !servesHTTP(s) {
			continue
		}
		var routes []model.Route
		for _, sh := range serverHosts(s) {
			offered = append(offered, hostText(sh))
			for j, h := range v.vs.Spec.Hosts {
				host, ok := commonHost(v.gatewayHost(h), sh.Host)
				if !ok || !sh.admits(v.vs.Namespace) {
					continue
				}
				reached[j] = true
				b := Binding{Config: ServerConfig(s, sh.Host), Host: host, Meta: &v.vs.Meta, Server: ServerKey(s)}
				if slices.ContainsFunc(out, func(o Binding) bool { return o.Config == b.Config && o.Host == b.Host && o.Server == b.Server }) {
					continue
				}
				if routes == nil {
					routes = v.routes(rules, bindPoint{attachment: a, port: s.Bind.Port})
				}
				b.Routes = routes
				out = append(out, b)
			}
		}
	}
	v.unreached(a, reached, offered, reach)
	return out
}

// unreached notes the hosts of the object that a gateway does not serve.
func (v *vsRun) unreached(a attachment, reached []bool, offered []string, reach *reach) {
	slices.Sort(offered)
	list := strings.Join(slices.Compact(offered), ", ")
	for j, ok := range reached {
		switch {
		case ok:
			reach.served[j] = true
		case len(offered) == 0:
			reach.miss(j, false, "Gateway %s has no HTTP server and no HTTPS server that terminates, for the routes of spec.http; add one, or use tcp or tls routes", a.Name)
		default:
			reach.miss(j, false, "Gateway %s does not serve the host %s to namespace %s; its servers have %s", a.Name, v.vs.Spec.Hosts[j], v.vs.Namespace, list)
		}
	}
}

// servesHTTP tells whether requests can be told apart at a server.
func servesHTTP(s *model.Server) bool {
	if s.TLS != nil && s.TLS.Mode == model.Passthrough {
		return false
	}
	return s.Protocol.IsHTTP() || s.Protocol == model.ProtoHTTPS
}

// serverHost is a host of a server, "*" where it has none.
type serverHost model.ServerHost

func (h serverHost) admits(namespace string) bool {
	return h.Namespace == "" || h.Namespace == namespace
}

func hostText(h serverHost) string {
	if h.Namespace == "" {
		return h.Host
	}
	return h.Namespace + "/" + h.Host
}

func serverHosts(s *model.Server) []serverHost {
	if len(s.Hosts) == 0 {
		return []serverHost{{Host: "*"}}
	}
	out := make([]serverHost, len(s.Hosts))
	for i, h := range s.Hosts {
		if out[i] = serverHost(h); h.Host == "" {
			out[i].Host = "*"
		}
	}
	return out
}

// commonHost is the narrower of two host names when one covers the other.
func commonHost(a, b string) (string, bool) {
	switch {
	case covers(a, b):
		return b, true
	case covers(b, a):
		return a, true
	}
	return "", false
}
