package resolve

import (
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// gatewayListener is a listener as routes see it. One that cannot be served still has routes attached.
type gatewayListener struct {
	name, host string // host is lower-case; empty means all
	port       uint16
	tls        bool
	// httpRoutes tells that HTTPRoutes may attach; from and selector from which namespaces.
	httpRoutes bool
	from       gatewayv1.FromNamespaces
	selector   *metav1.LabelSelector
	// points are what it binds to, one an address; none when it cannot be served.
	points []attachPoint
}

// attachPoint is a server as a route needs it: its route table and its key.
type attachPoint struct{ config, server string }

// builtListener is a listener with the server that is copied to each address.
type builtListener struct {
	gatewayListener
	server model.Server
	valid  bool
}

// listener resolves one listener. conflict is why it is not distinct from another one, or nil.
func (b *gatewayBuild) listener(i int, conflict *model.Condition) (*builtListener, model.ListenerStatus) {
	spec := &b.gw.Spec.Listeners[i]
	path := "spec.listeners[" + strconv.Itoa(i) + "]"
	l := &builtListener{gatewayListener: gatewayListener{name: string(spec.Name), port: uint16(spec.Port), tls: spec.Protocol == gatewayv1.HTTPSProtocolType}}
	if spec.Hostname != nil {
		l.host = strings.ToLower(string(*spec.Hostname))
	}
	f := &findings{}
	kinds := b.kinds(spec, path, f)
	l.httpRoutes = len(kinds) > 0
	b.namespaces(spec, path, l, f)
	l.server = model.Server{Gateway: b.gw.Ref, Section: l.name, Bind: model.Bind{Port: l.port}, Protocol: model.Protocol(spec.Protocol), Meta: identity(&b.gw.Meta)}
	if l.host != "" {
		l.server.Hosts = []model.ServerHost{{Host: l.host}}
	}
	switch {
	case spec.Protocol == gatewayv1.HTTPSProtocolType:
		l.server.TLS = b.terminate(spec, path, f)
	case spec.Protocol != gatewayv1.HTTPProtocolType:
		f.unaccepted(gatewayv1.ListenerReasonUnsupportedProtocol, path+".protocol", "protocol "+string(spec.Protocol)+" is not supported; use HTTP or HTTPS")
	case spec.TLS != nil:
		f.unaccepted(gatewayv1.ListenerReasonUnsupportedValue, path+".tls", "a listener of protocol HTTP has no TLS; use HTTPS")
	}
	if spec.Port < 1 || spec.Port > 65535 {
		f.unaccepted(gatewayv1.ListenerReasonPortUnavailable, path+".port", strconv.Itoa(int(spec.Port))+" is no port; use 1 to 65535")
	}
	if conflict != nil {
		f.unaccepted(gatewayv1.ListenerConditionReason(conflict.Reason), conflict.Path, strings.TrimPrefix(conflict.Message, conflict.Path+": "))
	}
	l.valid = len(f.accepted) == 0 && !f.unusable
	status := model.ListenerStatus{Name: l.name, SupportedKinds: kinds, Conditions: f.conditions(conflict)}
	if others := overlapping(b.gw.Spec.Listeners, i); len(others) > 0 {
		status.Conditions = append(status.Conditions, accept(gatewayv1.ListenerConditionOverlappingTLSConfig, gatewayv1.ListenerReasonOverlappingHostnames,
			"the hostname overlaps with that of "+strings.Join(others, ", ")+"; a client that reuses a connection may get the TLS of the other"))
	}
	return l, status
}

// findings are the false conditions of one listener.
type findings struct {
	accepted, resolved []model.Condition
	// unusable: what is not resolved leaves nothing to serve.
	unusable bool
}

func (f *findings) unaccepted(reason gatewayv1.ListenerConditionReason, path, message string) {
	f.accepted = append(f.accepted, refuse(gatewayv1.ListenerConditionAccepted, reason, path, message))
}

func (f *findings) unresolved(reason gatewayv1.ListenerConditionReason, path, message string) {
	f.resolved = append(f.resolved, refuse(gatewayv1.ListenerConditionResolvedRefs, reason, path, message))
}

// conditions are the listener's. Programmed is only said where it is known to be false: the push stage says the rest.
func (f *findings) conditions(conflict *model.Condition) []model.Condition {
	out := []model.Condition{accept(gatewayv1.ListenerConditionAccepted, gatewayv1.ListenerReasonAccepted, "the listener is valid")}
	if len(f.accepted) > 0 {
		out[0] = joined(f.accepted)
	}
	if len(f.resolved) > 0 {
		out = append(out, joined(f.resolved))
	} else {
		out = append(out, accept(gatewayv1.ListenerConditionResolvedRefs, gatewayv1.ListenerReasonResolvedRefs, "all references are resolved"))
	}
	if conflict != nil {
		c := *conflict
		c.Status = true // of negative polarity
		out = append(out, c)
	} else {
		out = append(out, model.Condition{
			Type: string(gatewayv1.ListenerConditionConflicted), Reason: string(gatewayv1.ListenerReasonNoConflicts), Message: "no other listener claims the same traffic",
		})
	}
	if len(f.accepted) > 0 || f.unusable {
		out = append(out, refuse(gatewayv1.ListenerConditionProgrammed, gatewayv1.ListenerReasonInvalid, "", "the listener cannot be served; see its other conditions"))
	}
	return out
}

// kinds are the kinds of routes that may attach, of those that this listener could carry at all.
func (b *gatewayBuild) kinds(spec *gatewayv1.Listener, path string, f *findings) []model.Ref {
	httpRoute := model.Ref{Group: gatewayv1.GroupName, Kind: "HTTPRoute"}
	possible := spec.Protocol == gatewayv1.HTTPProtocolType || spec.Protocol == gatewayv1.HTTPSProtocolType
	if spec.AllowedRoutes == nil || len(spec.AllowedRoutes.Kinds) == 0 {
		if possible {
			return []model.Ref{httpRoute}
		}
		return nil
	}
	var kinds []model.Ref
	for i, k := range spec.AllowedRoutes.Kinds {
		ref := model.Ref{Group: gatewayv1.GroupName, Kind: string(k.Kind)}
		if k.Group != nil {
			ref.Group = string(*k.Group)
		}
		if possible && ref == httpRoute {
			if !slices.Contains(kinds, ref) {
				kinds = append(kinds, ref)
			}
			continue
		}
		f.unresolved(gatewayv1.ListenerReasonInvalidRouteKinds, path+".allowedRoutes.kinds["+strconv.Itoa(i)+"]",
			"routes of kind "+ref.Kind+" ("+ref.Group+") cannot attach to a listener of protocol "+string(spec.Protocol)+"; HTTP and HTTPS listeners carry HTTPRoutes")
	}
	return kinds
}

// namespaces notes from which namespaces routes may attach.
func (b *gatewayBuild) namespaces(spec *gatewayv1.Listener, path string, l *builtListener, f *findings) {
	l.from = gatewayv1.NamespacesFromSame
	if spec.AllowedRoutes == nil || spec.AllowedRoutes.Namespaces == nil {
		return
	}
	n := spec.AllowedRoutes.Namespaces
	if n.From != nil && *n.From != "" {
		l.from = *n.From
	}
	path += ".allowedRoutes.namespaces"
	switch l.from {
	case gatewayv1.NamespacesFromAll, gatewayv1.NamespacesFromSame, gatewayv1.NamespacesFromNone:
	case gatewayv1.NamespacesFromSelector:
		l.selector = n.Selector
		if n.Selector == nil {
			f.unaccepted(gatewayv1.ListenerReasonUnsupportedValue, path+".selector", "from: Selector needs a selector")
		} else if _, err := metav1.LabelSelectorAsSelector(n.Selector); err != nil {
			f.unaccepted(gatewayv1.ListenerReasonUnsupportedValue, path+".selector", "is no valid selector: "+err.Error())
		}
	default:
		f.unaccepted(gatewayv1.ListenerReasonUnsupportedValue, path+".from", strconv.Quote(string(l.from))+" is not known; use All, Same, Selector or None")
	}
}

// admits tells whether routes of a namespace may attach. The namespace's labels are read only where a selector asks.
func (l *gatewayListener) admits(g *GatewayAPI, r *table.Reader, gateway, namespace string) bool {
	switch l.from {
	case gatewayv1.NamespacesFromAll:
		return true
	case gatewayv1.NamespacesFromSame:
		return gateway == namespace
	case gatewayv1.NamespacesFromSelector:
		return l.selector != nil && namespaceMatches(g, r, namespace, l.selector)
	}
	return false
}
