package resolve

import (
	"fmt"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/model"
)

// runs counts how often keys of a table were computed, "key:n" for those that ran since the last call.
func (w *apiWorld) runs(table string) map[string]int {
	out := map[string]int{}
	rows, _ := w.e.Dump(table)
	for _, r := range rows {
		why, _ := w.e.Why(table, r.Key)
		out[r.Key] = why.Runs
	}
	return out
}

// again gives the keys that ran between two counts.
func again(before, after map[string]int) string {
	var keys []string
	for _, k := range []string{"shop/r0", "shop/r1", "shop/r2", "far/f", "shop/gw", "shop/sel"} {
		if after[k] != before[k] {
			keys = append(keys, k)
		}
	}
	return strings.Join(keys, " ")
}

// A change runs again only what reads it.
func TestAPIRunsOnlyWhatIsTouched(t *testing.T) {
	sel := strings.ReplaceAll(gatewayOf("listeners: [{name: http, port: 8080, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: a}}}}}]"), "name: gw", "name: sel")
	route := func(n int, gateway, backend string) string {
		return routeOf("shop", fmt.Sprintf("r%d", n), "parentRefs: [{name: "+gateway+"}]\nrules: [{backendRefs: [{name: "+backend+", port: 80}]}]")
	}
	w := newAPIWorld(t, gatewayOf(plainGateway), sel, route(0, "gw", "web"), route(1, "sel", "api"), route(2, "gw", "new"),
		routeOf("far", "f", "parentRefs: [{name: sel, namespace: shop}]\nrules: [{backendRefs: [{name: data, port: 80}, {name: web, namespace: shop, port: 80}]}]"))
	for _, c := range []struct{ what, manifest, gateways, routes string }{
		{"a Service appears", `{apiVersion: v1, kind: Service, metadata: {name: new, namespace: shop}, spec: {clusterIP: 10.0.0.9, ports: [{name: http, port: 80}]}}`, "", "shop/r2"},
		{"a Service that nobody refers to", `{apiVersion: v1, kind: Service, metadata: {name: lonely, namespace: shop}, spec: {clusterIP: 10.0.0.8, ports: [{name: http, port: 80}]}}`, "", ""},
		{"a namespace without selector", `{apiVersion: v1, kind: Namespace, metadata: {name: else, labels: {team: a}}}`, "", ""},
		{"labels of a namespace", `{apiVersion: v1, kind: Namespace, metadata: {name: far, labels: {team: a}}}`, "", "far/f"},
		{"a grant between two namespaces", `{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: g, namespace: shop}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: far}], to: [{group: "", kind: Service}]}}`, "", "far/f"},
		{"a grant between others", `{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: h, namespace: shop}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: else}], to: [{group: "", kind: Service}]}}`, "", ""},
		{"a Gateway", gatewayOf("listeners: [{name: http, port: 81, protocol: HTTP}]"), "shop/gw", "shop/r0 shop/r2"},
		{"a Gateway, but nothing of it that routes see", gatewayOf("infrastructure: {labels: {a: b}}\nlisteners: [{name: http, port: 81, protocol: HTTP}]"), "shop/gw", ""},
		{"an HTTPRoute", route(0, "gw", "api"), "", "shop/r0"},
	} {
		gateways, routes := w.runs("gateways resolved"), w.runs("httproutes resolved")
		w.apply(c.manifest)
		if got := again(gateways, w.runs("gateways resolved")); got != c.gateways {
			t.Errorf("%s: Gateways %q ran again, want %q", c.what, got, c.gateways)
		}
		if got := again(routes, w.runs("httproutes resolved")); got != c.routes {
			t.Errorf("%s: HTTPRoutes %q ran again, want %q", c.what, got, c.routes)
		}
	}
	if got := spelled(w.route("far/f").Status.Parents[0].Conditions, "Accepted") + w.route("far/f").hosts()[0]; got != "True/Acceptedgateway/0.0.0.0:8080 *" {
		t.Errorf("the route whose namespace was labelled: %q", got)
	}
}

// Writing a status gives the object a new version. It must not ripple: neither through the routes of a Gateway nor
// through the hosts of a route.
func TestStatusWriteDoesNotRipple(t *testing.T) {
	w := newAPIWorld(t, gatewayOf(plainGateway), routeOf("shop", "r0", "parentRefs: [{name: gw}]\nrules: [{backendRefs: [{name: web, port: 80}]}]"))
	changes := func(table string) (n uint64) {
		for _, s := range w.e.Stats() {
			if s.Name == table {
				n = s.Changes
			}
		}
		return n
	}
	before := map[string]uint64{}
	for _, table := range []string{"gateways resolved", "gateway parents", "httproutes resolved", "gateway status"} {
		before[table] = changes(table)
	}
	b := w.e.NewBatch()
	for _, e := range []string{"shop/gw"} {
		rows, _ := w.e.Dump("gateways")
		gw := *rows[0].Value.(*Gateway)
		gw.ResourceVersion = "written"
		w.in.Gateways.Set(b, e, &gw)
	}
	rows, _ := w.e.Dump("httproutes")
	rt := *rows[0].Value.(*HTTPRoute)
	rt.ResourceVersion = "written"
	w.in.HTTPRoutes.Set(b, "shop/r0", &rt)
	w.e.Apply(b)
	for table, n := range before {
		if got := changes(table); got != n {
			t.Errorf("table %q changed %d times", table, got-n)
		}
	}
}

// One bad HTTPRoute among 500 good ones on one host: the 500 are served and the bad one says why.
func TestAPIOneBadAmong500(t *testing.T) {
	manifests := []string{gatewayOf(plainGateway)}
	for i := range 500 {
		manifests = append(manifests, routeOf("shop", fmt.Sprintf("g%03d", i), fmt.Sprintf("parentRefs: [{name: gw}]\nrules: [{matches: [{path: {value: /p%03d}}], backendRefs: [{name: web, port: 80}]}]", i)))
	}
	w := newAPIWorld(t, append(manifests, routeOf("shop", "bad", "parentRefs: [{name: gw}]\nrules: [{matches: [{path: {type: RegularExpression, value: '(['}}], backendRefs: [{name: web, port: 80}]}]"))...)
	var all []*Binding
	rows, _ := w.e.Dump("httproutes resolved")
	for _, r := range rows {
		s := r.Value.(*RouteState)
		for i := range s.Bindings {
			all = append(all, &s.Bindings[i])
		}
	}
	served := 0
	for _, rt := range sortHTTPRoutes(all) {
		if rt.Forward != nil {
			served++
		}
	}
	if served != 500 {
		t.Errorf("%d routes are served", served)
	}
	if m := w.route("shop/bad").Status.Parents[0].Conditions[0]; m.Status || !strings.Contains(m.Message, "spec.rules[0].matches[0].path.value") {
		t.Errorf("the bad one says %+v", m)
	}
	if n := row(w, w.api.GatewayStatus, "shop/gw").Listeners[0].AttachedRoutes; n != 500 {
		t.Errorf("%d routes are attached", n)
	}
	w.remove(model.Ref{Group: "gateway.networking.k8s.io", Kind: "HTTPRoute", Namespace: "shop", Name: "g000"})
	if n := row(w, w.api.GatewayStatus, "shop/gw").Listeners[0].AttachedRoutes; n != 499 {
		t.Errorf("%d routes are attached after one is gone", n)
	}
}
