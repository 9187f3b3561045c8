package resolve

import (
	"net/netip"
	"slices"
	"strconv"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
)

// l4Match is one match of a tcp or tls route.
type l4Match struct {
	matchTerm
	sni     []string
	subnets []netip.Prefix
	source  *netip.Prefix
}

// l4Rule is one tcp or tls route, converted once.
type l4Rule struct {
	matches  []l4Match
	weights  []uint32
	backends []target
}

// bindTLS binds the routes for connections that are told apart by the server name of their hello.
func (v *vsRun) bindTLS() []TCPBinding {
	var out []TCPBinding
	for i := range v.vs.Spec.TLS {
		rt, path := &v.vs.Spec.TLS[i], "spec.tls["+strconv.Itoa(i)+"]"
		u, ok := v.l4Rule(rt.Route, path)
		for j := range rt.Match {
			if m, good := v.tlsMatch(&rt.Match[j], path+".match["+strconv.Itoa(j)+"]"); good {
				u.matches = append(u.matches, m)
			}
		}
		if ok {
			out = append(out, v.bindL4(&u, true, path)...)
		}
	}
	return out
}

// bindTCP binds the routes for opaque connections.
func (v *vsRun) bindTCP() []TCPBinding {
	var out []TCPBinding
	for i := range v.vs.Spec.TCP {
		rt, path := &v.vs.Spec.TCP[i], "spec.tcp["+strconv.Itoa(i)+"]"
		u, ok := v.l4Rule(rt.Route, path)
		if len(rt.Match) == 0 {
			u.matches = []l4Match{{matchTerm: matchTerm{where: path[len("spec."):]}}}
		}
		for j := range rt.Match {
			if m, good := v.tcpMatch(&rt.Match[j], path+".match["+strconv.Itoa(j)+"]"); good {
				u.matches = append(u.matches, m)
			}
		}
		if ok {
			out = append(out, v.bindL4(&u, false, path)...)
		}
	}
	return out
}

func (v *vsRun) l4Rule(list []v1alpha1.RouteDestination, path string) (u l4Rule, ok bool) {
	var sum uint64
	for i := range list {
		p := path + ".route[" + strconv.Itoa(i) + "]"
		w := v.weight(list[i].Weight, len(list), p)
		sum += uint64(w)
		u.weights = append(u.weights, w)
		u.backends = append(u.backends, v.target(&list[i].Destination, p+".destination"))
	}
	switch {
	case len(list) == 0:
		v.refuse(reasonInvalid, path+".route", "a destination is needed; the route is left out")
	case sum == 0 || sum > 1<<32-1:
		v.refuse(reasonInvalid, path+".route", "the weights sum to %d; the route is left out: they must sum to 1 to 4294967295", sum)
	default:
		return u, true
	}
	return u, false
}

func (v *vsRun) tlsMatch(m *v1alpha1.TLSMatchAttributes, path string) (l4Match, bool) {
	out, ok := v.l4Match(m.Gateways, m.DestinationSubnets, m.Port, path)
	out.labels, out.namespace = m.SourceLabels, m.SourceNamespace
	for i, s := range m.SNIHosts {
		s = plainHost(s)
		if !slices.ContainsFunc(v.vs.Spec.Hosts, func(h string) bool { return covers(v.gatewayHost(h), s) || covers(v.meshHost(h), s) }) {
			v.refuse(reasonInvalid, path+".sniHosts["+strconv.Itoa(i)+"]", "%s lies in none of spec.hosts; add it there; the name is left out", s)
			continue
		}
		out.sni = append(out.sni, s)
	}
	if len(m.SNIHosts) == 0 {
		v.refuse(reasonInvalid, path+".sniHosts", "a server name is needed; the match is left out")
	}
	return out, ok && len(out.sni) > 0
}

func (v *vsRun) tcpMatch(m *v1alpha1.L4MatchAttributes, path string) (l4Match, bool) {
	out, ok := v.l4Match(m.Gateways, m.DestinationSubnets, m.Port, path)
	out.labels, out.namespace = m.SourceLabels, m.SourceNamespace
	if m.SourceSubnet != "" {
		p, good := v.subnet(m.SourceSubnet, path+".sourceSubnet")
		out.source, ok = &p, ok && good
	}
	return out, ok
}

