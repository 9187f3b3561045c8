package integration_test

import (
	"strings"
	"testing"

	"fairlead.io/fairlead/integration/mesh"
)

// corsRules are those of the conformance test HTTPRouteCORS of the Gateway API, and rules that take requests by method.
const corsRules = `
- matches: [{path: {value: /cors-1}}]
  filters: [{type: CORS, cors: {allowOrigins: ["https://www.foo.com", "https://*.bar.com"], allowMethods: [GET, OPTIONS], allowHeaders: [x-header-1, x-header-2], exposeHeaders: [x-header-3, x-header-4], allowCredentials: true, maxAge: 3600}}]
  backendRefs: [{name: a, port: 80}]
- matches: [{path: {value: /methods}}]
  filters: [{type: CORS, cors: {allowOrigins: ["https://www.foo.com"], allowMethods: ["*"]}}]
  backendRefs: [{name: a, port: 80}]
- matches: [{path: {value: /origin}}]
  filters: [{type: CORS, cors: {allowOrigins: ["*"], allowMethods: [PUT]}}]
  backendRefs: [{name: a, port: 80}]
- matches: [{path: {value: /all}}]
  filters: [{type: CORS, cors: {allowOrigins: ["https://other.foo.com"], allowMethods: ["*"], allowHeaders: ["*"], exposeHeaders: ["*"], allowCredentials: true}}]
  backendRefs: [{name: a, port: 80}]
- matches: [{path: {value: /unauth}}]
  filters: [{type: CORS, cors: {allowOrigins: ["*"], allowMethods: ["*"], allowHeaders: ["*"]}}]
  backendRefs: [{name: a, port: 80}]
- matches: [{path: {value: /by}, method: GET}]
  filters: [{type: CORS, cors: {allowOrigins: ["https://www.foo.com"], allowMethods: [GET]}}]
  backendRefs: [{name: a, port: 80}]
- matches: [{path: {value: /by}, method: PUT}]
  filters: [{type: CORS, cors: {allowOrigins: ["https://www.foo.com"], allowMethods: [PUT], allowHeaders: [x-put]}}]
  backendRefs: [{name: a, port: 80}]
- matches: [{path: {value: /by}}]
  backendRefs: [{name: b, port: 80}]
`

// corsVirtualService takes requests by method, and hands the others to b.
const corsVirtualService = `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: second, namespace: default}
spec: {servers: [{port: {number: 8081, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: by, namespace: default}
spec:
  hosts: [cors.test]
  gateways: [second]
  http:
  - match: [{uri: {prefix: /by}, method: {exact: GET}}]
    corsPolicy: {allowOrigins: [{exact: "https://www.foo.com"}], allowMethods: [GET], unmatchedPreflights: IGNORE}
    route: [{destination: {host: a}}]
  - match: [{uri: {prefix: /by}, method: {regex: "PUT|DELETE"}}]
    corsPolicy: {allowOrigins: [{exact: "https://www.foo.com"}], allowMethods: [PUT], allowHeaders: [x-put]}
    route: [{destination: {host: a}}]
  - route: [{destination: {host: b}}]
`

// corsCase is one request; headers that must be absent are wanted as "".
type corsCase struct {
	method, path, origin, ask, headers string
	backend                            string
	want                               map[string]string
}

