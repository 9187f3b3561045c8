package resolve

import (
	"maps"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
)

// routes makes the rules routes of one bind point, in the order written.
func (v *vsRun) routes(rules []httpRule, at bindPoint) []model.Route {
	var out []model.Route
	for i := range rules {
		u := &rules[i]
		forwards := map[uint16]*model.Forward{}
		for j := range u.terms {
			t := &u.terms[j]
			m, ok := v.matchAt(t, at)
			if !ok {
				continue
			}
			for _, port := range v.portsAt(u, t, at) {
				m.Port = port
				switch {
				case !at.mesh():
					m.Port, port = 0, at.port
				case port == 0:
					port = unknownPort
				}
				if u.proto.Forward != nil && forwards[port] == nil {
					forwards[port] = v.forward(u, port)
				}
				rt := v.finish(u, t, m, forwards[port], at)
				out = append(out, rt)
				if p, ok := preflight(&rt); ok {
					out = append(out, p)
				}
			}
		}
	}
	return out
}

// unknownPort is what a request for a host that no registry knows counts as coming in on, as in Istio.
const unknownPort = 80

// matchAt is the match of a term at a bind point; false when it never holds there.
func (v *vsRun) matchAt(t *matchTerm, at bindPoint) (model.RouteMatch, bool) {
	m := t.match
	if t.gateways != nil && !slices.Contains(t.gateways, at.Name) {
		return m, false
	}
	if !at.mesh() {
		// The client of a route at a gateway is the gateway itself.
		ns, _ := model.SplitKey(at.Name)
		return m, (t.port == 0 || t.port == at.port) && subset(t.labels, v.cfg.GatewayLabels) && (t.namespace == "" || t.namespace == ns)
	}
	s := model.SourceMatch{Namespaces: at.visible, Labels: t.labels}
	if t.namespace != "" {
		if len(at.visible) > 0 && !slices.Contains(at.visible, t.namespace) {
			return m, false
		}
		s.Namespaces = []string{t.namespace}
	}
	if len(s.Namespaces) > 0 || len(s.Labels) > 0 {
		m.Source = &s
	}
	return m, true
}

// subset tells whether all of want is in have.
func subset(want, have map[string]string) bool {
	for k, w := range want {
		if h, ok := have[k]; !ok || h != w {
			return false
		}
	}
	return true
}

// portsAt are the ports that a term is for: the one it names, each of the mesh host's where the destination follows it, or
// 0 for any.
func (v *vsRun) portsAt(u *httpRule, t *matchTerm, at bindPoint) []uint16 {
	if t.port == 0 && at.mesh() && len(at.ports) > 0 && u.follows() {
		return at.ports
	}
	return []uint16{t.port}
}

// forward fills in the clusters for requests that come in on a port.
func (v *vsRun) forward(u *httpRule, port uint16) *model.Forward {
	f := *u.proto.Forward
	f.Backends, f.Mirrors, f.Hash = slices.Clone(f.Backends), slices.Clone(f.Mirrors), nil
	for i := range u.backends {
		t := &u.backends[i]
		v.checkFollow(t, port)
		f.Backends[i].Cluster = t.cluster(port)
		if h := v.hash(t, port); h != nil && !slices.ContainsFunc(f.Hash, func(o model.HashPolicy) bool { return sameHash(o, *h) }) {
			f.Hash = append(f.Hash, *h)
		}
	}
	for i := range u.mirrors {
		v.checkFollow(&u.mirrors[i], port)
		f.Mirrors[i].Cluster = u.mirrors[i].cluster(port)
	}
	return &f
}

func sameHash(a, b model.HashPolicy) bool {
	at, bt := a.CookieTTL, b.CookieTTL
	a.CookieTTL, b.CookieTTL = nil, nil
	return a == b && (at == nil) == (bt == nil) && (at == nil || *at == *bt)
}

// checkFollow says so when a destination without port has several and the request's is none of them.
func (v *vsRun) checkFollow(t *target, port uint16) {
	if t.host == nil || t.id.Port != 0 || hasPort(t.host.Ports, port) {
		return
	}
	v.refuse(reasonInvalid, t.path+".port", "host %s has several ports, %s, and requests come in on %d, which is none of them; name one", t.id.Host, portList(t.host.Ports), port)
}

// finish joins match and action into a route.
func (v *vsRun) finish(u *httpRule, t *matchTerm, m model.RouteMatch, f *model.Forward, at bindPoint) model.Route {
	rt := u.proto
	rt.Name, rt.Match, rt.Forward = v.vs.Ref.String()+" "+t.where+label(u.name, t.name), m, f
	if f != nil && u.uri != nil {
		g := *f
		g.PathRewrite = pathRewrite(*u.uri, m.Path)
		rt.Forward = &g
	}
	if rt.Redirect != nil {
		rt.Redirect = v.redirectAt(u, m.Port, at)
	}
	return rt
}

// redirectAt completes a redirect for where it is answered, and says so where the port of the request is lost: Envoy keeps
// it only behind the request's own host.
func (v *vsRun) redirectAt(u *httpRule, port uint16, at bindPoint) *model.Redirect {
	d := *u.proto.Redirect
	switch {
	case u.requestPort && !at.mesh():
		d.Port = uint32(at.port)
	case u.requestPort:
		d.RequestPort = d.Host != ""
		if d.RequestPort && len(at.ports) == 0 {
			v.warn(reasonUnsupported, u.redirectPath+".derivePort", "the port of a request for a host that no Service or ServiceEntry has is not known, so none is written behind %s; set port", d.Host)
		}
	case d.Host == "" || d.Port != 0 || !d.KeepPort || d.Scheme != "" || hasOwnPort(d.Host):
	default:
		from := []uint16{port}
		switch {
		case !at.mesh():
			from = []uint16{at.port}
		case port == 0:
			from = at.ports
		}
		for _, p := range from {
			if p != 0 && p != 80 && p != 443 {
				v.warn(reasonNoPort, u.redirectPath+".authority", "the port %d of a request is not written behind the new authority; set port, or derivePort FROM_REQUEST_PORT to keep it", p)
				break
			}
		}
	}
	return &d
}

// reasonNoPort is for a redirect that leaves out the port of the request.
const reasonNoPort = "PortLeftOut"

// hasOwnPort tells whether an authority has a port in it.
func hasOwnPort(authority string) bool {
	return strings.LastIndexByte(authority, ':') > strings.LastIndexByte(authority, ']')
}

// label is what the author calls a route.
func label(rule, match string) string {
	name := strings.Trim(rule+"."+match, ".")
	if name == "" {
		return ""
	}
	return " (" + name + ")"
}

// merge joins two maps; b's entries win.
func mergeMaps(a, b map[string]string) map[string]string {
	if len(a) == 0 {
		return b
	}
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}