func (v *vsRun) l4Match(gateways, subnets []string, port int32, path string) (out l4Match, ok bool) {
	out.where, out.port, ok = path[len("spec."):], uint16(port), port >= 0 && port <= 65535
	if !ok {
		v.refuse(reasonInvalid, path+".port", "%d is no port; use 1 to 65535; the match is left out", port)
	}
	for _, g := range gateways {
		out.gateways = append(out.gateways, v.gatewayName(g))
	}
	v.matchGateways(out.gateways, path)
	for i, s := range subnets {
		p, good := v.subnet(s, path+".destinationSubnets["+strconv.Itoa(i)+"]")
		out.subnets, ok = append(out.subnets, p), ok && good
	}
	return out, ok
}

// subnet reads an address or CIDR.
func (v *vsRun) subnet(s, path string) (netip.Prefix, bool) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked(), true
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	v.refuse(reasonInvalid, path, `%q is neither an address nor a CIDR such as "10.0.0.0/8"; the match is left out`, s)
	return netip.Prefix{}, false
}

// bindL4 binds one route to every gateway and to the mesh. It need not fit all of them.
func (v *vsRun) bindL4(u *l4Rule, tls bool, path string) []TCPBinding {
	var out []TCPBinding
	reach := newReach(v.vs)
	for _, a := range v.attached {
		if a.mesh() {
			out = append(out, v.meshL4(u, a, tls, reach)...)
			continue
		}
		for i := range a.State.Servers {
			if s := &a.State.Servers[i]; servesL4(s, tls) {
				out = append(out, v.serverL4(u, a, s, tls)...)
			}
		}
	}
	if len(out) > 0 || len(u.matches) == 0 {
		return out
	}
	reach.complain(v)
	for _, a := range v.attached {
		if !a.mesh() {
			want := "TCP server, and no TLS server that terminates,"
			if tls {
				want = "TLS server of mode PASSTHROUGH"
			}
			v.refuse(reasonUnresolved, path, "Gateway %s has no %s for the hosts and ports of the route; add one or change the match", a.Name, want)
		}
	}
	return out
}

// servesL4 tells whether a server hands on connections: by server name, or all alike.
func servesL4(s *model.Server, tls bool) bool {
	passthrough := s.TLS != nil && s.TLS.Mode == model.Passthrough
	return passthrough == tls && !servesHTTP(s)
}

// serverL4 binds one route to one server of a gateway.
func (v *vsRun) serverL4(u *l4Rule, a attachment, s *model.Server, tls bool) []TCPBinding {
	var hosts []string
	for _, h := range v.vs.Spec.Hosts {
		for _, sh := range serverHosts(s) {
			if host, ok := commonHost(v.gatewayHost(h), sh.Host); ok && sh.admits(v.vs.Namespace) {
				hosts = append(hosts, host)
			}
		}
	}
	if len(hosts) == 0 {
		return nil
	}
	at := bindPoint{attachment: a, port: s.Bind.Port}
	var out []TCPBinding
	for i := range u.matches {
		m := &u.matches[i]
		if _, ok := v.matchAt(&m.matchTerm, at); !ok {
			continue
		}
		sni := common(m.sni, hosts)
		if tls && len(sni) == 0 {
			continue
		}
		rt := v.l4Route(u, m, s.Bind.Port)
		rt.SNI = sni
		out = append(out, TCPBinding{Config: s.Bind.String(), Route: rt, TLS: tls, Meta: &v.vs.Meta, Server: ServerKey(s)})
	}
	return out
}

