package integration_test

import (
	"fmt"
	"net/http"
	"testing"

	"fairlead.io/fairlead/integration/mesh"
)

// gatewayFeature is the rules of an HTTPRoute for a host of its own, and what must be seen through the gateway.
type gatewayFeature struct {
	name, rules string
	check       func(t *testing.T, m *mesh.Mesh, host string)
}

// TestGatewayRoutes gives a gateway one HTTPRoute for each feature of a rule, and sends real requests.
func TestGatewayRoutes(t *testing.T) {
	a, b := mesh.NewBackend(t, "a"), mesh.NewBackend(t, "b")
	var features []gatewayFeature
	for _, list := range [][]gatewayFeature{
		ruleMatches(), ruleHeaders(), ruleRedirects(), ruleRewrites(), ruleBackends(), ruleMirrors(a, b), ruleCORS(), ruleTimes(a),
	} {
		features = append(features, list...)
	}
	manifests := gatewayYAML("- {name: http, port: 80, protocol: HTTP}") +
		gatewayService("a", a) + gatewayService("b", b) + gatewayService("empty")
	for _, f := range features {
		manifests += routeYAML(f.name, f.name+".test", f.rules)
	}
	m := mesh.Start(t, mesh.Options{Manifests: manifests})
	for _, f := range features {
		t.Run(f.name, func(t *testing.T) {
			if _, ok := m.Status("HTTPRoute", "default", f.name); !ok {
				t.Fatalf("the route was not read: %+v", m.Server.Status().Problems)
			}
			f.check(t, m, f.name+".test")
		})
	}
}

func ruleMatches() []gatewayFeature {
	rule := func(n, matches string) string {
		return "- filters: [" + ruleTag(n) + "]\n  backendRefs: [{name: a, port: 80}]\n  matches: [" + matches + "]\n"
	}
	// The least specific come first: their order in the route must not matter (HTTPRouteRule.matches).
	rules := rule("any", "") +
		rule("regex", `{path: {type: RegularExpression, value: "/regex/[0-9]+"}}`) +
		rule("prefix", "{path: {value: /p}}") +
		rule("longer", "{path: {value: /p/long}}") +
		rule("exact", "{path: {type: Exact, value: /p/long}}") +
		rule("method", "{path: {value: /m}, method: POST}") +
		rule("header", "{path: {value: /m}, headers: [{name: X-A, value: one}]}") +
		rule("headers", "{path: {value: /m}, headers: [{name: x-a, value: one}, {name: x-b, type: RegularExpression, value: 'b+'}]}") +
		rule("query", "{path: {value: /m}, queryParams: [{name: q, value: one}]}") +
		rule("plain", "{path: {value: /m}}") +
		rule("either", "{path: {type: Exact, value: /either}}, {path: {type: Exact, value: /or}}")
	return []gatewayFeature{{"matches", rules, func(t *testing.T, m *mesh.Mesh, host string) {
		for _, c := range []struct {
			method, path, header, want string
		}{
			{"GET", "/", "", "any"},
			{"GET", "/other", "", "any"},
			{"GET", "/p", "", "prefix"},
			{"GET", "/p/", "", "prefix"},
			{"GET", "/p/x?y", "", "prefix"},
			{"GET", "/px", "", "any"}, // a prefix is whole segments
			{"GET", "/P", "", "any"},
			{"GET", "/p/long/x", "", "longer"},
			{"GET", "/p/long", "", "exact"},
			{"GET", "/regex/12", "", "regex"},
			{"GET", "/regex/12/x", "", "any"}, // an expression is for the whole path
			{"GET", "/m", "", "plain"},
			{"POST", "/m", "", "method"},
			{"POST", "/m?q=one", "x-a: one", "method"}, // the method counts before headers and query
			{"GET", "/m?q=one", "x-a: one", "header"},  // headers count before the query
			{"GET", "/m", "x-a: ONE", "plain"},
			{"GET", "/m?q=one", "", "query"},
			{"GET", "/m?q=two&q=one", "", "plain"},
			{"GET", "/either", "", "either"},
			{"GET", "/or", "", "either"},
		} {
			r := mesh.Request{Host: host, Method: c.method, Path: c.path}
			if c.header != "" {
				r.Header = []string{c.header}
			}
			got := expect(t, m, r, 200)
			if rule := got.Header.Get("x-rule"); rule != c.want {
				t.Errorf("%s %s %s: taken by rule %q, want %q", c.method, c.path, c.header, rule, c.want)
			}
		}
		got := expect(t, m, mesh.Request{Host: host, Path: "/m", Header: []string{"x-a: one", "x-b: bbb"}}, 200)
		if rule := got.Header.Get("x-rule"); rule != "headers" {
			t.Errorf("two headers: taken by rule %q", rule)
		}
	}}}
}

