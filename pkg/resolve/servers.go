package resolve

import (
	"cmp"
	"slices"
	"strings"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// ServerKey names a server: "<group>/<namespace>/<gateway>/<section>".
func ServerKey(s *model.Server) string {
	return s.Gateway.Group + "/" + s.Gateway.Namespace + "/" + s.Gateway.Name + "/" + s.Section
}

// ServerConfig names the route table that a host of a server is in. Plaintext servers of one port share a table, as only
// :authority tells their requests apart; a TLS server has a table a host, as the server name has chosen the chain before.
func ServerConfig(s *model.Server, host string) string {
	if s.TLS == nil {
		return "gateway/" + s.Bind.String()
	}
	if host == "" {
		host = "*"
	}
	return "gateway/" + s.Bind.String() + "/" + host
}

// Port is all that listens on one bind.
type Port struct {
	Bind model.Bind
	// Servers in order of age; those that lost a conflict are not among them.
	Servers []model.Server
	// Lost are the servers that were refused, with the reason.
	Lost []LostServer
}

// LostServer is a server that cannot be served beside an older one.
type LostServer struct {
	Server model.Server
	// Winner is the gateway that has the port, or the host on it.
	Winner  model.Ref
	Message string
}

// Servers are the accepted servers of all gateways, by port.
type Servers struct {
	// Ports is keyed by bind.
	Ports *table.Derived[*Port]

	api, traffic *table.Index[*GatewayState]
}

func newServers(e *table.Engine, api, traffic *table.Derived[*GatewayState]) *Servers {
	byBind := func(_ string, g *GatewayState) []string {
		var keys []string
		for i := range g.Servers {
			keys = append(keys, g.Servers[i].Bind.String())
		}
		return keys
	}
	s := &Servers{
		api:     table.NewIndex(api, "gateways by bind", byBind),
		traffic: table.NewIndex(traffic, "server gateways by bind", byBind),
	}
	s.Ports = table.NewDerived(e, "ports", s.port, []table.Trigger{s.api, s.traffic})
	return s
}

// port gathers the servers of one bind. The first by age decides what the port is; a later one that does not fit is lost.
func (s *Servers) port(r *table.Reader, bind string) (*Port, bool) {
	var all []model.Server
	for _, ix := range []*table.Index[*GatewayState]{s.api, s.traffic} {
		for _, e := range table.List(r, ix, bind) {
			for _, sv := range e.Value.Servers {
				if sv.Bind.String() == bind {
					all = append(all, sv)
				}
			}
		}
	}
	if len(all) == 0 {
		return nil, false
	}
	slices.SortStableFunc(all, func(a, b model.Server) int {
		switch {
		case a.Gateway == b.Gateway:
			return cmp.Compare(a.Section, b.Section)
		case a.Meta.Older(b.Meta):
			return -1
		}
		return 1
	})
	p := &Port{Bind: all[0].Bind}
	for _, sv := range all {
		if lost := p.conflict(sv); lost != nil {
			p.Lost = append(p.Lost, *lost)
			continue
		}
		p.Servers = append(p.Servers, sv)
	}
	return p, true
}

// class is what may share a port: plaintext HTTP, TLS in any mode (the server name chooses), raw TCP.
func class(s *model.Server) string {
	switch {
	case s.TLS != nil:
		return "TLS"
	case s.Protocol.IsHTTP():
		return "HTTP"
	}
	return string(s.Protocol)
}

// conflict tells why sv cannot join the servers of the port, or nil.
func (p *Port) conflict(sv model.Server) *LostServer {
	for i := range p.Servers {
		w := &p.Servers[i]
		if class(w) != class(&sv) || (class(w) == "TCP" && w.Gateway != sv.Gateway) {
			return &LostServer{Server: sv, Winner: w.Gateway, Message: "port " + p.Bind.String() + " already carries " + class(w) +
				" for " + w.Gateway.String() + " (first by age, then name); choose another port or address"}
		}
		if sv.TLS == nil {
			continue
		}
		for _, h := range sv.Hosts {
			if slices.ContainsFunc(w.Hosts, func(o model.ServerHost) bool { return strings.EqualFold(o.Host, h.Host) }) {
				return &LostServer{Server: sv, Winner: w.Gateway, Message: "host " + h.Host + " of port " + p.Bind.String() +
					" is already served by " + w.Gateway.String() + " (first by age, then name) with its own certificate; use another host or port"}
			}
		}
	}
	return nil
}
