package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/resolve"
)

// meshFeature is one host of the mesh with a VirtualService. In its texts HOST is the Service, whose pods are 1 (version v1)
// and 2 (version v2); "b" is another Service, with pod 3.
type meshFeature struct {
	name string
	// body is the VirtualService's spec after hosts; more are further objects.
	body, more string
	check      func(t *testing.T, m *meshRig, vip string)
}

// TestMeshVirtualService gives a real Envoy one Service and VirtualService for each feature.
func TestMeshVirtualService(t *testing.T) {
	var features []meshFeature
	for _, list := range [][]meshFeature{meshMatchFeatures(), meshShareFeatures(), meshChangeFeatures(), meshFailureFeatures(), meshSourceFeatures()} {
		features = append(features, list...)
	}
	m := newMeshRig(t, meshOptions{stubs: twoStubs()})
	m.pod(2)
	m.pod(3)
	text := podYAML("shop", "a1", 1, "app: a, version: v1", "") + podYAML("shop", "a2", 2, "app: a, version: v2", "") +
		podYAML("shop", "b", 3, "app: b", "") + serviceYAML("shop", "b", "10.96.3.1", anyHTTP) + `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: versions, namespace: shop}
spec:
  host: "*.shop.svc.cluster.local"
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
`
	for i, f := range features {
		service := strings.ReplaceAll(serviceYAML("shop", f.name, fmt.Sprintf("10.96.2.%d", i+1), anyHTTP+", {name: http-alt, port: 8080}"),
			"selector: {app: "+f.name+"}", "selector: {app: a}")
		text += service + strings.ReplaceAll(virtualServiceYAML("shop", f.name, f.name, f.body)+f.more, "HOST", f.name)
	}
	m.apply("features", text)
	m.accepted()
	for i, f := range features {
		t.Run(f.name, func(t *testing.T) { f.check(t, m, fmt.Sprintf("10.96.2.%d:80", i+1)) })
	}
}

// saying is a rule that answers itself, so that a test sees which one matched.
func saying(word, match string) string {
	return fmt.Sprintf("  - match: [%s]\n    directResponse: {status: 200, body: {string: %s}}\n", match, word)
}

// said polls until a call is answered by the rule of that word.
func (m *meshRig) said(t *testing.T, q meshCall, word string) {
	t.Helper()
	until(t, fmt.Sprintf("%+v is answered by %q", q, word), func() error {
		got, err := m.do(q)
		if err == nil && got.body != word {
			err = fmt.Errorf("got %d %q", got.status, got.body)
		}
		return err
	})
}

