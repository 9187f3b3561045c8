package translate

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// declareListeners publishes one listener for each bind of the gateways, the shared outbound listener, and the stubs.
func (o *Outputs) declareListeners() {
	chains := o.declareChains()
	one := table.NewIndex(o.res.Servers.Ports, "listeners of ports", func(key string, _ *resolve.Port) []string {
		return []string{gatewayListener(key)}
	})
	fixed := o.declareFixed()
	tcp := table.NewIndex(o.res.Traffic.Routes, "tcp routes by bind", func(_ string, s *resolve.RouteState) []string {
		var keys []string
		for i := range s.TCP {
			if s.TCP[i].Config != resolve.MeshConfig {
				keys = append(keys, s.TCP[i].Config)
			}
		}
		return keys
	})
	o.declare(resource.ListenerType, "xds listeners", func(r *table.Reader, name string) (*snapshot.Resource, bool) {
		if bind, ok := strings.CutPrefix(name, gatewayListener("")); ok {
			p, ok := table.Get(r, o.res.Servers.Ports, bind)
			if !ok {
				return nil, false
			}
			l, origins := GatewayListener(p, gatewayTCP(table.List(r, tcp, bind), bind))
			if l == nil {
				return nil, false
			}
			return encode(r, name, l, origins)
		}
		if name == model.OutboundListener {
			return o.outbound(r, chains)
		}
		return o.stub(r, name)
	}, []table.Trigger{one, fixed})
}

func gatewayListener(bind string) string { return "gateway/" + bind }

// gatewayTCP lists the connection-level routes of a bind, oldest object first.
func gatewayTCP(states []table.Entry[*resolve.RouteState], bind string) []resolve.TCPBinding {
	var bound []resolve.TCPBinding
	for _, s := range states {
		for _, b := range s.Value.TCP {
			if b.Config == bind {
				bound = append(bound, b)
			}
		}
	}
	resolve.SortTCP(bound)
	return bound
}

// GatewayListener is the listener of one bind; nil when nothing can be served on it.
func GatewayListener(p *resolve.Port, tcp []resolve.TCPBinding) (*listenerv3.Listener, []model.Ref) {
	l := &listenerv3.Listener{
		Name:                          gatewayListener(p.Bind.String()),
		Address:                       address(netip.AddrPortFrom(p.Bind.Address, p.Bind.Port)),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(connectionBuffer),
	}
	var origins []model.Ref
	inspect := false
	for i := range p.Servers {
		s := &p.Servers[i]
		chains := serverChains(s, tcp)
		if s.TLS == nil && s.Protocol.IsHTTP() && slices.ContainsFunc(l.FilterChains, func(c *listenerv3.FilterChain) bool { return c.Name == "http" }) {
			chains = nil // plaintext servers of one port share the chain
		}
		l.FilterChains = append(l.FilterChains, chains...)
		inspect = inspect || s.TLS != nil
		origins = addOrigin(origins, s.Gateway)
	}
	if inspect {
		l.ListenerFilters = append(l.ListenerFilters, tlsInspector())
	}
	if len(l.FilterChains) == 0 {
		return nil, nil
	}
	return l, origins
}

// connectionBuffer bounds what Envoy buffers for a connection, in bytes, so that a slow peer costs bounded memory.
const connectionBuffer = 1 << 20

// serverChains are the filter chains of one server.
func serverChains(s *model.Server, tcp []resolve.TCPBinding) []*listenerv3.FilterChain {
	switch {
	case !resolve.CarriesHTTP(s):
		return tcpServerChains(s, tcp)
	case s.TLS == nil:
		return []*listenerv3.FilterChain{{
			Name:    "http",
			Filters: []*listenerv3.Filter{HCM(HCMOptions{StatPrefix: statName(s.Bind), RouteConfig: resolve.ServerConfig(s, ""), Gateway: true})},
		}}
	}
	var chains []*listenerv3.FilterChain
	for _, h := range resolve.HostsOf(s) {
		c := &listenerv3.FilterChain{
			Name:            "https/" + h,
			TransportSocket: downstreamTLS(s.TLS, []string{"h2", "http/1.1"}),
			Filters:         []*listenerv3.Filter{HCM(HCMOptions{StatPrefix: statName(s.Bind), RouteConfig: resolve.ServerConfig(s, h), Gateway: true})},
		}
		if h != "*" {
			c.FilterChainMatch = &listenerv3.FilterChainMatch{ServerNames: []string{h}}
		}
		chains = append(chains, c)
	}
	return chains
}

// statName is the stat prefix of a bind: one a port, as a host each would cost memory.
func statName(b model.Bind) string { return "gateway_" + strconv.Itoa(int(b.Port)) }

func address(a netip.AddrPort) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       a.Addr().String(),
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

func addOrigin(refs []model.Ref, r model.Ref) []model.Ref {
	if slices.Contains(refs, r) {
		return refs
	}
	return append(refs, r)
}
