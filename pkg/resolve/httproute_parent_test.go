package resolve

import (
	"slices"
	"strings"
	"testing"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"fairlead.io/fairlead/pkg/model"
)

const manyListeners = `
listeners:
- {name: same, port: 80, protocol: HTTP, hostname: same.example}
- {name: all, port: 80, protocol: HTTP, hostname: "*.all.example", allowedRoutes: {namespaces: {from: All}}}
- {name: chosen, port: 8080, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: a}}}}}
- {name: closed, port: 8081, protocol: HTTP, allowedRoutes: {namespaces: {from: None}}}`

func TestParents(t *testing.T) {
	const rule = "\nrules: [{backendRefs: [{name: web, port: 80}]}]"
	for name, c := range map[string]struct {
		namespace, spec string
		parents         []string // "section Accepted"
		hosts           []string
		object          []string // conditions of the object, for our own tools
		attached        []string
	}{
		"whole gateway": {
			"shop", "parentRefs: [{name: gw}]",
			[]string{" True/Accepted"},
			[]string{"gateway/0.0.0.0:80 *.all.example", "gateway/0.0.0.0:80 same.example", "gateway/0.0.0.0:8080 *"},
			nil,
			[]string{"shop/gw/all", "shop/gw/chosen", "shop/gw/same"},
		},
		"section": {"shop", "parentRefs: [{name: gw, sectionName: chosen}]", []string{"chosen True/Accepted"}, []string{"gateway/0.0.0.0:8080 *"}, nil, []string{"shop/gw/chosen"}},
		"port":    {"shop", "parentRefs: [{name: gw, port: 8080}]", []string{" True/Accepted"}, []string{"gateway/0.0.0.0:8080 *"}, nil, []string{"shop/gw/chosen"}},
		"two sections of one route, one of them wrong": {
			"shop", "parentRefs: [{name: gw, sectionName: none}, {name: gw, sectionName: same}]",
			[]string{"none False/NoMatchingParent", "same True/Accepted"},
			[]string{"gateway/0.0.0.0:80 same.example"},
			nil,
			[]string{"shop/gw/same"},
		},
		"section and port of different listeners": {"shop", "parentRefs: [{name: gw, sectionName: chosen, port: 80}]", []string{"chosen False/NoMatchingParent"}, nil, nil, nil},
		"no namespace":      {"shop", "parentRefs: [{name: gw, sectionName: closed}]", []string{"closed False/NotAllowedByListeners"}, nil, nil, nil},
		"another namespace": {"far", "parentRefs: [{name: gw, namespace: shop, sectionName: same}]", []string{"same False/NotAllowedByListeners"}, nil, nil, nil},
		"namespace not selected": {
			"far", "parentRefs: [{name: gw, namespace: shop}]", []string{" True/Accepted"}, []string{"gateway/0.0.0.0:80 *.all.example"}, nil, []string{"shop/gw/all"},
		},
		"hostname of no listener": {"shop", "hostnames: [else.where]\nparentRefs: [{name: gw, port: 80}]", []string{" False/NoMatchingListenerHostname"}, nil, nil, nil},
		"some hostnames": {
			"shop", "hostnames: [else.where, A.all.example, '*.all.example', '*.deep.all.example']\nparentRefs: [{name: gw, sectionName: all}]",
			[]string{"all True/Accepted"},
			[]string{"gateway/0.0.0.0:80 *.all.example", "gateway/0.0.0.0:80 *.deep.all.example", "gateway/0.0.0.0:80 a.all.example"},
			nil,
			[]string{"shop/gw/all"},
		},
		"gateway that does not exist":   {"shop", "parentRefs: [{name: nobody}]", nil, nil, []string{"warning spec.parentRefs[0]"}, nil},
		"gateway of another controller": {"shop", "parentRefs: [{name: foreign}]", nil, nil, nil, nil},
		"parent of another kind":        {"shop", "parentRefs: [{name: x, kind: ListenerSet}]", nil, nil, []string{"warning spec.parentRefs[0]"}, nil},
		"no parent":                     {"shop", "hostnames: [a.b]", nil, nil, []string{"warning spec.parentRefs"}, nil},
		"default gateways":              {"shop", "useDefaultGateways: All\nparentRefs: [{name: gw, port: 8080}]", []string{" True/Accepted"}, []string{"gateway/0.0.0.0:8080 *"}, []string{"warning spec.useDefaultGateways"}, []string{"shop/gw/chosen"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAPIWorld(t, gatewayOf(manyListeners),
				`{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: foreign, namespace: shop}, spec: {gatewayClassName: theirs, `+plainGateway+`}}`,
				`{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: g, namespace: shop}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: far}], to: [{group: "", kind: Service}]}}`,
				routeOf(c.namespace, "r", c.spec+strings.ReplaceAll(rule, "name: web", "name: web, namespace: shop")))
			s := w.route(c.namespace + "/r")
			var parents []string
			for _, p := range s.Status.Parents {
				parents = append(parents, p.Section+" "+spelled(p.Conditions, "Accepted"))
				if got := spelled(p.Conditions, "ResolvedRefs"); got != "True/ResolvedRefs" {
					t.Errorf("ResolvedRefs is %q", got)
				}
			}
			equalLists(t, "parents", parents, c.parents)
			equalLists(t, "hosts", s.hosts(), slices.Concat([]string{}, c.hosts))
			equalLists(t, "object", said(s.Status.Conditions), c.object)
			equalLists(t, "attached", s.attached, c.attached)
		})
	}
}