func meshMatchFeatures() []meshFeature {
	body := "  http:\n" +
		saying("exact", "{uri: {exact: /exact}}") +
		saying("prefix", "{uri: {prefix: /pre}}") +
		saying("regex", `{uri: {regex: "/re/[0-9]+"}}`) +
		saying("nocase", "{uri: {exact: /CaSe}, ignoreUriCase: true}") +
		saying("nocase-prefix", "{uri: {prefix: /Dir/}, ignoreUriCase: true}") +
		saying("https", "{uri: {exact: /scheme}, scheme: {exact: https}}") +
		saying("http", "{uri: {exact: /scheme}, scheme: {exact: http}}") +
		saying("post", "{uri: {exact: /method}, method: {exact: POST}}") +
		saying("p-method", `{uri: {exact: /method}, method: {regex: "P.*"}}`) +
		saying("authority", "{uri: {exact: /authority}, authority: {prefix: api.}}") +
		saying("h-exact", "{headers: {x-a: {exact: one}}}") +
		saying("h-prefix", "{headers: {x-a: {prefix: tw}}}") +
		saying("h-regex", `{headers: {x-a: {regex: "[0-9]+"}}}`) +
		saying("h-present", "{headers: {x-there: {}}}") +
		saying("h-two", "{headers: {x-b: {exact: b}, x-c: {exact: c}}}") +
		saying("without", "{uri: {exact: /without}, withoutHeaders: {x-user: {exact: evil}}}") +
		saying("without-any", "{uri: {exact: /without-any}, withoutHeaders: {x-user: {}}}") +
		saying("q-exact", "{queryParams: {a: {exact: one}}}") +
		saying("q-prefix", "{queryParams: {a: {prefix: tw}}}") +
		saying("q-regex", `{queryParams: {a: {regex: "[0-9]+"}}}`) +
		saying("q-present", "{queryParams: {there: {}}}") +
		saying("port-alt", "{uri: {exact: /port}, port: 8080}") +
		saying("labels", "{uri: {exact: /source}, sourceLabels: {app: web}}") +
		saying("two-labels", "{uri: {exact: /source}, sourceLabels: {app: api, tier: back}}") +
		saying("namespace", "{uri: {exact: /namespace}, sourceNamespace: shop}") +
		saying("other-gateway", "{uri: {exact: /gateways}, gateways: [shop/none]}") +
		saying("mesh", "{uri: {exact: /gateways}, gateways: [mesh]}") +
		saying("first", "{uri: {exact: /or1}}, {uri: {exact: /or2}}") +
		"  - directResponse: {status: 200, body: {string: rest}}\n  gateways: [mesh, shop/none]\n"
	header := func(h ...string) meshCall { return meshCall{header: h} }
	path := func(p string) meshCall { return meshCall{path: p} }
	cases := []struct {
		call meshCall
		want string
	}{
		{path("/exact"), "exact"},
		{path("/exact?x=1"), "exact"},
		{path("/exact/"), "rest"},
		{path("/EXACT"), "rest"},
		{path("/pre"), "prefix"},
		{path("/prefixed/x"), "prefix"},
		{path("/pr"), "rest"},
		{path("/re/12"), "regex"},
		{path("/re/12x"), "rest"},
		{path("/x/re/12"), "rest"},
		{path("/case"), "nocase"},
		{path("/CASE"), "nocase"},
		{path("/dIR/x"), "nocase-prefix"},
		{path("/scheme"), "http"},
		{meshCall{path: "/method", method: "POST"}, "post"},
		{meshCall{path: "/method", method: "PUT"}, "p-method"},
		{path("/method"), "rest"},
		{meshCall{path: "/authority", host: "api.test"}, "authority"},
		{meshCall{path: "/authority", host: "www.test"}, "rest"},
		{header("x-a: one"), "h-exact"},
		{header("x-a: two"), "h-prefix"},
		{header("x-a: 123"), "h-regex"},
		{header("x-a: 12x"), "rest"},
		{header("x-there: anything"), "h-present"},
		{header("x-b: b", "x-c: c"), "h-two"},
		{header("x-b: b"), "rest"},
		{path("/without"), "without"},
		{meshCall{path: "/without", header: []string{"x-user: good"}}, "without"},
		{meshCall{path: "/without", header: []string{"x-user: evil"}}, "rest"},
		{path("/without-any"), "without-any"},
		{meshCall{path: "/without-any", header: []string{"x-user: good"}}, "rest"},
		{path("/?a=one"), "q-exact"},
		{path("/?a=twenty"), "q-prefix"},
		{path("/?z=1&a=12"), "q-regex"},
		{path("/?a=1x"), "rest"},
		{path("/?there"), "q-present"},
		{path("/?there=x"), "q-present"},
		{path("/port"), "rest"},
		{path("/source"), "labels"},
		{meshCall{stub: apiStub, path: "/source"}, "two-labels"},
		{path("/namespace"), "namespace"},
		{meshCall{stub: apiStub, path: "/namespace"}, "rest"},
		{path("/gateways"), "mesh"},
		{path("/or1"), "first"},
		{path("/or2"), "first"},
	}
	return []meshFeature{{name: "matches", body: body, more: `---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: none, namespace: shop}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 18999, name: http, protocol: HTTP}, hosts: ["*"], bind: 127.0.0.1}]
`, check: func(t *testing.T, m *meshRig, vip string) {
		for _, c := range cases {
			c.call.to = vip
			m.said(t, c.call, c.want)
		}
		m.said(t, meshCall{to: strings.TrimSuffix(vip, "80") + "8080", path: "/port"}, "port-alt")
	}}, {name: "unmatched", body: "  http:\n" + saying("only", "{uri: {prefix: /only}}"), check: func(t *testing.T, m *meshRig, vip string) {
		m.said(t, meshCall{to: vip, path: "/only"}, "only")
		m.expect(t, meshCall{to: vip, path: "/else"}, want{status: 404})
	}}, {name: "delegate", body: "  http:\n  - match: [{uri: {prefix: /team}}]\n    delegate: {name: team, namespace: other}\n" +
		"  - directResponse: {status: 200, body: {string: rest}}\n", more: `---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: team, namespace: other}
spec:
  http:
  - match: [{uri: {prefix: /team/one}}]
    directResponse: {status: 200, body: {string: one}}
  - route: [{destination: {host: b.shop.svc.cluster.local}}]
`, check: func(t *testing.T, m *meshRig, vip string) {
		m.said(t, meshCall{to: vip, path: "/team/one/x"}, "one")
		m.said(t, meshCall{to: vip, path: "/one"}, "rest")
		m.expect(t, meshCall{to: vip, path: "/team/two"}, want{pod: "3"})
	}}}
}

