package resolve

import (
	"slices"
	"testing"

	"fairlead.io/fairlead/pkg/model"
)

// One Gateway, one HTTPRoute, one Service: what all else is built on.
func TestGatewayRouteAndService(t *testing.T) {
	w := newAPIWorld(t, gatewayOf(plainGateway), routeOf("shop", "r", `
parentRefs: [{name: gw}]
hostnames: [shop.example.com]
rules:
- matches: [{path: {type: PathPrefix, value: /a}}]
  backendRefs: [{name: web, port: 80}]`))
	gw := row(w, w.api.Gateways, "shop/gw")
	if len(gw.Servers) != 1 || gw.Servers[0].Bind.String() != "0.0.0.0:80" || gw.Servers[0].Protocol != model.ProtoHTTP {
		t.Fatalf("servers: %+v", gw.Servers)
	}
	s := w.route("shop/r")
	equalLists(t, "hosts", s.hosts(), []string{"gateway/0.0.0.0:80 shop.example.com"})
	rt := w.only("shop/r")
	if rt.Match.Path != (model.PathMatch{Kind: model.PathPrefix, Value: "/a"}) || rt.Forward == nil || len(rt.Forward.Backends) != 1 ||
		rt.Forward.Backends[0].Cluster != "svc/shop/web.shop.svc.cluster.local/80" || rt.Name != "HTTPRoute shop/r rule 0 match 0" {
		t.Errorf("route: %+v, forward %+v", rt, rt.Forward)
	}
	if s.Bindings[0].Server != ServerKey(&gw.Servers[0]) || len(s.Bindings[0].Ranks) != 1 {
		t.Errorf("binding: %+v", s.Bindings[0])
	}
	equalLists(t, "route", said(s.Status.Parents[0].Conditions), []string{"Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs"})
	st := row(w, w.api.GatewayStatus, "shop/gw")
	equalLists(t, "gateway", said(st.Conditions), []string{"Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs"})
	l := st.Listeners[0]
	equalLists(t, "listener", said(l.Conditions), []string{"Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs", "Conflicted=False/NoConflicts"})
	if l.AttachedRoutes != 1 || !slices.Equal(l.SupportedKinds, []model.Ref{{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute"}}) {
		t.Errorf("listener: %+v", l)
	}
	w.remove(s.Status.Ref)
	if n := row(w, w.api.GatewayStatus, "shop/gw").Listeners[0].AttachedRoutes; n != 0 {
		t.Errorf("%d routes are attached after the only one is gone", n)
	}
}

func TestGatewayClass(t *testing.T) {
	w := newAPIWorld(t, `
{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: params}, spec: {controllerName: fairlead.io/gateway-controller, parametersRef: {group: "", kind: ConfigMap, name: p}}}`,
		`{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: p, namespace: shop}, spec: {gatewayClassName: params, `+plainGateway+`}}`,
		`{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: other, namespace: shop}, spec: {gatewayClassName: theirs, `+plainGateway+`}}`,
		`{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: lost, namespace: shop}, spec: {gatewayClassName: none, `+plainGateway+`}}`)
	equalLists(t, "ours", said(row(w, w.api.Classes, "ours").Conditions), []string{"Accepted=True/Accepted"})
	equalLists(t, "with parameters", said(row(w, w.api.Classes, "params").Conditions), []string{"Accepted=False/InvalidParameters"})
	if row(w, w.api.Classes, "theirs") != nil || row(w, w.api.GatewayStatus, "shop/other") != nil {
		t.Error("another controller's class or Gateway has a status")
	}
	p := row(w, w.api.Gateways, "shop/p")
	if spelled(p.Status.Conditions, "Accepted") != "False/InvalidParameters" || len(p.Servers) != 0 {
		t.Errorf("a Gateway of a refused class: %q, %d servers", said(p.Status.Conditions), len(p.Servers))
	}
	// What nobody serves is said by our own tools only.
	equalLists(t, "without class", said(row(w, w.api.GatewayStatus, "shop/lost").Conditions), []string{"warning spec.gatewayClassName"})
	w.apply(`{apiVersion: gateway.networking.k8s.io/v1, kind: GatewayClass, metadata: {name: none}, spec: {controllerName: fairlead.io/gateway-controller}}`)
	if got := spelled(row(w, w.api.GatewayStatus, "shop/lost").Conditions, "Accepted"); got != "True/Accepted" {
		t.Errorf("after its class came, the Gateway is %q", got)
	}
}

func TestGatewayFields(t *testing.T) {
	for name, c := range map[string]struct {
		spec     string
		accepted string
		program  string
		warns    []string
		binds    []string
	}{
		"default address":         {plainGateway, "True/Accepted", "", nil, []string{"0.0.0.0:80"}},
		"addresses":               {"addresses: [{value: 127.0.0.5}, {type: IPAddress, value: '::1'}, {value: 127.0.0.5}]\n" + plainGateway, "True/Accepted", "", nil, []string{"127.0.0.5:80", "[::1]:80"}},
		"address without value":   {"addresses: [{type: IPAddress}]\n" + plainGateway, "True/Accepted", "", nil, []string{"0.0.0.0:80"}},
		"address of another type": {"addresses: [{type: Hostname, value: a.b}, {value: 127.0.0.5}]\n" + plainGateway, "False/UnsupportedAddress", "False/Invalid", nil, nil},
		"unusable address":        {"addresses: [{value: 300.1.1.1}, {value: 127.0.0.5}]\n" + plainGateway, "True/Accepted", "False/AddressNotUsable", nil, []string{"127.0.0.5:80"}},
		"parameters":              {"infrastructure: {parametersRef: {group: '', kind: ConfigMap, name: p}}\n" + plainGateway, "False/InvalidParameters", "False/Invalid", nil, nil},
		"infrastructure":          {"infrastructure: {labels: {a: b}}\n" + plainGateway, "True/Accepted", "", []string{"warning spec.infrastructure"}, []string{"0.0.0.0:80"}},
		"listener sets":           {"allowedListeners: {namespaces: {from: All}}\n" + plainGateway, "True/Accepted", "", []string{"warning spec.allowedListeners"}, []string{"0.0.0.0:80"}},
		"backend certificate":     {"tls: {backend: {clientCertificateRef: {name: c}}}\n" + plainGateway, "True/Accepted", "", []string{"warning spec.tls.backend"}, []string{"0.0.0.0:80"}},
		"default scope":           {"defaultScope: All\n" + plainGateway, "True/Accepted", "", []string{"warning spec.defaultScope"}, []string{"0.0.0.0:80"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAPIWorld(t, gatewayOf(c.spec))
			s := row(w, w.api.Gateways, "shop/gw")
			if got := spelled(s.Status.Conditions, "Accepted"); got != c.accepted {
				t.Errorf("Accepted is %q, want %q", got, c.accepted)
			}
			if got := spelled(s.Status.Conditions, "Programmed"); got != c.program {
				t.Errorf("Programmed is %q, want %q", got, c.program)
			}
			var warns, binds []string
			for _, x := range said(s.Status.Conditions) {
				if x[:4] == "warn" {
					warns = append(warns, x)
				}
			}
			for _, x := range s.Servers {
				binds = append(binds, x.Bind.String())
			}
			equalLists(t, "warnings", warns, c.warns)
			equalLists(t, "binds", binds, c.binds)
		})
	}
}

func TestListeners(t *testing.T) {
	for name, c := range map[string]struct {
		listeners string
		gateway   string   // Accepted of the Gateway
		want      []string // of each listener: "name Accepted ResolvedRefs Conflicted kinds", servers after it
		served    []string
	}{
		"two hosts of a port": {
			"[{name: a, port: 80, protocol: HTTP, hostname: a.example}, {name: b, port: 80, protocol: HTTP, hostname: '*.example'}]", "True/Accepted",
			[]string{"a True/Accepted True/ResolvedRefs False/NoConflicts 1", "b True/Accepted True/ResolvedRefs False/NoConflicts 1"},
			[]string{"a", "b"},
		},
		"one host twice": {
			"[{name: a, port: 80, protocol: HTTP, hostname: a.example}, {name: b, port: 80, protocol: HTTP, hostname: A.example}, {name: c, port: 81, protocol: HTTP}]", "True/ListenersNotValid",
			[]string{
				"a False/HostnameConflict True/ResolvedRefs True/HostnameConflict 1", "b False/HostnameConflict True/ResolvedRefs True/HostnameConflict 1",
				"c True/Accepted True/ResolvedRefs False/NoConflicts 1",
			},
			[]string{"c"},
		},
		"two protocols on a port": {
			"[{name: a, port: 80, protocol: HTTP}, {name: b, port: 80, protocol: HTTPS, hostname: b.example, tls: {certificateRefs: [{name: none}]}}]", "False/ListenersNotValid",
			[]string{"a False/ProtocolConflict True/ResolvedRefs True/ProtocolConflict 1", "b False/ProtocolConflict False/InvalidCertificateRef True/ProtocolConflict 1"},
			nil,
		},
		"unsupported protocols": {
			"[{name: a, port: 80, protocol: TCP}, {name: b, port: 80, protocol: example.com/foo}, {name: c, port: 80, protocol: HTTP}]", "True/ListenersNotValid",
			[]string{
				"a False/UnsupportedProtocol True/ResolvedRefs False/NoConflicts 0", "b False/UnsupportedProtocol True/ResolvedRefs False/NoConflicts 0",
				"c True/Accepted True/ResolvedRefs False/NoConflicts 1",
			},
			[]string{"c"},
		},
		"only unsupported protocols": {
			"[{name: a, port: 80, protocol: UDP}]", "False/ListenersNotValid", []string{"a False/UnsupportedProtocol True/ResolvedRefs False/NoConflicts 0"}, nil,
		},
		"kinds": {
			"[{name: a, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: InvalidRoute}]}}, {name: b, port: 81, protocol: HTTP, allowedRoutes: {kinds: [{kind: InvalidRoute}, {kind: HTTPRoute}]}}]", "True/Accepted",
			[]string{"a True/Accepted False/InvalidRouteKinds False/NoConflicts 0", "b True/Accepted False/InvalidRouteKinds False/NoConflicts 1"},
			[]string{"a", "b"},
		},
		"namespaces without selector": {
			"[{name: a, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector}}}]", "False/ListenersNotValid", []string{"a False/UnsupportedValue True/ResolvedRefs False/NoConflicts 1"}, nil,
		},
		"TLS on HTTP": {
			"[{name: a, port: 80, protocol: HTTP, tls: {mode: Terminate}}]", "False/ListenersNotValid", []string{"a False/UnsupportedValue True/ResolvedRefs False/NoConflicts 1"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAPIWorld(t, gatewayOf("listeners: "+c.listeners))
			s := row(w, w.api.Gateways, "shop/gw")
			if got := spelled(s.Status.Conditions, "Accepted"); got != c.gateway {
				t.Errorf("the Gateway is accepted: %q, want %q", got, c.gateway)
			}
			var got, served []string
			for _, l := range s.Status.Listeners {
				got = append(got, l.Name+" "+spelled(l.Conditions, "Accepted")+" "+spelled(l.Conditions, "ResolvedRefs")+" "+spelled(l.Conditions, "Conflicted")+" "+string(rune('0'+len(l.SupportedKinds))))
				if want := !slices.Contains(c.served, l.Name); (spelled(l.Conditions, "Programmed") == "False/Invalid") != want {
					t.Errorf("listener %s says that it cannot be programmed: %t, want %t", l.Name, !want, want)
				}
			}
			for _, x := range s.Servers {
				served = append(served, x.Section)
			}
			equalLists(t, "listeners", got, c.want)
			equalLists(t, "served", served, c.served)
		})
	}
}

// An object of which a part could not be read is not half obeyed.
func TestGatewayAndRouteUnreadable(t *testing.T) {
	w := newAPIWorld(t, gatewayOf(plainGateway), routeOf("shop", "r", "parentRefs: [{name: gw}]\nrules: [{backendRefs: [{name: web, port: 80}]}]"))
	issue := []model.FieldIssue{{Path: "spec.x", Message: "a number stands here"}}
	rt := *table0[*HTTPRoute](w, "httproutes")
	rt.Issues, rt.ResourceVersion = issue, "2"
	b := w.e.NewBatch()
	w.in.HTTPRoutes.Set(b, "shop/r", &rt)
	w.e.Apply(b)
	if c := w.route("shop/r").Status.Parents[0].Conditions[0]; c.Status || c.Message != "a part of the object cannot be read; spec.x: a number stands here" {
		t.Errorf("condition %+v", c)
	}
	if r := w.only("shop/r"); r.Direct == nil || r.Direct.Status != 500 {
		t.Errorf("route %+v", r)
	}
	gw := *table0[*Gateway](w, "gateways")
	gw.Issues, gw.ResourceVersion = issue, "2"
	b = w.e.NewBatch()
	w.in.Gateways.Set(b, "shop/gw", &gw)
	w.e.Apply(b)
	if s := row(w, w.api.Gateways, "shop/gw"); len(s.Servers) != 0 || spelled(s.Status.Conditions, "Accepted") != "False/Invalid" {
		t.Errorf("gateway %q, %d servers", said(s.Status.Conditions), len(s.Servers))
	}
}
