package resolve

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// gateway resolves one Gateway of a class of ours.
func (g *GatewayAPI) gateway(r *table.Reader, key string) (*GatewayState, bool) {
	gw, ok := table.Get(r, g.in.Gateways, key)
	if !ok {
		return nil, false
	}
	state := &GatewayState{Status: statusOf(&gw.Meta)}
	name := string(gw.Spec.GatewayClassName)
	class, ok := table.Get(r, g.in.GatewayClasses, name)
	if !ok {
		// Nobody's: only our own tools say so, another controller may come to write its status.
		state.Status.Conditions = append(state.Status.Conditions, warn("spec.gatewayClassName", "there is no GatewayClass "+name+"; nobody serves the Gateway"))
		return state, true
	}
	if string(class.Spec.ControllerName) != g.cfg.Controller {
		return nil, false
	}
	b := &gatewayBuild{g: g, r: r, gw: gw, state: state}
	b.refuseFields(class)
	addresses := b.addresses()
	b.listeners(addresses)
	b.conditions(addresses)
	return state, true
}

// gatewayBuild is one run over one Gateway.
type gatewayBuild struct {
	g     *GatewayAPI
	r     *table.Reader
	gw    *Gateway
	state *GatewayState
	// refused holds why the whole Gateway is not accepted; unusable why an address cannot be bound.
	refused, unusable []model.Condition
	insecure          bool // a listener lets clients in whose certificate does not verify
}

func (b *gatewayBuild) warn(path, message string) {
	b.state.Status.Conditions = append(b.state.Status.Conditions, warn(path, message))
}

// refuseFields names what the Gateway asks for and does not get.
func (b *gatewayBuild) refuseFields(class *GatewayClass) {
	spec := &b.gw.Spec
	if broken(&b.gw.Meta) {
		b.refused = append(b.refused, refuse(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonInvalid, "", "a part of the object cannot be read; "+unreadable(&b.gw.Meta)))
	}
	if class.Spec.ParametersRef != nil {
		b.refused = append(b.refused, refuse(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonInvalidParameters,
			"spec.gatewayClassName", "GatewayClass "+class.Name+" is not accepted: it has a parametersRef"))
	}
	if i := spec.Infrastructure; i != nil {
		if p := i.ParametersRef; p != nil {
			b.refused = append(b.refused, refuse(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonInvalidParameters,
				"spec.infrastructure.parametersRef", "this controller takes no parameters; remove the reference to "+string(p.Kind)+" "+p.Name))
		}
		if len(i.Labels)+len(i.Annotations) > 0 {
			b.warn("spec.infrastructure", "labels and annotations have no effect: a Gateway is served by the Envoys of the nodes, no object is made for it")
		}
	}
	if a := spec.AllowedListeners; a != nil && a.Namespaces != nil && a.Namespaces.From != nil && *a.Namespaces.From != gatewayv1.NamespacesFromNone {
		b.warn("spec.allowedListeners", "ListenerSets are not supported; write their listeners into the Gateway")
	}
	if spec.TLS != nil && spec.TLS.Backend != nil {
		b.warn("spec.tls.backend", "client certificates towards backends are not taken from a Gateway; use a DestinationRule with tls MUTUAL for the backend")
	}
	if spec.DefaultScope != "" && spec.DefaultScope != gatewayv1.GatewayDefaultScopeNone {
		b.warn("spec.defaultScope", "default Gateways are not supported; name the Gateway in the routes' parentRefs")
	}
}

// addresses are those that every listener binds to.
func (b *gatewayBuild) addresses() []netip.Addr {
	if len(b.gw.Spec.Addresses) == 0 {
		return []netip.Addr{b.g.cfg.GatewayAddress}
	}
	var out []netip.Addr
	for i, a := range b.gw.Spec.Addresses {
		path := "spec.addresses[" + strconv.Itoa(i) + "]"
		if a.Type != nil && *a.Type != gatewayv1.IPAddressType {
			b.refused = append(b.refused, refuse(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonUnsupportedAddress,
				path+".type", "addresses of type "+string(*a.Type)+" are not supported; give an IPAddress"))
			continue
		}
		ip := b.g.cfg.GatewayAddress
		if a.Value != "" {
			var err error
			if ip, err = netip.ParseAddr(a.Value); err != nil || ip.IsMulticast() || ip.Zone() != "" {
				b.unusable = append(b.unusable, refuse(gatewayv1.GatewayConditionProgrammed, gatewayv1.GatewayReasonAddressNotUsable,
					path+".value", strconv.Quote(a.Value)+" is no address that can be bound; give an IPv4 or IPv6 address of the nodes"))
				continue
			}
		}
		if !slices.Contains(out, ip) {
			out = append(out, ip)
		}
	}
	return out
}