// TestMeshWildcardAndExport routes names that only VirtualServices know, wildcards, and what is exported to some namespaces.
func TestMeshWildcardAndExport(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: twoStubs(), named: true})
	m.pod(2)
	m.apply("base", podYAML("shop", "a", 1, "app: a", "")+serviceYAML("shop", "a", "10.96.4.1", anyHTTP)+
		podYAML("w", "b", 2, "app: b", "")+serviceYAML("w", "b", "10.96.4.2", anyHTTP)+serviceYAML("w", "b2", "10.96.4.3", anyHTTP)+
		strings.ReplaceAll(serviceYAML("shop", "private", "10.96.4.4", anyHTTP), "namespace: shop}", `namespace: shop, annotations: {networking.istio.io/exportTo: "."}}`)+`
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: private, namespace: shop}
spec:
  hosts: [private.example.com]
  exportTo: ["."]
  addresses: [240.0.0.1]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: $IP.2, ports: {http: $PORT}}]
`+
		virtualServiceYAML("w", "all", "*.w.svc.cluster.local", "  http:\n"+saying("wild", "{uri: {exact: /wild}}")+"  - route: [{destination: {host: b}}]")+
		virtualServiceYAML("w", "own", "b2", "  http:\n"+saying("own", "{uri: {prefix: /}}"))+
		virtualServiceYAML("shop", "foreign", "*.foreign.test", "  http:\n  - route: [{destination: {host: a}}]")+
		virtualServiceYAML("other", "mine", "a.shop.svc.cluster.local", "  exportTo: [\".\"]\n  http:\n"+saying("mine", "{uri: {prefix: /}}"))+
		virtualServiceYAML("shop", "named", "only.test", "  http:\n  - route: [{destination: {host: a}}]"))

	t.Run("wildcard", func(t *testing.T) {
		m.said(t, meshCall{to: "10.96.4.2:80", path: "/wild"}, "wild")
		m.expect(t, meshCall{to: "10.96.4.2:80", path: "/"}, want{pod: "2"})
		m.said(t, meshCall{to: "10.96.4.3:80", path: "/wild"}, "own")
		m.expect(t, meshCall{to: "10.96.4.1:80", path: "/wild"}, want{pod: "1"})
	})
	t.Run("names that no registry knows", func(t *testing.T) {
		for _, host := range []string{"x.foreign.test", "x.foreign.test:80", "only.test", "only.test:8080"} {
			m.expect(t, meshCall{host: host}, want{pod: "1"})
		}
		m.expect(t, meshCall{host: "foreign.test"}, want{status: 404})
	})
	t.Run("exportTo of a VirtualService", func(t *testing.T) {
		m.said(t, meshCall{stub: apiStub, to: "10.96.4.1:80"}, "mine")
		m.expect(t, meshCall{to: "10.96.4.1:80"}, want{pod: "1"})
	})
	t.Run("exportTo of a host", func(t *testing.T) {
		m.expect(t, meshCall{to: "240.0.0.1:80"}, want{pod: "2"})
		m.expect(t, meshCall{stub: apiStub, to: "240.0.0.1:80"}, want{status: 404})
		m.expect(t, meshCall{to: "10.96.4.4:80"}, want{status: 503}) // seen, and without pods
		m.expect(t, meshCall{stub: apiStub, to: "10.96.4.4:80"}, want{status: 404})
		// A VirtualService that names the client's namespace does not open the host to it.
		m.apply("open", virtualServiceYAML("shop", "open", "private.example.com",
			"  http:\n"+saying("opened", "{sourceNamespace: other}")+saying("seen", "{uri: {prefix: /}}")))
		m.said(t, meshCall{to: "240.0.0.1:80"}, "seen")
		m.expect(t, meshCall{stub: apiStub, to: "240.0.0.1:80"}, want{status: 404})
	})
	m.accepted()
}

