package resolve

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// gatewayRun is one resolution of one Gateway of ours or Istio's.
type gatewayRun struct {
	*Traffic
	*notes
	r  *table.Reader
	gw *ServerGateway
}

// gateway resolves the servers of a Gateway. One that cannot be served as its author wrote it is left out: a listener with
// less TLS than asked for would be worse than none.
func (t *Traffic) gateway(r *table.Reader, key string) (*GatewayState, bool) {
	gw, ok := table.Get(r, t.in.ServerGateways, key)
	if !ok {
		return nil, false
	}
	g := &gatewayRun{Traffic: t, notes: &notes{}, r: r, gw: gw}
	state := &GatewayState{}
	switch {
	case !subset(gw.Spec.Selector, t.cfg.GatewayLabels):
		g.refuse(reasonNotServed, "spec.selector", "the gateways of this mesh have the labels %s, and %s is not part of them; change the selector, or the labels with --gateway-labels",
			labelText(t.cfg.GatewayLabels), labelText(gw.Spec.Selector))
	case len(gw.Spec.Servers) == 0:
		g.refuse(reasonInvalid, "spec.servers", "a server is needed")
	case !broken(&gw.Meta):
		state.Servers = g.servers()
	}
	state.Status = *g.status(&gw.Meta)
	return state, true
}

func labelText(labels map[string]string) string {
	if len(labels) == 0 {
		return "(none)"
	}
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}

func (g *gatewayRun) servers() []model.Server {
	var out []model.Server
	sections := map[string]int{}
	for i := range g.gw.Spec.Servers {
		spec, path := &g.gw.Spec.Servers[i], "spec.servers["+strconv.Itoa(i)+"]"
		section, field := spec.Name, ".name"
		if section == "" {
			section, field = spec.Port.Name, ".port.name"
		}
		if section == "" {
			section = "server-" + strconv.Itoa(i)
		}
		if first, taken := sections[section]; taken {
			g.warn(reasonConflict, path+field, "spec.servers[%d] has the name %s too; give each server a name of its own, it is called %s-%d now", first, section, section, i)
			section += "-" + strconv.Itoa(i)
		}
		sections[section] = i
		if s, ok := g.server(spec, section, path); ok {
			out = append(out, s)
		}
	}
	return out
}

// server converts one server; false leaves it out.
func (g *gatewayRun) server(spec *v1alpha1.Server, section, path string) (model.Server, bool) {
	s := model.Server{Gateway: g.gw.Ref, Section: section, Meta: &g.gw.Meta}
	if spec.DefaultEndpoint != "" {
		g.warn(reasonUnsupported, path+".defaultEndpoint", "not supported and ignored, as in Istio; write a VirtualService")
	}
	if spec.Port.TargetPort != 0 {
		g.warn(reasonUnsupported, path+".port.targetPort", "ignored for a Gateway, as in Istio; the port is opened as numbered")
	}
	ok := g.bindTo(spec, path, &s)
	ok = g.serverHosts(spec.Hosts, path, &s) && ok
	return s, g.protocol(spec, path, &s) && ok
}

func (g *gatewayRun) bindTo(spec *v1alpha1.Server, path string, s *model.Server) bool {
	s.Bind = model.Bind{Address: g.cfg.GatewayAddress, Port: uint16(spec.Port.Number)}
	switch {
	case strings.HasPrefix(spec.Bind, "unix:"):
		g.refuse(reasonUnsupported, path+".bind", "Unix sockets are not supported; bind to an address; the server is not opened")
		return false
	case spec.Port.Number < 1 || spec.Port.Number > 65535:
		g.refuse(reasonInvalid, path+".port.number", "%d is no port; use 1 to 65535; the server is not opened", spec.Port.Number)
		return false
	case spec.Bind == "":
		return true
	}
	a, err := netip.ParseAddr(spec.Bind)
	if err != nil {
		g.refuse(reasonInvalid, path+".bind", "%q is no IP address; the server is not opened", spec.Bind)
		return false
	}
	s.Bind.Address = a
	return true
}

// serverHosts converts "host", "namespace/host", "./host" and "*/host".
func (g *gatewayRun) serverHosts(hosts []string, path string, s *model.Server) bool {
	for _, h := range hosts {
		ns, host, ok := strings.Cut(h, "/")
		switch {
		case !ok:
			ns, host = "", h
		case ns == "*":
			ns = ""
		case ns == ".":
			ns = g.gw.Namespace
		}
		sh := model.ServerHost{Namespace: ns, Host: plainHost(host)}
		if !slices.Contains(s.Hosts, sh) {
			s.Hosts = append(s.Hosts, sh)
		}
	}
	if len(hosts) == 0 {
		g.refuse(reasonInvalid, path+".hosts", `a host is needed ("*" for all); the server is not opened`)
	}
	return len(hosts) > 0
}

// protocol settles what the server speaks, and its TLS.
func (g *gatewayRun) protocol(spec *v1alpha1.Server, path string, s *model.Server) bool {
	name := strings.ToUpper(spec.Port.Protocol)
	p, known := protocolNamed(name)
	switch {
	case !known || p == model.ProtoUDP:
		g.refuse(reasonUnsupported, path+".port.protocol", "protocol %q is not supported; use HTTP, HTTPS, HTTP2, GRPC, TLS or TCP; the server is not opened", spec.Port.Protocol)
		return false
	case name == "GRPC-WEB":
		g.warn(reasonUnsupported, path+".port.protocol", "gRPC-Web is handed on as HTTP, not turned into gRPC; the backend must understand it")
	case name == "MONGO" || name == "MYSQL" || name == "REDIS":
		g.warn(reasonUnsupported, path+".port.protocol", "%s is served as TCP, without statistics of its own", name)
	}
	s.Protocol = p
	if p.IsTLS() {
		if spec.TLS == nil {
			g.refuse(reasonInvalid, path+".tls", "protocol %s needs tls; the server is not opened", spec.Port.Protocol)
			return false
		}
		return g.serverTLS(spec.TLS, path+".tls", s)
	}
	return g.plaintext(spec, path, s)
}

// plaintext allows httpsRedirect beside HTTP, and no other TLS: who asks for a certificate must not be served without.
func (g *gatewayRun) plaintext(spec *v1alpha1.Server, path string, s *model.Server) bool {
	if spec.TLS == nil {
		return true
	}
	rest := *spec.TLS
	rest.HTTPSRedirect = false
	if mode := rest.Mode; (mode == "" || mode == v1alpha1.ServerTLSPassthrough) && rest.CredentialName == "" && len(rest.CredentialNames) == 0 && rest.ServerCertificate == "" && len(rest.TLSCertificates) == 0 {
		s.HTTPSRedirect = spec.TLS.HTTPSRedirect
		if s.HTTPSRedirect && !s.Protocol.IsHTTP() {
			g.refuse(reasonInvalid, path+".tls.httpsRedirect", "httpsRedirect is for HTTP; protocol %s is served as it is", spec.Port.Protocol)
			s.HTTPSRedirect = false
		}
		return true
	}
	want := "TLS"
	if s.Protocol.IsHTTP() {
		want = "HTTPS"
	}
	g.refuse(reasonInvalid, path+".tls", "protocol %s is plaintext, but tls asks for a certificate; use protocol %s, or remove tls; the server is not opened", spec.Port.Protocol, want)
	return false
}