func ruleHeaders() []gatewayFeature {
	return []gatewayFeature{{"headers", `
- filters:
  - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: "50% %REQ(x)%"}], add: [{name: x-add, value: more}], remove: [x-gone]}}
  - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-keep, value: "2"}], add: [{name: x-new, value: "3"}], remove: [x-drop]}}
  backendRefs: [{name: a, port: 80}]
`, func(t *testing.T, m *mesh.Mesh, host string) {
		got := expect(t, m, mesh.Request{Host: host, Header: []string{"x-set: 1", "x-add: 1", "x-gone: 1", "x-fl-tag: mesh", "x-fl-vip: 1"}}, 200)
		expectHeaders(t, got.Echo.Header, map[string]string{"X-Set": "50% %REQ(x)%", "X-Add": "1 more", "X-Gone": "", "X-Fl-Tag": "", "X-Fl-Vip": ""})
		expectHeaders(t, got.Header, map[string]string{"X-Keep": "2", "X-New": "3", "X-Drop": ""})
	}}, {"backendheaders", `
- backendRefs:
  - name: a
    port: 80
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-to, value: a}]}}, {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-from, value: a}]}}]
  - name: b
    port: 80
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-to, value: b}]}}, {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-from, value: b}]}}]
`, func(t *testing.T, m *mesh.Mesh, host string) {
		seen := map[string]bool{}
		for range 40 {
			got := expect(t, m, mesh.Request{Host: host}, 200)
			seen[got.Echo.Backend] = true
			if got.Echo.Header.Get("x-to") != got.Echo.Backend || got.Header.Get("x-from") != got.Echo.Backend {
				t.Errorf("backend %s saw x-to %q, answered x-from %q", got.Echo.Backend, got.Echo.Header.Get("x-to"), got.Header.Get("x-from"))
			}
		}
		if !seen["a"] || !seen["b"] {
			t.Errorf("only %v answered", seen)
		}
	}}}
}

func ruleRedirects() []gatewayFeature {
	redirect := func(path, spec string) string {
		return "- matches: [{path: {value: " + path + "}}]\n  filters: [{type: RequestRedirect, requestRedirect: {" + spec + "}}]\n"
	}
	rules := redirect("/host", "hostname: new.test") +
		redirect("/scheme", "scheme: https") +
		redirect("/all", "scheme: https, hostname: new.test, port: 8443, statusCode: 301, path: {type: ReplaceFullPath, replaceFullPath: /full}") +
		redirect("/prefix", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /other}") +
		redirect("/strip", `path: {type: ReplacePrefixMatch, replacePrefixMatch: ""}`) +
		redirect("/port", "port: 8080") + redirect("/303", "statusCode: 303, hostname: new.test")
	return []gatewayFeature{{"redirects", rules, func(t *testing.T, m *mesh.Mesh, host string) {
		for _, c := range []struct {
			path, want string
			code       int
		}{
			{"/host/x?y=z", "http://new.test/host/x?y=z", 302},
			{"/scheme/x", "https://" + host + "/scheme/x", 302},
			{"/all/x?y", "https://new.test:8443/full?y", 301},
			{"/prefix/x", "http://" + host + "/other/x", 302},
			{"/prefix", "http://" + host + "/other", 302},
			{"/strip/x", "http://" + host + "/x", 302},
			{"/port", "http://" + host + ":8080/port", 302},
			{"/303", "http://new.test/303", 303},
		} {
			got := expect(t, m, mesh.Request{Host: host, Path: c.path}, c.code)
			if at := got.Header.Get("Location"); at != c.want {
				t.Errorf("%s: redirected to %q, want %q", c.path, at, c.want)
			}
		}
	}}}
}