// common are the server names that both lists allow, sorted.
func common(a, b []string) []string {
	var out []string
	for _, x := range a {
		for _, y := range b {
			if h, ok := commonHost(x, y); ok {
				out = append(out, h)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// meshL4 binds one route to the mesh hosts of the object.
func (v *vsRun) meshL4(u *l4Rule, a attachment, tls bool, reach *reach) []TCPBinding {
	visible, ok := v.seenBy()
	if !ok {
		return nil
	}
	var out []TCPBinding
	for i, h := range v.vs.Spec.Hosts {
		name := v.meshHost(h)
		host, ok := v.hosts.Lookup(v.r, v.vs.Namespace, name)
		if !ok {
			reach.miss(i, false, "no Service or ServiceEntry has the host %s%s, so no client of the mesh reaches its routes", name, v.hint(name))
			continue
		}
		at := bindPoint{attachment: a, visible: visible}
		for j := range u.matches {
			m := &u.matches[j]
			rm, ok := v.matchAt(&m.matchTerm, at)
			sni := common(m.sni, []string{name})
			if !ok || tls && len(sni) == 0 || !v.l4Possible(m, rm.Source, host) {
				continue
			}
			for _, port := range l4Ports(u, m, host) {
				rt := v.l4Route(u, m, port)
				rt.SNI, rt.Port = sni, port
				out = append(out, TCPBinding{Config: MeshConfig, Host: host.Name, Route: rt, TLS: tls, Meta: &v.vs.Meta})
			}
		}
	}
	return out
}

// l4Possible tells whether a match can be told apart at the shared listener, and says so where it cannot: a route for some
// clients must not become one for all.
func (v *vsRun) l4Possible(m *l4Match, source *model.SourceMatch, h *model.Host) bool {
	path := "spec." + m.where
	switch {
	case len(m.labels) > 0:
		v.refuse(reasonUnsupported, path+".sourceLabels", "connections cannot be told apart by the labels of their client; the match is left out: use http routes, or a host of its own")
	case m.namespace != "":
		v.refuse(reasonUnsupported, path+".sourceNamespace", "connections cannot be told apart by the namespace of their client; the match is left out: use http routes, or a host of its own")
	case source != nil:
		v.refuse(reasonUnsupported, "spec.exportTo", "tcp and tls routes of the mesh are for all namespaces or for none; %s is left out: remove exportTo, or use http routes", m.where)
	case len(m.subnets) > 0 && len(h.Addresses) > 0 && !slices.ContainsFunc(h.Addresses, func(a netip.Prefix) bool {
		return slices.ContainsFunc(m.subnets, a.Overlaps)
	}):
		v.refuse(reasonInvalid, path+".destinationSubnets", "no address of %s lies in them, so the match takes nothing; correct them, or leave them out to match all addresses of the host", h.Name)
	default:
		return true
	}
	return false
}

// l4Ports are the ports of a mesh host that a match is for: the one it names, each where a destination follows it, or 0
// for any.
func l4Ports(u *l4Rule, m *l4Match, h *model.Host) []uint16 {
	follows := slices.ContainsFunc(u.backends, func(t target) bool { return t.host != nil && t.id.Port == 0 })
	if m.port != 0 || !follows {
		return []uint16{m.port}
	}
	var out []uint16
	for _, p := range h.Ports {
		if p.Protocol != model.ProtoUDP && !p.Protocol.IsHTTP() {
			out = append(out, p.Number)
		}
	}
	return out
}

// l4Route is the route for connections that came in on a port.
func (v *vsRun) l4Route(u *l4Rule, m *l4Match, port uint16) model.TCPRoute {
	rt := model.TCPRoute{
		Name: v.vs.Ref.String() + " " + m.where, Destinations: m.subnets, SourceSubnet: m.source, Origins: []model.Ref{v.vs.Ref},
	}
	for i := range u.backends {
		v.checkFollow(&u.backends[i], port)
		rt.Backends = append(rt.Backends, model.Backend{Cluster: u.backends[i].cluster(port), Weight: u.weights[i]})
	}
	for i := range u.backends {
		if t := &u.backends[i]; t.host != nil && u.weights[i] > 0 {
			limitConnections(&rt, v.policies.of(v.r, t.host, t.portFor(port), t.id.Subset))
		}
	}
	return rt
}