// TestMeshSources lets clients of two namespaces and labels take turns over kept connections: none ever gets the other's
// route, although both share the upstream connections.
func TestMeshSources(t *testing.T) {
	stubs := append(twoStubs(), resolve.Stub{Name: "webby", Namespace: "shop-2", ServiceAccount: "web", Labels: map[string]string{"app": "webby", "x": "app=web"}})
	m := newMeshRig(t, meshOptions{stubs: stubs})
	m.pod(2)
	m.pod(3)
	to := func(match string) string {
		return "  - match: [" + match + "]\n    headers: {response: {set: {x-rule: '%s'}}}\n    route: [{destination: {host: a}}]\n"
	}
	rules := "  http:\n" + fmt.Sprintf(to("{uri: {prefix: /label}, sourceLabels: {app: web}}"), "web") +
		fmt.Sprintf(to("{uri: {prefix: /label}, sourceLabels: {app: api, tier: back}}"), "api") +
		fmt.Sprintf(to("{uri: {prefix: /namespace}, sourceNamespace: shop}"), "web") +
		fmt.Sprintf(to("{uri: {prefix: /namespace}, sourceNamespace: other}"), "api") +
		"  - headers: {response: {set: {x-rule: webby}}}\n    route: [{destination: {host: a}}]\n"
	m.apply("base", podYAML("shop", "a", 1, "app: a", "")+serviceYAML("shop", "a", "10.96.5.1", anyHTTP)+virtualServiceYAML("shop", "a", "a", rules))
	clients := map[string]*meshClient{}
	for _, s := range stubs {
		clients[s.Name] = m.client(s.Name, "10.96.5.1:80", "")
		m.expect(t, meshCall{stub: s.Name, to: "10.96.5.1:80"}, want{pod: "1"})
	}
	wrong := 0
	for i := range 1002 {
		s := stubs[i%len(stubs)].Name
		path := []string{"/label", "/namespace"}[i/len(stubs)%2]
		got, err := clients[s].do(meshCall{path: path})
		if err != nil {
			t.Fatal(err)
		}
		if rule := got.header.Get("x-rule"); rule != s {
			wrong++
			if wrong < 5 {
				t.Errorf("request %d of %s for %s got the route of %q", i, s, path, rule)
			}
		}
	}
	for name, c := range clients {
		if c.dialer.connected != 1 {
			t.Errorf("client %s used %d connections instead of one", name, c.dialer.connected)
		}
	}
	m.accepted()
}