// listeners resolves each listener and makes servers of those that can be served.
func (b *gatewayBuild) listeners(addresses []netip.Addr) {
	conflicts := conflictsAmong(b.gw.Spec.Listeners)
	b.state.listeners = []gatewayListener{}
	for i := range b.gw.Spec.Listeners {
		l, status := b.listener(i, conflicts[i])
		if l.valid && len(b.refused) == 0 {
			for _, a := range addresses {
				server := l.server
				server.Bind.Address = a
				b.state.Servers = append(b.state.Servers, server)
				l.points = append(l.points, attachPoint{ServerConfig(&server, l.host), ServerKey(&server)})
			}
		}
		b.state.listeners = append(b.state.listeners, l.gatewayListener)
		b.state.Status.Listeners = append(b.state.Status.Listeners, status)
	}
}

// conditions sums up.
func (b *gatewayBuild) conditions(addresses []netip.Addr) {
	s := &b.state.Status
	add := func(c ...model.Condition) { s.Conditions = append(s.Conditions, c...) }
	bad, unresolved, usable := b.troubled()
	switch {
	case len(b.refused) > 0:
		add(joined(b.refused))
	case len(bad) == len(s.Listeners):
		add(refuse(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonListenersNotValid, "", "no listener is valid; see the conditions of "+strings.Join(bad, ", ")))
	case len(bad) > 0:
		add(accept(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonListenersNotValid, "not accepted: "+strings.Join(bad, ", ")+"; the other listeners are"))
	default:
		add(accept(gatewayv1.GatewayConditionAccepted, gatewayv1.GatewayReasonAccepted, "all listeners are accepted"))
	}
	if len(unresolved) > 0 {
		add(refuse(gatewayv1.GatewayConditionResolvedRefs, gatewayv1.GatewayReasonListenersNotResolved, "", "see the conditions of "+strings.Join(unresolved, ", ")))
	} else {
		add(accept(gatewayv1.GatewayConditionResolvedRefs, gatewayv1.GatewayReasonResolvedRefs, "all references are resolved"))
	}
	switch {
	case len(b.unusable) > 0:
		add(joined(b.unusable))
	case len(b.refused) > 0 || usable == 0:
		add(refuse(gatewayv1.GatewayConditionProgrammed, gatewayv1.GatewayReasonInvalid, "", "no listener can be served"))
	}
	if b.insecure {
		add(accept(gatewayv1.GatewayConditionInsecureFrontendValidationMode, gatewayv1.GatewayReasonConfigurationChanged,
			"clients are let in whose certificate is missing or does not verify (AllowInsecureFallback)"))
	}
	if len(b.refused) == 0 {
		s.Addresses = b.g.shown(b.r, addresses)
	}
}

// troubled lists the listeners that are not accepted and those whose references do not resolve, and counts those served.
func (b *gatewayBuild) troubled() (bad, unresolved []string, usable int) {
	for i, l := range b.state.Status.Listeners {
		for _, c := range l.Conditions {
			switch {
			case c.Status:
			case c.Type == string(gatewayv1.ListenerConditionAccepted):
				bad = append(bad, l.Name)
			case c.Type == string(gatewayv1.ListenerConditionResolvedRefs):
				unresolved = append(unresolved, l.Name)
			}
		}
		usable += len(b.state.listeners[i].points)
	}
	return bad, unresolved, usable
}

// maxAddresses is how many addresses the status of a Gateway holds.
const maxAddresses = 16

// shown are the addresses for people to use: where a listener binds to all of a node's, those of the nodes.
func (g *GatewayAPI) shown(r *table.Reader, bound []netip.Addr) []string {
	var out []string
	for _, a := range bound {
		if !a.IsUnspecified() {
			out = append(out, a.String())
			continue
		}
		for _, n := range table.All(r, g.in.Nodes) {
			if len(n.Value.Addresses) > 0 {
				out = append(out, n.Value.Addresses[0].String())
			}
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), maxAddresses)]
}
