package integration_test

import (
	"fmt"
	"testing"

	"fairlead.io/fairlead/integration/mesh"
)

// tagged is a route to backend a that tells its own name in x-rule.
func tagged(parent, namespace, name, host, path string) string {
	return routeTo(parent, namespace, name, host, "- matches: [{path: {value: "+path+"}}]\n  filters: ["+ruleTag(name)+"]\n  backendRefs: [{name: a, port: 80, namespace: default}]\n")
}

// expectRule sends GET host path to a port and compares who answers: a route's name, or "404".
func expectRule(t *testing.T, m *mesh.Mesh, port int, host, path, want string) {
	t.Helper()
	got := m.MustDo(t, mesh.Request{Port: port, Host: host, Path: path})
	rule := got.Header.Get("x-rule")
	if got.Status == 404 {
		rule = "404"
	}
	if rule != want {
		t.Errorf("%d %s%s: answered by %q (%d), want %q", port, host, path, rule, got.Status, want)
	}
}

const grantToDefault = `
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: all, namespace: default}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: blue}, {group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: red}]
  to: [{group: "", kind: Service}]
`

// TestGatewayHosts shows which route answers which host: intersections of the host names of listener and route, the most
// specific name first, and listeners that are isolated from each other.
func TestGatewayHosts(t *testing.T) {
	a := mesh.NewBackend(t, "a")
	listeners := "- {name: any, port: 80, protocol: HTTP}\n" +
		"- {name: wild, port: 80, protocol: HTTP, hostname: '*.example.com'}\n" +
		"- {name: exact, port: 80, protocol: HTTP, hostname: a.example.com}\n" +
		"- {name: other, port: 8080, protocol: HTTP}\n"
	at := func(section, name, host, path string) string {
		return tagged("{name: edge, sectionName: "+section+"}", "default", name, host, path)
	}
	m := mesh.Start(t, mesh.Options{
		Manifests: gatewayYAML(listeners) + gatewayService("a", a) +
			at("any", "any-all", "", "/all") + at("any", "any-org", "b.example.org", "/") + at("any", "any-example", "c.example.com", "/") +
			at("wild", "wild-all", "", "/") + at("wild", "wild-b", "b.example.com", "/b") +
			at("exact", "exact-all", "", "/x") + at("exact", "exact-wild", "*.example.com", "/w") + at("exact", "exact-none", "b.example.com", "/") +
			at("other", "other-com", "*.com", "/") + at("other", "other-deep", "*.deep.com", "/deep") +
			tagged("{name: edge, port: 8080}", "default", "by-port", "port.test", "/"),
	})
	for _, c := range []struct {
		port             int
		host, path, want string
	}{
		{80, "nobody.test", "/all", "any-all"},
		{80, "nobody.test", "/", "404"},
		{80, "b.example.org", "/", "any-org"},
		{80, "b.example.org", "/all", "any-org"}, // the more specific host name comes before the longer path
		{80, "B.Example.ORG:80", "/", "any-org"},
		// A host of the wildcard listener is none of the listener without a host name, although it has a route for it.
		{80, "c.example.com", "/", "wild-all"},
		{80, "c.example.com", "/all", "wild-all"},
		{80, "x.y.example.com", "/", "wild-all"},
		{80, "b.example.com", "/b", "wild-b"},
		{80, "b.example.com", "/", "wild-all"}, // less specific names still match what the specific one does not
		{80, "example.com", "/", "404"},        // a wildcard does not cover its parent
		{80, "a.example.com", "/x", "exact-all"},
		{80, "a.example.com", "/w", "exact-wild"},
		{80, "a.example.com", "/", "404"}, // isolated: the wildcard listener's route is not for it
		{8080, "a.example.com", "/", "other-com"},
		{8080, "x.deep.com", "/deep", "other-deep"},
		{8080, "x.deep.com", "/", "other-com"},
		{8080, "b.example.org", "/", "404"},
		{8080, "port.test", "/", "by-port"},
		{80, "port.test", "/", "404"},
	} {
		expectRule(t, m, c.port, c.host, c.path, c.want)
	}
	m.WaitFinding(t, "HTTPRoute default/exact-none", "no hostname of the route")
}

