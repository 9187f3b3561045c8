package resolve

import (
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// GatewayAPI is what the kinds of gateway.networking.k8s.io come to. Only Gateways whose class carries our controller's
// name are in it.
type GatewayAPI struct {
	// Classes is the status of our GatewayClasses, by name.
	Classes *table.Derived[*model.ObjectStatus]
	// Gateways and Routes are keyed by ObjectKey. The listeners' attached routes are not counted in a GatewayState.
	Gateways *table.Derived[*GatewayState]
	Routes   *table.Derived[*RouteState]
	// GatewayStatus is the status of each Gateway, attached routes included.
	GatewayStatus *table.Derived[*model.ObjectStatus]

	cfg      Config
	in       *Inputs
	hosts    *Hosts
	grants   *table.Index[*ReferenceGrant]
	parents  *table.Derived[*gatewayParent]
	attached *table.Index[*RouteState]
}

// gatewayParent is a Gateway as routes see it: a change of anything else of it runs no route again.
type gatewayParent struct {
	listeners []gatewayListener
}

func newGatewayAPI(e *table.Engine, cfg Config, in *Inputs, hosts *Hosts) *GatewayAPI {
	g := &GatewayAPI{cfg: cfg, in: in, hosts: hosts}
	g.grants = table.NewIndex(in.ReferenceGrants, "referencegrants by pair", grantKeys)
	g.Classes = table.NewDerived(e, "gatewayclass status", g.class, []table.Trigger{in.GatewayClasses})
	g.Gateways = table.NewDerived(e, "gateways resolved", g.gateway, []table.Trigger{in.Gateways})
	g.parents = table.NewDerived(e, "gateway parents", func(r *table.Reader, key string) (*gatewayParent, bool) {
		s, ok := table.Get(r, g.Gateways, key)
		if !ok || s.listeners == nil {
			return nil, false
		}
		return &gatewayParent{s.listeners}, true
	}, []table.Trigger{g.Gateways})
	g.Routes = table.NewDerived(e, "httproutes resolved", g.route, []table.Trigger{in.HTTPRoutes})
	g.attached = table.NewIndex(g.Routes, "httproutes by listener", func(_ string, s *RouteState) []string { return s.attached })
	g.GatewayStatus = table.NewDerived(e, "gateway status", g.gatewayStatus, []table.Trigger{g.Gateways})
	return g
}

// class says whether a GatewayClass of ours is accepted. Those of other controllers are none of our business.
func (g *GatewayAPI) class(r *table.Reader, name string) (*model.ObjectStatus, bool) {
	c, ok := table.Get(r, g.in.GatewayClasses, name)
	if !ok || string(c.Spec.ControllerName) != g.cfg.Controller {
		return nil, false
	}
	s := statusOf(&c.Meta)
	if p := c.Spec.ParametersRef; p != nil {
		s.Conditions = append(s.Conditions, refuse(gatewayv1.GatewayClassConditionStatusAccepted, gatewayv1.GatewayClassReasonInvalidParameters,
			"spec.parametersRef", "this controller takes no parameters; remove the reference to "+string(p.Kind)+" "+p.Name))
		return &s, true
	}
	s.Conditions = append(s.Conditions, accept(gatewayv1.GatewayClassConditionStatusAccepted, gatewayv1.GatewayClassReasonAccepted, "served by "+g.cfg.Controller))
	return &s, true
}

// gatewayStatus adds the count of attached routes to what the Gateway itself comes to.
func (g *GatewayAPI) gatewayStatus(r *table.Reader, key string) (*model.ObjectStatus, bool) {
	s, ok := table.Get(r, g.Gateways, key)
	if !ok {
		return nil, false
	}
	out := s.Status
	out.Listeners = append([]model.ListenerStatus(nil), out.Listeners...)
	for i := range out.Listeners {
		out.Listeners[i].AttachedRoutes = len(table.List(r, g.attached, listenerKey(key, out.Listeners[i].Name)))
	}
	return &out, true
}

func listenerKey(gateway, listener string) string { return gateway + "/" + listener }

// statusOf begins a status with the warnings about unknown fields. What cannot be read at all is said by the conditions
// that it makes false.
func statusOf(m *model.Meta) model.ObjectStatus {
	s := model.ObjectStatus{Ref: m.Ref, UID: m.UID, Generation: m.Generation}
	for _, c := range fieldWarnings(m) {
		if c.Warning {
			s.Conditions = append(s.Conditions, c)
		}
	}
	return s
}

// unreadable lists the fields whose values the kind cannot hold.
func unreadable(m *model.Meta) string {
	var out []string
	for _, i := range m.Issues {
		if !i.Unknown {
			out = append(out, named(i.Path, i.Message))
		}
	}
	return strings.Join(out, "; ")
}

// identity is what orders and names an object. Unlike the whole Meta it stays the same when a status is written, which
// must not ripple through all that hangs on the object.
func identity(m *model.Meta) *model.Meta {
	return &model.Meta{Ref: m.Ref, UID: m.UID, Created: m.Created}
}

// accept makes a true condition of the API's type and reason.
func accept[T, R ~string](kind T, reason R, message string) model.Condition {
	return model.Condition{Type: string(kind), Status: true, Reason: string(reason), Message: message}
}

// refuse makes a false condition about the field at path.
func refuse[T, R ~string](kind T, reason R, path, message string) model.Condition {
	return model.Condition{Type: string(kind), Reason: string(reason), Path: path, Message: named(path, message)}
}

// warn names a field that is not obeyed and does not make the object invalid.
func warn(path, message string) model.Condition {
	return model.Condition{
		Type: string(gatewayv1.RouteConditionAccepted), Status: true, Reason: "UnsupportedField",
		Path: path, Message: named(path, message), Warning: true,
	}
}

// joined makes one false condition of several: the first gives the reason.
func joined(found []model.Condition) model.Condition {
	c := found[0]
	messages := make([]string, len(found))
	for i := range found {
		messages[i] = found[i].Message
	}
	c.Message = strings.Join(messages, "; ")
	return c
}
