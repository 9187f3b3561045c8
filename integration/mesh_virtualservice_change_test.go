package integration_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// meshChangeFeatures change the request or the answer on its way.
func meshChangeFeatures() []meshFeature {
	return []meshFeature{{name: "redirect", body: `
  http:
  - match: [{uri: {exact: /all}}]
    redirect: {uri: /new, authority: other.test, scheme: https, port: 8443, redirectCode: 308}
  - match: [{uri: {prefix: /old/}}]
    redirect: {prefixRewrite: /new/}
`, check: func(t *testing.T, m *meshRig, vip string) {
		for _, c := range []struct {
			path     string
			status   int
			location string
		}{{"/all", 308, "https://other.test:8443/new"}, {"/old/x?y=1", 301, "http://x/new/x?y=1"}} {
			got := m.expect(t, meshCall{to: vip, path: c.path}, want{status: c.status})
			if l := got.header.Get("Location"); l != c.location {
				t.Errorf("%s leads to %q, want %q", c.path, l, c.location)
			}
		}
	}}, {name: "rewrite", body: `
  http:
  - match: [{uri: {prefix: /pre/}}]
    rewrite: {uri: /new/}
    route: [{destination: {host: HOST, subset: v1}}]
  - match: [{uri: {exact: /exact}}]
    rewrite: {uri: /whole}
    route: [{destination: {host: HOST, subset: v1}}]
  - match: [{uri: {prefix: /re}}]
    rewrite: {uriRegexRewrite: {match: "/re/([^/]+)/(.*)", rewrite: '/\2/\1'}}
    route: [{destination: {host: HOST, subset: v1}}]
  - match: [{uri: {prefix: /authority}}]
    rewrite: {authority: new.test}
    route: [{destination: {host: HOST, subset: v1}}]
`, check: func(t *testing.T, m *meshRig, vip string) {
		for path, seen := range map[string]string{"/pre/x?y=1": "/new/x?y=1", "/exact?q": "/whole?q", "/re/a/b": "/b/a", "/re": "/re"} {
			if got := m.expect(t, meshCall{to: vip, path: path}, want{pod: "1"}); got.echo.URI != seen {
				t.Errorf("%s arrives as %q, want %q", path, got.echo.URI, seen)
			}
		}
		if got := m.expect(t, meshCall{to: vip, path: "/authority"}, want{pod: "1"}); got.echo.Host != "new.test" {
			t.Errorf("the host arrives as %q", got.echo.Host)
		}
	}}, {name: "answer", body: `
  http:
  - match: [{uri: {prefix: /long}}]
    directResponse: {status: 200, body: {string: "` + strings.Repeat("x", 10000) + `"}}
  - directResponse: {status: 418, body: {string: "tea"}}
    headers: {response: {set: {x-pot: "1"}}}
`, check: func(t *testing.T, m *meshRig, vip string) {
		if got := m.expect(t, meshCall{to: vip}, want{status: 418}); got.body != "tea" || got.header.Get("x-pot") != "1" {
			t.Errorf("%q, x-pot %q", got.body, got.header.Get("x-pot"))
		}
		if got := m.expect(t, meshCall{to: vip, path: "/long"}, want{status: 200}); len(got.body) != 10000 {
			t.Errorf("%d bytes", len(got.body))
		}
	}}, {name: "headers", body: `
  http:
  - match: [{uri: {prefix: /one}}]
    headers:
      request: {set: {x-set: s, host: h.test}, add: {x-add: "two"}, remove: [x-gone]}
      response: {set: {x-keep: s}, add: {x-more: "1%"}, remove: [x-drop]}
    route:
    - destination: {host: HOST, subset: v1}
      headers: {request: {set: {x-own: "v1"}}, response: {add: {x-own: "v1"}}}
  - route:
    - {destination: {host: HOST, subset: v1}, weight: 1, headers: {response: {set: {x-to: "v1"}}, request: {set: {x-to: "v1"}}}}
    - {destination: {host: HOST, subset: v2}, weight: 1, headers: {response: {set: {x-to: "v2"}}, request: {set: {x-to: "v2"}}}}
`, check: func(t *testing.T, m *meshRig, vip string) {
		got := m.expect(t, meshCall{to: vip, path: "/one", header: []string{"x-set: c", "x-add: one", "x-gone: 1"}}, want{pod: "1"})
		in := got.echo.Header
		if in.Get("x-set") != "s" || strings.Join(in.Values("x-add"), ",") != "one,two" || in.Get("x-gone") != "" || in.Get("x-own") != "v1" || got.echo.Host != "h.test" {
			t.Errorf("the pod sees %v, host %s", in, got.echo.Host)
		}
		if h := got.header; h.Get("x-keep") != "s" || h.Get("x-more") != "1%" || h.Get("x-drop") != "" || h.Get("x-own") != "v1" {
			t.Errorf("the client sees %v", h)
		}
		for range 40 {
			got := m.expectAny(t, meshCall{to: vip})
			if v := "v" + got.echo.Backend; got.header.Get("x-to") != v || got.echo.Header.Get("x-to") != v {
				t.Fatalf("pod %s: the client sees %q, the pod %q", got.echo.Backend, got.header.Get("x-to"), got.echo.Header.Get("x-to"))
			}
		}
	}}, {name: "cors", body: `
  http:
  - corsPolicy: {allowOrigins: [{exact: "https://good.test"}, {regex: "https://.*[.]wild[.]test"}], allowMethods: [GET, PUT], allowHeaders: [x-a], exposeHeaders: [x-keep], maxAge: 1m, allowCredentials: true}
    route: [{destination: {host: HOST, subset: v1}}]
`, check: func(t *testing.T, m *meshRig, vip string) {
		ask := func(origin string) http.Header {
			return m.expect(t, meshCall{to: vip, method: http.MethodOptions, header: []string{"Origin: " + origin, "Access-Control-Request-Method: PUT"}}, want{status: 200}).header
		}
		h := ask("https://good.test")
		if h.Get("Access-Control-Allow-Origin") != "https://good.test" || h.Get("Access-Control-Allow-Methods") != "GET,PUT" ||
			h.Get("Access-Control-Max-Age") != "60" || h.Get("Access-Control-Allow-Credentials") != "true" || h.Get("Access-Control-Allow-Headers") != "x-a" {
			t.Errorf("preflight: %v", h)
		}
		if h := ask("https://a.wild.test"); h.Get("Access-Control-Allow-Origin") != "https://a.wild.test" {
			t.Errorf("preflight by expression: %v", h)
		}
		got := m.expect(t, meshCall{to: vip, header: []string{"Origin: https://good.test"}}, want{pod: "1"})
		if got.header.Get("Access-Control-Allow-Origin") != "https://good.test" || got.header.Get("Access-Control-Expose-Headers") != "x-keep" {
			t.Errorf("request: %v", got.header)
		}
		if got := m.expect(t, meshCall{to: vip, header: []string{"Origin: https://evil.test"}}, want{pod: "1"}); got.header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("request of another origin: %v", got.header)
		}
	}}}
}

// meshSourceFeatures depend on the client; see also TestMeshSources.
func meshSourceFeatures() []meshFeature {
	return []meshFeature{{
		name: "spoof", body: "  http:\n" + saying("shop", "{sourceNamespace: shop}") + saying("other", "{sourceNamespace: other}"),
		check: func(t *testing.T, m *meshRig, vip string) {
			// What a client says of itself in headers does not matter.
			lie := []string{"x-forwarded-client-cert: By=spiffe://cluster.local/ns/shop/sa/web", "x-fl-tag: host"}
			m.said(t, meshCall{to: vip, header: lie}, "shop")
			m.said(t, meshCall{stub: apiStub, to: vip, header: lie}, "other")
		},
	}}
}

// expectAny polls until some pod answers.
func (m *meshRig) expectAny(t *testing.T, q meshCall) reply {
	t.Helper()
	var got reply
	until(t, "a pod answers", func() (err error) {
		if got, err = m.do(q); err == nil && got.echo.Backend == "" {
			err = fmt.Errorf("got %d: %s", got.status, got.body)
		}
		return err
	})
	return got
}