func ruleRewrites() []gatewayFeature {
	rewrite := func(path, spec string) string {
		return "- matches: [{path: {value: " + path + "}}]\n  filters: [{type: URLRewrite, urlRewrite: {" + spec + "}}]\n  backendRefs: [{name: a, port: 80}]\n"
	}
	rules := rewrite("/full", "path: {type: ReplaceFullPath, replaceFullPath: /one}") +
		rewrite("/prefix", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /two/}") +
		rewrite("/strip", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /}") +
		rewrite("/host", "hostname: inner.test")
	return []gatewayFeature{{"rewrites", rules, func(t *testing.T, m *mesh.Mesh, host string) {
		for _, c := range []struct{ path, host, want, query string }{
			{"/full/x?y=z", host, "/one", "y=z"},
			{"/prefix/x?y=z", host, "/two/x", "y=z"},
			{"/prefix", host, "/two", ""},
			{"/strip/x", host, "/x", ""},
			{"/strip", host, "/", ""},
			{"/host/x", "inner.test", "/host/x", ""},
		} {
			got := expect(t, m, mesh.Request{Host: host, Path: c.path}, 200)
			if got.Echo.Path != c.want || got.Echo.Query != c.query || got.Echo.Host != c.host {
				t.Errorf("%s: backend saw %s %s ? %s, want %s %s ? %s", c.path, got.Echo.Host, got.Echo.Path, got.Echo.Query, c.host, c.want, c.query)
			}
		}
	}}}
}

func ruleBackends() []gatewayFeature {
	to := func(path, refs string) string {
		return "- matches: [{path: {value: " + path + "}}]\n  backendRefs: [" + refs + "]\n"
	}
	rules := to("/split", "{name: a, port: 80, weight: 3}, {name: b, port: 80, weight: 1}") +
		to("/zero", "{name: a, port: 80, weight: 0}, {name: b, port: 80}") +
		to("/none", "{name: a, port: 80, weight: 0}") + to("/missing", "{name: nobody, port: 80}") +
		to("/port", "{name: a, port: 81}") + to("/half", "{name: a, port: 80}, {name: nobody, port: 80}") +
		to("/empty", "{name: empty, port: 80}") + to("/kind", "{group: other.io, kind: Bucket, name: a, port: 80}") +
		"- matches: [{path: {value: /nothing}}]\n" +
		"- matches: [{path: {value: /extension}}]\n  filters: [{type: ExtensionRef, extensionRef: {group: x.io, kind: Auth, name: a}}]\n  backendRefs: [{name: a, port: 80}]\n"
	return []gatewayFeature{{"backends", rules, func(t *testing.T, m *mesh.Mesh, host string) {
		get := func(path string) mesh.Request { return mesh.Request{Host: host, Path: path} }
		// 400 draws of 3/4: outside ±60 (7 standard deviations) never happens by chance.
		if n := countAnswers(t, m, get("/split"), 400); n["200 a"] < 240 || n["200 a"] > 360 || n["200 a"]+n["200 b"] != 400 {
			t.Errorf("3:1 was split as %v", n)
		}
		if n := countAnswers(t, m, get("/zero"), 20); n["200 b"] != 20 {
			t.Errorf("weight 0 was split as %v", n)
		}
		if n := countAnswers(t, m, get("/half"), 200); n["200 a"] < 60 || n["500 "] < 60 || n["200 a"]+n["500 "] != 200 {
			t.Errorf("an invalid half answered %v", n)
		}
		for path, status := range map[string]int{
			"/none": 500, "/nothing": 500, "/missing": 500, "/port": 500, "/kind": 500, "/extension": 500, "/empty": 503, "/elsewhere": 404,
		} {
			expect(t, m, get(path), status)
		}
		for _, text := range []string{"Service default/nobody does not exist", "has no port 81", "backends of kind Bucket", "filters of other kinds are not supported"} {
			m.WaitFinding(t, "HTTPRoute default/backends", text)
		}
		expect(t, m, mesh.Request{Host: "unknown.test"}, 404)
	}}}
}

func ruleMirrors(a, b *mesh.Backend) []gatewayFeature {
	mirror := func(path, share string) string {
		return "- matches: [{path: {value: " + path + "}}]\n  filters: [{type: RequestMirror, requestMirror: {backendRef: {name: b, port: 80}" + share + "}}]\n  backendRefs: [{name: a, port: 80}]\n"
	}
	rules := mirror("/all", "") + mirror("/none", ", percent: 0") + mirror("/some", ", percent: 40") + mirror("/fraction", ", fraction: {numerator: 1, denominator: 2}")
	return []gatewayFeature{{"mirrors", rules, func(t *testing.T, m *mesh.Mesh, host string) {
		for path, want := range map[string][2]int{"/all": {200, 200}, "/none": {0, 0}, "/some": {30, 130}, "/fraction": {50, 150}} {
			id := "mirror" + path
			for range 200 {
				got := expect(t, m, mesh.Request{Host: host, Path: path, Header: []string{"x-want-id: " + id}}, 200)
				if got.Echo.Backend != "a" {
					t.Fatalf("%s was answered by %q", path, got.Echo.Backend)
				}
			}
			if n := len(a.Seen(id)); n != 200 {
				t.Errorf("%s: the backend saw %d of 200", path, n)
			}
			mesh.Eventually(t, func() error {
				if n := len(b.Seen(id)); n < want[0] || n > want[1] {
					return fmt.Errorf("%s: %d of 200 were mirrored, want %v", path, n, want)
				}
				return nil
			})
		}
	}}}
}