// TestGatewayConflicts shows that of two objects with one host and path the older one answers, and that a Gateway without
// an address of its own shares its port with another.
func TestGatewayConflicts(t *testing.T) {
	a := mesh.NewBackend(t, "a")
	m := mesh.Start(t, mesh.Options{
		Manifests: gatewayYAML("- {name: http, port: 80, protocol: HTTP}") +
			gatewayNamed("second", "- {name: http, port: 80, protocol: HTTP, hostname: second.test}") + gatewayService("a", a) +
			tagged("{name: edge}", "default", "z-first", "one.test", "/") + tagged("{name: second}", "default", "second", "", "/"),
	})
	expectRule(t, m, 80, "one.test", "/", "z-first")
	expectRule(t, m, 80, "second.test", "/", "second")
	m.Apply("same", tagged("{name: edge}", "default", "a-second", "one.test", "/")+tagged("{name: edge}", "default", "more", "one.test", "/more"))
	m.WaitStatus(t, mesh.Request{Host: "one.test", Path: "/more"}, 200)
	mesh.Eventually(t, func() error { return ruleIs(m, "one.test", "/more", "more") })
	m.Delete("same")
	mesh.Eventually(t, func() error { return ruleIs(m, "one.test", "/more", "z-first") })
}

func ruleIs(m *mesh.Mesh, host, path, want string) error {
	got, err := m.Do(mesh.Request{Host: host, Path: path})
	if err != nil {
		return err
	}
	if rule := got.Header.Get("x-rule"); rule != want {
		return fmt.Errorf("%s%s is answered by %q, want %q", host, path, rule, want)
	}
	return nil
}

// TestGatewayNamespaces shows who may attach: allowedRoutes by namespace, selector and kind, as labels change.
func TestGatewayNamespaces(t *testing.T) {
	a := mesh.NewBackend(t, "a")
	listeners := "- {name: same, port: 80, protocol: HTTP}\n" +
		"- {name: all, port: 81, protocol: HTTP, allowedRoutes: {namespaces: {from: All}}}\n" +
		"- {name: some, port: 82, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: blue}}}}}\n" +
		"- {name: kinds, port: 83, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}\n"
	namespaces := func(red string) string {
		return "apiVersion: v1\nkind: Namespace\nmetadata: {name: blue, labels: {team: blue}}\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: red, labels: {team: " + red + "}}\n"
	}
	m := mesh.Start(t, mesh.Options{
		Manifests: gatewayYAML(listeners) + gatewayService("a", a) + grantToDefault +
			tagged("{name: edge}", "default", "own", "own.test", "/") +
			tagged("{name: edge, namespace: default}", "blue", "blue", "blue.test", "/") +
			tagged("{name: edge, namespace: default}", "red", "red", "red.test", "/"),
	})
	m.Apply("namespaces", namespaces("red"))
	m.WaitStatus(t, mesh.Request{Port: 82, Host: "blue.test"}, 200)
	for port, want := range map[int][3]string{80: {"own", "404", "404"}, 81: {"own", "blue", "red"}, 82: {"404", "blue", "404"}} {
		expectRule(t, m, port, "own.test", "/", want[0])
		expectRule(t, m, port, "blue.test", "/", want[1])
		expectRule(t, m, port, "red.test", "/", want[2])
	}
	m.WaitFinding(t, "Gateway default/edge", "routes of kind GRPCRoute")
	m.Apply("namespaces", namespaces("blue"))
	m.WaitStatus(t, mesh.Request{Port: 82, Host: "red.test"}, 200)
}

// TestGatewayReferenceGrant follows a backend in another namespace: refused, granted under load, refused again.
func TestGatewayReferenceGrant(t *testing.T) {
	a := mesh.NewBackend(t, "a")
	far := mesh.Service{Namespace: "far", Name: "a"}.YAML(a.Address)
	m := mesh.Start(t, mesh.Options{Manifests: gatewayYAML("- {name: http, port: 80, protocol: HTTP}") + far +
		routeYAML("cross", "cross.test", "- backendRefs: [{name: a, namespace: far, port: 80}]")})
	r := mesh.Request{Host: "cross.test"}
	grant := func(name string) string {
		return "apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: g, namespace: far}\n" +
			"spec:\n  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]\n  to: [{group: '', kind: Service" + name + "}]\n"
	}
	expect(t, m, r, 500)
	m.WaitFinding(t, "HTTPRoute default/cross", "ReferenceGrant")
	m.Apply("grant", grant(""))
	m.WaitBackend(t, r, "a")
	m.WaitNoFinding(t, "HTTPRoute default/cross")
	m.Apply("grant", grant(", name: other"))
	m.WaitStatus(t, r, 500)
	m.Apply("grant", grant(", name: a"))
	m.WaitBackend(t, r, "a")
	m.Delete("grant")
	m.WaitStatus(t, r, 500)
}
