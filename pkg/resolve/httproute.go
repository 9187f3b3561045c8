package resolve

import (
	"slices"
	"strconv"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/table"
)

// route resolves one HTTPRoute: its rules once, then where they attach. One parent's trouble does not touch the others.
//
// Conditions of the object itself are for our own tools: what no parent of ours is to say (HTTPRouteStatus has only
// parents), and warnings.
func (g *GatewayAPI) route(r *table.Reader, key string) (*RouteState, bool) {
	rt, ok := table.Get(r, g.in.HTTPRoutes, key)
	if !ok {
		return nil, false
	}
	b := &routeBuild{g: g, r: r, rt: rt, meta: identity(&rt.Meta), state: &RouteState{Status: statusOf(&rt.Meta)}}
	if s := rt.Spec.UseDefaultGateways; s != "" && s != gatewayv1.GatewayDefaultScopeNone {
		b.warn("spec.useDefaultGateways", "default Gateways are not supported; name the Gateway in parentRefs")
	}
	if len(rt.Spec.ParentRefs) == 0 {
		b.warn("spec.parentRefs", "no parent is named; the route has no effect")
	}
	b.build()
	for i := range rt.Spec.ParentRefs {
		b.parent(&rt.Spec.ParentRefs[i], "spec.parentRefs["+strconv.Itoa(i)+"]")
	}
	slices.Sort(b.state.attached)
	b.state.attached = slices.Compact(b.state.attached)
	return b.state, true
}

// routeBuild is one run over one HTTPRoute.
type routeBuild struct {
	g     *GatewayAPI
	r     *table.Reader
	rt    *HTTPRoute
	meta  *model.Meta
	state *RouteState

	// rules are the routes of each rule; ranks stand beside them.
	rules []builtRule
	// unresolved are references that lead nowhere.
	unresolved []model.Condition
}

// builtRule is one rule: a route for each of its matches.
type builtRule struct {
	routes []model.Route
	ranks  []Rank
	// invalid says why the rule cannot be obeyed; its routes then answer 500.
	invalid []model.Condition
}

func (b *routeBuild) warn(path, message string) {
	b.state.Status.Conditions = append(b.state.Status.Conditions, warn(path, message))
}

func (b *routeBuild) build() {
	rules := b.rt.Spec.Rules
	if len(rules) == 0 {
		rules = []gatewayv1.HTTPRouteRule{{}} // the API's default: everything, to no backend
	}
	for i := range rules {
		b.rules = append(b.rules, b.rule(&rules[i], i))
	}
}

// parent attaches the route to one parent.
func (b *routeBuild) parent(p *gatewayv1.ParentReference, path string) {
	ref := model.Ref{Group: gatewayv1.GroupName, Kind: "Gateway", Namespace: b.rt.Namespace, Name: string(p.Name)}
	if p.Group != nil {
		ref.Group = string(*p.Group)
	}
	if p.Kind != nil {
		ref.Kind = string(*p.Kind)
	}
	if p.Namespace != nil && *p.Namespace != "" {
		ref.Namespace = string(*p.Namespace)
	}
	status := model.ParentStatus{Parent: ref}
	if p.SectionName != nil {
		status.Section = string(*p.SectionName)
	}
	if p.Port != nil {
		status.Port = uint16(*p.Port)
	}
	var refused *model.Condition
	switch {
	case ref.Group == gatewayv1.GroupName && ref.Kind == "Gateway":
		var ours bool
		if refused, ours = b.gateway(ref, &status, path); !ours {
			return
		}
	case ref.Group == "" && ref.Kind == "Service":
		refused = b.service(ref, &status, path)
	default:
		b.warn(path, "parents of kind "+ref.Kind+" (group "+strconv.Quote(ref.Group)+") are not served; refer to a Gateway or a Service")
		return
	}
	status.Conditions = b.conditions(refused)
	b.state.Status.Parents = append(b.state.Status.Parents, status)
}