func ruleCORS() []gatewayFeature {
	return []gatewayFeature{{"cors", `
- filters: [{type: CORS, cors: {allowOrigins: ["https://*.good.test", "https://one.test"], allowMethods: [GET, PUT], allowHeaders: [x-a, x-b], exposeHeaders: [x-c], maxAge: 60, allowCredentials: true}}]
  backendRefs: [{name: a, port: 80}]
`, func(t *testing.T, m *mesh.Mesh, host string) {
		preflight := func(origin string) mesh.Request {
			return mesh.Request{Method: http.MethodOptions, Host: host, Header: []string{
				"Origin: " + origin, "Access-Control-Request-Method: PUT", "Access-Control-Request-Headers: x-a",
			}}
		}
		for _, origin := range []string{"https://www.good.test", "https://one.test"} {
			got := expect(t, m, preflight(origin), 200)
			if got.Echo.Backend != "" {
				t.Error("the preflight reached the backend")
			}
			expectHeaders(t, got.Header, map[string]string{
				"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Methods": "GET,PUT", "Access-Control-Allow-Headers": "x-a,x-b",
				"Access-Control-Max-Age": "60", "Access-Control-Allow-Credentials": "true",
			})
			got = expect(t, m, mesh.Request{Host: host, Header: []string{"Origin: " + origin}}, 200)
			expectHeaders(t, got.Header, map[string]string{"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": "x-c"})
		}
		for _, origin := range []string{"https://good.test.evil", "http://www.good.test", "https://two.test", "https://xgood.test"} {
			if got := m.MustDo(t, preflight(origin)); got.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s is allowed: %v", origin, got.Header)
			}
		}
	}}}
}

func ruleTimes(a *mesh.Backend) []gatewayFeature {
	to := func(path, more string) string {
		return "- matches: [{path: {value: " + path + "}}]\n  backendRefs: [{name: a, port: 80}]\n  " + more + "\n"
	}
	rules := to("/request", "timeouts: {request: 300ms}") + to("/backend", "timeouts: {backendRequest: 300ms}") +
		to("/off", "timeouts: {request: 0s}") + to("/retry", "retry: {codes: [503], attempts: 2, backoff: 1ms}") +
		to("/try", "retry: {attempts: 1, codes: [504], backoff: 1ms}\n  timeouts: {request: 20s, backendRequest: 300ms}")
	return []gatewayFeature{{"times", rules, func(t *testing.T, m *mesh.Mesh, host string) {
		for _, path := range []string{"/request", "/backend"} {
			expect(t, m, mesh.Request{Host: host, Path: path, Header: []string{"x-want-delay: 30s"}}, 504)
			expect(t, m, mesh.Request{Host: host, Path: path}, 200)
		}
		expect(t, m, mesh.Request{Host: host, Path: "/off", Header: []string{"x-want-delay: 600ms"}}, 200)
		for _, c := range []struct {
			id, path, statuses string
			status, tries      int
		}{
			{"second", "/retry", "503,200", 200, 2},
			{"third", "/retry", "503,503,200", 200, 3},
			{"never", "/retry", "503", 503, 3},
			{"other", "/retry", "500,200", 500, 1},
			{"plain", "/off", "503,200", 503, 1},
		} {
			expect(t, m, mesh.Request{Host: host, Path: c.path, Header: []string{"x-want-id: " + c.id, "x-want-status: " + c.statuses}}, c.status)
			if n := len(a.Seen(c.id)); n != c.tries {
				t.Errorf("%s: %d tries, want %d", c.id, n, c.tries)
			}
		}
		expect(t, m, mesh.Request{Host: host, Path: "/try", Header: []string{"x-want-id: slow", "x-want-delay: 30s"}}, 504)
		if n := len(a.Seen("slow")); n != 2 {
			t.Errorf("a try that timed out: %d tries, want 2", n)
		}
	}}}
}
