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

// bindHTTP binds the rules to every gateway and to the mesh.
func (v *vsRun) bindHTTP(rules []httpRule) []Binding {
	var out []Binding
	for _, a := range v.attached {
		switch {
		case len(v.vs.Spec.HTTP) == 0:
		case a.mesh():
			out = append(out, v.bindMesh(a, rules)...)
		default:
			out = append(out, v.bindGateway(a, rules)...)
		}
	}
	return out
}

func (v *vsRun) bindMesh(a attachment, rules []httpRule) []Binding {
	all, visible := exportList(v.vs)
	if !all && len(visible) == 0 {
		v.warn(reasonNotServed, "spec.exportTo", "no client of the mesh sees the routes: exportTo names no namespace")
		return nil
	}
	var out []Binding
	for i, h := range v.vs.Spec.Hosts {
		name, ok := v.knownMeshHost(h, "spec.hosts["+strconv.Itoa(i)+"]")
		if !ok || slices.ContainsFunc(out, func(b Binding) bool { return b.Host == name }) {
			continue
		}
		routes := v.routes(rules, bindPoint{attachment: a, ports: v.hostPorts(name), visible: visible})
		out = append(out, Binding{Config: MeshConfig, Host: name, Routes: routes, Meta: &v.vs.Meta, Visible: visible})
	}
	return out
}

// knownMeshHost completes a host for the mesh. "*" would take every service's traffic; one that no registry knows is
// reached by its name only.
func (v *vsRun) knownMeshHost(h, path string) (string, bool) {
	name := v.meshHost(h)
	if name == "*" {
		v.refuse(reasonInvalid, path, `host "*" is for gateways; in the mesh name the hosts, or remove "mesh" from spec.gateways`)
		return "", false
	}
	if _, ok := v.hosts.Lookup(v.r, v.vs.Namespace, name); !ok && !strings.HasPrefix(name, "*") {
		v.warn(reasonUnresolved, path, "no Service or ServiceEntry has the host %s%s; clients of the mesh reach the routes only if they ask for that name", name, v.hint(name))
	}
	return name, true
}

// hostPorts are the ports of a mesh host that carry requests.
func (v *vsRun) hostPorts(name string) []uint16 {
	h, ok := v.hosts.Lookup(v.r, v.vs.Namespace, name)
	if !ok {
		return nil
	}
	var out []uint16
	for _, p := range h.Ports {
		if p.Protocol.IsHTTP() {
			out = append(out, p.Number)
		}
	}
	return out
}

func (v *vsRun) bindGateway(a attachment, rules []httpRule) []Binding {
	var out []Binding
	var served []string
	reached := make([]bool, len(v.vs.Spec.Hosts))
	http := false
	for i := range a.State.Servers {
		s := &a.State.Servers[i]
		if !servesHTTP(s) {
			continue
		}
		http = true
		var routes []model.Route
		for j, h := range v.vs.Spec.Hosts {
			for _, sh := range serverHosts(s) {
				served = append(served, hostText(sh))
				host, ok := commonHost(v.gatewayHost(h), sh.Host)
				if !ok || !sh.admits(v.vs.Namespace) {
					continue
				}
				reached[j] = true
				config := ServerConfig(s, sh.Host)
				if slices.ContainsFunc(out, func(b Binding) bool { return b.Config == config && b.Host == host && b.Server == ServerKey(s) }) {
					continue
				}
				if routes == nil {
					routes = v.routes(rules, bindPoint{attachment: a, port: s.Bind.Port})
				}
				out = append(out, Binding{Config: config, Host: host, Routes: routes, Meta: &v.vs.Meta, Server: ServerKey(s)})
			}
		}
	}
	v.unreached(a, reached, http, served)
	return out
}

// unreached names the hosts of the object that a gateway does not serve.
func (v *vsRun) unreached(a attachment, reached []bool, http bool, served []string) {
	if !http {
		v.refuse(reasonUnresolved, "spec.http", "Gateway %s has no HTTP or terminating HTTPS server for these routes; add one, or use tcp or tls routes", a.Name)
		return
	}
	slices.Sort(served)
	list := strings.Join(slices.Compact(served), ", ")
	for j, ok := range reached {
		if !ok {
			v.refuse(reasonUnresolved, "spec.hosts["+strconv.Itoa(j)+"]", "Gateway %s does not serve the host %s to namespace %s; its servers have %s", a.Name, v.vs.Spec.Hosts[j], v.vs.Namespace, list)
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