// gateway attaches the route to the listeners of a Gateway. ours is false for a Gateway that another controller serves, or
// nobody.
func (b *routeBuild) gateway(ref model.Ref, s *model.ParentStatus, path string) (refused *model.Condition, ours bool) {
	parent, ok := table.Get(b.r, b.g.parents, ref.Key())
	if !ok {
		if _, exists := table.Get(b.r, b.g.in.Gateways, ref.Key()); !exists {
			b.warn(path, ref.String()+" does not exist; the route has no effect there")
		}
		return nil, false
	}
	no := func(reason gatewayv1.RouteConditionReason, message string) (*model.Condition, bool) {
		c := refuse(gatewayv1.RouteConditionAccepted, reason, path, message)
		return &c, true
	}
	var named, allowed []gatewayListener
	for _, l := range parent.listeners {
		if (s.Section == "" || s.Section == l.name) && (s.Port == 0 || s.Port == l.port) {
			named = append(named, l)
			if l.httpRoutes && l.admits(b.g, b.r, ref.Namespace, b.rt.Namespace) {
				allowed = append(allowed, l)
			}
		}
	}
	if len(named) == 0 {
		return no(gatewayv1.RouteReasonNoMatchingParent, ref.String()+" has no listener with that sectionName and port")
	}
	if len(allowed) == 0 {
		return no(gatewayv1.RouteReasonNotAllowedByListeners, "no listener of "+ref.String()+" admits HTTPRoutes of namespace "+b.rt.Namespace+"; see its allowedRoutes")
	}
	matched := false
	for i := range allowed {
		hosts := intersect(allowed[i].host, b.rt.Spec.Hostnames)
		if len(hosts) == 0 {
			continue
		}
		matched = true
		b.bind(&allowed[i], hosts)
		if !b.whollyInvalid() {
			b.state.attached = append(b.state.attached, listenerKey(ref.Key(), allowed[i].name))
		}
	}
	if !matched {
		return no(gatewayv1.RouteReasonNoMatchingListenerHostname, "no hostname of the route is served by a listener of "+ref.String())
	}
	return nil, true
}

// bind contributes the routes to each host of a listener, once however many parentRefs lead there.
func (b *routeBuild) bind(l *gatewayListener, hosts []string) {
	if len(l.points) == 0 {
		return
	}
	routes, ranks := b.routes(func(rt *model.Route) { redirectFrom(rt, l) })
	for _, p := range l.points {
		for _, h := range hosts {
			if slices.ContainsFunc(b.state.Bindings, func(o Binding) bool { return o.Config == p.config && o.Host == h && o.Server == p.server }) {
				continue
			}
			b.state.Bindings = append(b.state.Bindings, Binding{Config: p.config, Host: h, Server: p.server, Meta: b.meta, Routes: routes, Ranks: ranks})
		}
	}
}

// routes flattens the rules in order of precedence; edit adapts a copy of each to where it goes.
func (b *routeBuild) routes(edit func(*model.Route)) (routes []model.Route, ranks []Rank) {
	all := &Binding{Meta: b.meta}
	for _, rule := range b.rules {
		all.Routes, all.Ranks = append(all.Routes, rule.routes...), append(all.Ranks, rule.ranks...)
	}
	ranks = slices.Clone(all.Ranks)
	slices.SortStableFunc(ranks, compareWithin)
	routes = sortHTTPRoutes([]*Binding{all})
	for i := range routes {
		edit(&routes[i])
	}
	return routes, ranks
}

// conditions are those of one parent.
func (b *routeBuild) conditions(refused *model.Condition) []model.Condition {
	var out []model.Condition
	broken, why := b.invalid()
	switch {
	case refused != nil:
		out = append(out, *refused)
	case len(broken) == len(b.rules):
		out = append(out, joined(why))
	default:
		out = append(out, accept(gatewayv1.RouteConditionAccepted, gatewayv1.RouteReasonAccepted, "the route is attached"))
		if len(broken) > 0 {
			c := joined(why)
			c.Type, c.Status, c.Reason = string(gatewayv1.RouteConditionPartiallyInvalid), true, string(gatewayv1.RouteReasonUnsupportedValue)
			c.Message = "Dropped Rule " + strings.Join(broken, ", ") + " (its requests are answered by 500): " + c.Message
			out = append(out, c)
		}
	}
	if len(b.unresolved) > 0 {
		return append(out, joined(b.unresolved))
	}
	return append(out, accept(gatewayv1.RouteConditionResolvedRefs, gatewayv1.RouteReasonResolvedRefs, "all references are resolved"))
}

func (b *routeBuild) invalid() (rules []string, why []model.Condition) {
	for i, rule := range b.rules {
		if len(rule.invalid) > 0 {
			rules = append(rules, strconv.Itoa(i))
			why = append(why, rule.invalid...)
		}
	}
	return rules, why
}

func (b *routeBuild) whollyInvalid() bool {
	rules, _ := b.invalid()
	return len(rules) == len(b.rules)
}

// intersect gives the hosts on which a listener and a route meet; "*" means all.
func intersect(listener string, route []gatewayv1.Hostname) []string {
	if listener == "" {
		listener = "*"
	}
	if len(route) == 0 {
		return []string{listener}
	}
	var out []string
	for _, name := range route {
		h := plainHost(string(name))
		switch {
		case covers(listener, h):
		case covers(h, listener):
			h = listener
		default:
			continue
		}
		if !slices.Contains(out, h) {
			out = append(out, h)
		}
	}
	return out
}