func TestIntersect(t *testing.T) {
	for _, c := range []struct {
		listener string
		route    []gatewayv1.Hostname
		want     []string
	}{
		{"", nil, []string{"*"}},
		{"a.b", nil, []string{"a.b"}},
		{"", []gatewayv1.Hostname{"x.y", "*.z"}, []string{"x.y", "*.z"}},
		{"very.specific.com", []gatewayv1.Hostname{"non.matching.com", "*.nonmatchingwildcard.io", "very.specific.com"}, []string{"very.specific.com"}},
		{"very.specific.com", []gatewayv1.Hostname{"*.specific.com"}, []string{"very.specific.com"}},
		{"*.wildcard.io", []gatewayv1.Hostname{"foo.wildcard.io", "bar.wildcard.io", "foo.bar.wildcard.io", "wildcard.io"}, []string{"foo.wildcard.io", "bar.wildcard.io", "foo.bar.wildcard.io"}},
		{"*.anotherwildcard.io", []gatewayv1.Hostname{"*.anotherwildcard.io"}, []string{"*.anotherwildcard.io"}},
		{"*.a.b", []gatewayv1.Hostname{"*.b"}, []string{"*.a.b"}},
		{"*.b", []gatewayv1.Hostname{"b", "xb"}, nil},
		{"a.b", []gatewayv1.Hostname{"a.b", "A.B."}, []string{"a.b"}},
	} {
		if got := intersect(c.listener, c.route); !slices.Equal(got, c.want) {
			t.Errorf("intersect(%q, %q) = %q, want %q", c.listener, c.route, got, c.want)
		}
	}
}

// Parents that are Services (GEP-1226).
func TestMeshParents(t *testing.T) {
	const rules = "\nrules: [{backendRefs: [{name: api, namespace: shop, port: 80}]}]"
	grant := `{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: g, namespace: shop}, spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: far}], to: [{group: "", kind: Service}]}}`
	w := newAPIWorld(t, grant,
		routeOf("shop", "producer", "hostnames: [x.y]\nparentRefs: [{group: '', kind: Service, name: web, port: 80}, {group: '', kind: Service, name: web, port: 81}, {group: '', kind: Service, name: gone}, {group: '', kind: Service, name: out}]"+rules),
		routeOf("far", "consumer", "parentRefs: [{group: '', kind: Service, name: web, namespace: shop}]"+rules))
	p := w.route("shop/producer")
	equalLists(t, "hosts", p.hosts(), []string{"mesh web.shop.svc.cluster.local"})
	var got []string
	for _, s := range p.Status.Parents {
		got = append(got, s.Parent.Name+" "+spelled(s.Conditions, "Accepted"))
	}
	equalLists(t, "parents", got, []string{"web True/Accepted", "web False/NoMatchingParent", "gone False/NoMatchingParent", "out False/NoMatchingParent"})
	equalLists(t, "object", said(p.Status.Conditions), []string{"warning spec.hostnames"})
	if m := w.only("shop/producer").Match; m.Port != 80 || m.Source != nil {
		t.Errorf("the producer's match is %+v", m)
	}
	m := w.only("far/consumer").Match
	if m.Port != 0 || m.Source == nil || !slices.Equal(m.Source.Namespaces, []string{"far"}) {
		t.Errorf("the consumer's match is %+v", m)
	}
	w.remove(model.Ref{Kind: "Service", Namespace: "shop", Name: "web"})
	if got := spelled(w.route("far/consumer").Status.Parents[0].Conditions, "Accepted"); got != "False/NoMatchingParent" {
		t.Errorf("after the Service is gone, the consumer is %q", got)
	}
}