// TestCORS asks a real Envoy what a browser would.
func TestCORS(t *testing.T) {
	a, b := mesh.NewBackend(t, "a"), mesh.NewBackend(t, "b")
	m := mesh.Start(t, mesh.Options{Manifests: gatewayYAML("- {name: http, port: 80, protocol: HTTP}") +
		gatewayService("a", a) + gatewayService("b", b) + routeYAML("cors", "cors.test", corsRules) + corsVirtualService})
	const foo, other = "https://www.foo.com", "https://other.foo.com"
	const origin, methods, headers = "Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers"
	const credentials, expose, age = "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers", "Access-Control-Max-Age"
	whole := func(from string) map[string]string {
		return map[string]string{origin: from, methods: "GET,OPTIONS", headers: "x-header-1,x-header-2", expose: "x-header-3,x-header-4", age: "3600", credentials: "true"}
	}
	check := func(t *testing.T, port int, list []corsCase) {
		for _, c := range list {
			r := mesh.Request{Port: port, Method: c.method, Host: "cors.test", Path: c.path}
			for _, h := range []string{"Origin: " + c.origin, "Access-Control-Request-Method: " + c.ask, "Access-Control-Request-Headers: " + c.headers} {
				if !strings.HasSuffix(h, ": ") {
					r.Header = append(r.Header, h)
				}
			}
			got := expect(t, m, r, 200)
			if got.Echo.Backend != c.backend {
				t.Errorf("%+v: answered by %q", c, got.Echo.Backend)
			}
			for name, want := range c.want {
				if v := strings.ReplaceAll(got.Header.Get(name), " ", ""); v != strings.ReplaceAll(want, " ", "") {
					t.Errorf("%s %s %s %s: %s is %q, want %q", c.method, c.path, c.origin, c.ask, name, v, want)
				}
			}
		}
	}
	t.Run("conformance", func(t *testing.T) {
		check(t, 80, []corsCase{
			{"OPTIONS", "/cors-1", foo, "GET", "x-header-1, x-header-2", "", whole(foo)},
			{"OPTIONS", "/cors-1", "https://www.bar.com", "GET", "x-header-1", "", whole("https://www.bar.com")},
			{"OPTIONS", "/cors-1", "https://xpto.www.bar.com", "GET", "", "", whole("https://xpto.www.bar.com")},
			{"OPTIONS", "/cors-1", "https://foobar.com", "GET", "", "", map[string]string{origin: ""}},
			{"GET", "/cors-1", foo, "GET", "", "a", map[string]string{origin: foo, credentials: "true"}},
			{"GET", "/cors-1", "https://foobar.com", "GET", "", "a", map[string]string{origin: "", credentials: ""}},
			{"OPTIONS", "/methods", foo, "POST", "", "", map[string]string{origin: foo, methods: "POST", credentials: ""}},
			{"OPTIONS", "/origin", "https://foobar.com:12345", "PUT", "", "", map[string]string{origin: "https://foobar.com:12345", methods: "PUT", credentials: ""}},
			{"PUT", "/origin", "https://foobar.com:12345", "", "", "a", map[string]string{origin: "https://foobar.com:12345", credentials: ""}},
			{"OPTIONS", "/all", other, "PUT", "x-header-1, x-header-2", "", map[string]string{origin: other, methods: "PUT", headers: "x-header-1,x-header-2", credentials: "true"}},
			{"OPTIONS", "/unauth", other, "PUT", "x-header-1, x-header-2", "", map[string]string{origin: other, methods: "PUT", headers: "x-header-1,x-header-2", credentials: ""}},
			{"GET", "/all", other, "", "", "a", map[string]string{origin: other, credentials: "true"}},
			{"GET", "/unauth", other, "", "", "a", map[string]string{origin: other, credentials: ""}},
		})
	})
	byMethod := func(deletes, unknown string) []corsCase {
		return []corsCase{
			{"OPTIONS", "/by/1", foo, "GET", "", "", map[string]string{origin: foo, methods: "GET", headers: ""}},
			{"OPTIONS", "/by/1", foo, "PUT", "x-put", "", map[string]string{origin: foo, methods: "PUT", headers: "x-put"}},
			{"OPTIONS", "/by/1", "https://evil.test", "GET", "", "", map[string]string{origin: ""}},
			{"OPTIONS", "/by/1", "https://evil.test", "PUT", "", unknown, map[string]string{origin: ""}},
			{"OPTIONS", "/by/1", foo, "DELETE", "", deletes, nil},
			{"OPTIONS", "/by/1", foo, "PATCH", "", "b", map[string]string{origin: ""}},
			{"OPTIONS", "/by/1", foo, "", "", "b", map[string]string{origin: ""}},
			{"OPTIONS", "/by/1", "", "PUT", "", "b", map[string]string{origin: ""}},
			{"GET", "/by/1", foo, "", "", "a", map[string]string{origin: foo}},
			{"PUT", "/by/1", foo, "", "", "a", map[string]string{origin: foo}},
			{"PATCH", "/by/1", foo, "", "", "b", map[string]string{origin: ""}},
		}
	}
	t.Run("HTTPRoute by method", func(t *testing.T) { check(t, 80, byMethod("b", "")) })
	// What the policy does not know is forwarded unless it says otherwise (unmatchedPreflights).
	t.Run("VirtualService by method", func(t *testing.T) { check(t, 8081, byMethod("", "a")) })
}
