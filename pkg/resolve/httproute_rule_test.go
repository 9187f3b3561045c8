package resolve

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/model"
)

// ruleWorld attaches one rule to a plain Gateway on the given port.
func ruleWorld(t *testing.T, rule string) *apiWorld {
	return newAPIWorld(t, gatewayOf(plainGateway), routeOf("shop", "r", "parentRefs: [{name: gw}]\nrules:\n- "+strings.ReplaceAll(strings.TrimSpace(rule), "\n", "\n  ")))
}

// shape writes what a route does as JSON without the zero parts.
func shape(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		t.Fatal(err)
	}
	data, _ = json.Marshal(prune(tree))
	return string(data)
}

func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if x = prune(x); x == nil {
				delete(v, k)
			} else {
				v[k] = x
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		if len(v) == 0 {
			return nil
		}
		for i := range v {
			v[i] = prune(v[i])
		}
	case string:
		if v == "" {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	}
	return v
}

const (
	webCluster  = "svc/shop/web.shop.svc.cluster.local/80"
	apiCluster  = "svc/shop/api.shop.svc.cluster.local/80"
	dataCluster = "svc/far/data.far.svc.cluster.local/80"
	toWeb       = "\nbackendRefs: [{name: web, port: 80}]"
)

// What each field of a valid rule comes to. Action is the route without name, match, origins and the upgrade that all have.
func TestRules(t *testing.T) {
	one := `"Backends":[{"Cluster":"` + webCluster + `","Weight":1}]`
	for name, c := range map[string]struct{ rule, action string }{
		"weights": {
			"backendRefs: [{name: web, port: 80, weight: 90}, {name: api, port: 80, weight: 10}, {name: api, port: 80, weight: 0}]",
			`{"Forward":{"Backends":[{"Cluster":"` + webCluster + `","Weight":90},{"Cluster":"` + apiCluster + `","Weight":10}]}}`,
		},
		"no weight at all": {"backendRefs: [{name: web, port: 80, weight: 0}]", `{"Direct":{"Status":500}}`},
		"no backend":       {"name: x", `{"Direct":{"Status":500}}`},
		"request headers": {
			"filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b%}], add: [{name: c, value: d}], remove: [e]}}]" + toWeb,
			`{"Forward":{` + one + `},"RequestHeaders":{"Add":[{"Name":"c","Value":"d"}],"Remove":["e"],"Set":[{"Name":"a","Value":"b%"}]}}`,
		},
		"response headers": {
			"filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: a, value: b}]}}]" + toWeb,
			`{"Forward":{` + one + `},"ResponseHeaders":{"Set":[{"Name":"a","Value":"b"}]}}`,
		},
		"headers of a backend": {
			"backendRefs: [{name: web, port: 80, filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: a, value: b}]}}, {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [c]}}, {type: URLRewrite, urlRewrite: {hostname: h.example}}]}, {name: api, port: 80}]",
			`{"Forward":{"Backends":[{"Cluster":"` + webCluster + `","HostRewrite":"h.example","RequestHeaders":{"Set":[{"Name":"a","Value":"b"}]},"ResponseHeaders":{"Remove":["c"]},"Weight":1},{"Cluster":"` + apiCluster + `","Weight":1}]}}`,
		},
		"path of the only backend": {
			"backendRefs: [{name: web, port: 80, filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /x}}}]}]",
			`{"Forward":{` + one + `,"PathRewrite":{"Full":"/x"}}}`,
		},
		"redirect of the only backend": {
			"backendRefs: [{name: web, port: 80, filters: [{type: RequestRedirect, requestRedirect: {hostname: x.example}}]}]",
			`{"Redirect":{"Code":302,"Host":"x.example"}}`,
		},
		"rewrite": {
			"filters: [{type: URLRewrite, urlRewrite: {hostname: h.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /n}}}]\nmatches: [{path: {value: /o}}]" + toWeb,
			`{"Forward":{` + one + `,"HostRewrite":"h.example","PathRewrite":{"Prefix":"/n"}}}`,
		},
		"mirrors": {
			"filters: [{type: RequestMirror, requestMirror: {backendRef: {name: api, port: 80}}}, {type: RequestMirror, requestMirror: {backendRef: {name: web, port: 80}, percent: 25}}, {type: RequestMirror, requestMirror: {backendRef: {name: web, port: 80}, fraction: {numerator: 1, denominator: 3}}}, {type: RequestMirror, requestMirror: {backendRef: {name: web, port: 80}, fraction: {numerator: 5}}}, {type: RequestMirror, requestMirror: {backendRef: {name: web, port: 80}, percent: 0}}]" + toWeb,
			`{"Forward":{` + one + `,"Mirrors":[{"Cluster":"` + apiCluster + `","Millionths":1000000},{"Cluster":"` + webCluster + `","Millionths":250000},{"Cluster":"` + webCluster + `","Millionths":333333},{"Cluster":"` + webCluster + `","Millionths":50000}]}}`,
		},
		"CORS": {
			"filters: [{type: CORS, cors: {allowOrigins: ['https://a.example', 'https://*.b.example'], allowMethods: [GET], allowHeaders: [x], exposeHeaders: [z], allowCredentials: true, maxAge: 60}}]" + toWeb,
			`{"CORS":{"AllowCredentials":true,"AllowHeaders":["x"],"AllowMethods":["GET"],"AllowOrigins":[{"Value":"https://a.example"},{"Kind":2,"Value":"https://.*\\.b\\.example"}],"ExposeHeaders":["z"],"MaxAge":60000000000},"Forward":{` + one + `}}`,
		},
		"CORS for all": {
			"filters: [{type: CORS, cors: {allowOrigins: ['*']}}]" + toWeb,
			`{"CORS":{"AllowOrigins":[{"Kind":1}],"MaxAge":5000000000},"Forward":{` + one + `}}`,
		},
		"timeouts":                       {"timeouts: {request: 10s, backendRequest: 2s}" + toWeb, `{"Forward":{` + one + `,"Timeout":2000000000}}`},
		"request timeout":                {"timeouts: {request: 1m30s}" + toWeb, `{"Forward":{` + one + `,"Timeout":90000000000}}`},
		"backend timeout":                {"timeouts: {backendRequest: 500ms}" + toWeb, `{"Forward":{` + one + `,"Timeout":500000000}}`},
		"request timeout 0 with backend": {"timeouts: {request: 0s, backendRequest: 500ms}" + toWeb, `{"Forward":{` + one + `,"Timeout":500000000}}`},
		"retry": {
			"timeouts: {request: 10s, backendRequest: 2s}\nretry: {attempts: 3, codes: [500, 503], backoff: 100ms}" + toWeb,
			`{"Forward":{` + one + `,"Retry":{"Attempts":3,"BackoffBase":100000000,"On":"connect-failure,refused-stream,reset,retriable-status-codes","PerTryTimeout":2000000000,"StatusCodes":[500,503]},"Timeout":10000000000}}`,
		},
		"retry without codes": {"retry: {}" + toWeb, `{"Forward":{` + one + `,"Retry":{"Attempts":2,"On":"connect-failure,refused-stream,reset"}}}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := ruleWorld(t, c.rule)
			s := w.route("shop/r")
			equalLists(t, "conditions", said(s.Status.Parents[0].Conditions), []string{"Accepted=True/Accepted", "ResolvedRefs=True/ResolvedRefs"})
			rt := w.only("shop/r")
			rt.Name, rt.Match, rt.Origins = "", model.RouteMatch{}, nil
			if rt.Forward != nil {
				if strings.Join(rt.Forward.Upgrades, " ") != "websocket" {
					t.Errorf("upgrades: %q", rt.Forward.Upgrades)
				}
				f := *rt.Forward
				f.Upgrades = nil
				rt.Forward = &f
			}
			if got := shape(t, rt); got != c.action {
				t.Errorf("\n got %s\nwant %s", got, c.action)
			}
		})
	}
}

func TestTimeoutZeroDisables(t *testing.T) {
	for _, spec := range []string{"request: 0s", "backendRequest: 0s", "request: 0h0m0s"} {
		rt := ruleWorld(t, "timeouts: {"+spec+"}"+toWeb).only("shop/r")
		if rt.Forward.Timeout == nil || *rt.Forward.Timeout != 0 {
			t.Errorf("%s: timeout %v", spec, rt.Forward.Timeout)
		}
	}
}

func TestMatches(t *testing.T) {
	w := ruleWorld(t, `
name: all
matches:
- path: {type: Exact, value: /e}
  method: POST
  headers: [{name: X-A, value: b}, {name: x-a, value: c}, {name: d, type: RegularExpression, value: "[0-9]+"}]
  queryParams: [{name: Q, value: r}, {name: q, value: s}, {name: Q, value: t}]
- path: {type: RegularExpression, value: "/v[0-9]/.*"}
- {}
backendRefs: [{name: web, port: 80}]`)
	var got []string
	for _, rt := range w.route("shop/r").Bindings[0].Routes {
		got = append(got, rt.Name+" "+shape(t, rt.Match))
	}
	equalLists(t, "matches", got, []string{
		`HTTPRoute shop/r rule 0 (all) match 0 {"Headers":[{"Name":"x-a","Value":{"Value":"b"}},{"Name":"d","Value":{"Kind":2,"Value":"[0-9]+"}}],"Method":{"Value":"POST"},"Path":{"Kind":1,"Value":"/e"},"Query":[{"Name":"Q","Value":{"Value":"r"}},{"Name":"q","Value":{"Value":"s"}}]}`,
		`HTTPRoute shop/r rule 0 (all) match 1 {"Path":{"Kind":4,"Value":"/v[0-9]/.*"}}`,
		`HTTPRoute shop/r rule 0 (all) match 2 null`,
	})
}

// The port of a redirect depends on where it is answered (HTTPRequestRedirectFilter.port).
func TestRedirectPort(t *testing.T) {
	for name, c := range map[string]struct {
		port           int
		redirect, want string
	}{
		"port 80 is not written":              {80, "hostname: a.b", `{"Code":302,"Host":"a.b"}`},
		"the listener's port stays":           {8080, "hostname: a.b", `{"Code":302,"Host":"a.b","Port":8080}`},
		"a scheme has its own port":           {8080, "scheme: https", `{"Code":302,"Scheme":"https"}`},
		"a scheme with a port":                {80, "scheme: https\nport: 8443", `{"Code":302,"Port":8443,"Scheme":"https"}`},
		"a scheme with its own port":          {80, "scheme: https\nport: 443", `{"Code":302,"Scheme":"https"}`},
		"the same scheme":                     {8080, "scheme: http", `{"Code":302,"Scheme":"http"}`},
		"port 80 of an HTTP listener":         {8080, "port: 80", `{"Code":302}`},
		"port 443 of an HTTP listener":        {80, "port: 443", `{"Code":302,"Port":443,"Scheme":"http"}`},
		"whole path and code":                 {80, "path: {type: ReplaceFullPath, replaceFullPath: /x}\nstatusCode: 308", `{"Code":308,"Path":"/x"}`},
		"prefix; an empty one is one as well": {80, "path: {type: ReplacePrefixMatch, replacePrefixMatch: /y}\nstatusCode: 301", `{"Code":301,"Prefix":"/y"}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newAPIWorld(t, gatewayOf("listeners: [{name: http, port: "+shape(t, c.port)+", protocol: HTTP}]"),
				routeOf("shop", "r", "parentRefs: [{name: gw}]\nrules:\n- filters:\n  - type: RequestRedirect\n    requestRedirect:\n      "+strings.ReplaceAll(c.redirect, "\n", "\n      ")))
			if got := shape(t, w.only("shop/r").Redirect); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	w := newAPIWorld(t, routeOf("shop", "r", "parentRefs: [{group: '', kind: Service, name: web}]\nrules: [{filters: [{type: RequestRedirect, requestRedirect: {hostname: a.b}}]}]"))
	if r := w.only("shop/r").Redirect; !r.KeepPort || !r.RequestPort || r.Port != 0 {
		t.Errorf("in the mesh: %+v", r)
	} else {
		for port, want := range map[uint16]string{8080: ":8080", 80: "", 443: ":443"} {
			got := onPort(model.Route{Redirect: r}, port).Redirect
			if written := locationPort(got); written != want {
				t.Errorf("on port %d: %+v writes %q, want %q", port, got, written, want)
			}
		}
		if r.Port != 0 {
			t.Error("the shared redirect was changed")
		}
	}
}

// locationPort is what the translation writes behind a new host.
func locationPort(r *model.Redirect) string {
	if r.Port == 0 || r.Scheme == "http" && r.Port == 80 || r.Scheme == "https" && r.Port == 443 {
		return ""
	}
	return ":" + strconv.Itoa(int(r.Port))
}

// References that lead nowhere: their share is answered by 500, the rest of the route is served.
func TestBackends(t *testing.T) {
	for name, c := range map[string]struct{ ref, reason, says string }{
		"unknown kind":           {"{name: x, kind: Fridge, group: kitchen.example, port: 80}", "InvalidKind", "Fridge"},
		"no such Service":        {"{name: x, port: 80}", "BackendNotFound", "Service shop/x does not exist"},
		"no such port":           {"{name: web, port: 81}", "BackendNotFound", "no port 81"},
		"no port":                {"{name: web}", "BackendNotFound", "no port is given"},
		"UDP port":               {"{name: web, port: 53}", "UnsupportedProtocol", "is not TCP"},
		"ExternalName":           {"{name: out, port: 80}", "UnsupportedProtocol", "ExternalName"},
		"other namespace":        {"{name: data, namespace: far, port: 80}", "RefNotPermitted", "ReferenceGrant in far"},
		"other namespace, no it": {"{name: none, namespace: far, port: 80}", "RefNotPermitted", "ReferenceGrant in far"},
	} {
		t.Run(name, func(t *testing.T) {
			w := ruleWorld(t, "backendRefs: ["+c.ref+", {name: web, port: 80, weight: 3}]")
			s := w.route("shop/r").Status.Parents[0]
			equalLists(t, "conditions", said(s.Conditions), []string{"Accepted=True/Accepted", "ResolvedRefs=False/" + c.reason})
			if m := message(s.Conditions); !strings.Contains(m, c.says) || !strings.Contains(m, "spec.rules[0].backendRefs[0]") {
				t.Errorf("message %q", m)
			}
			if got := shape(t, w.only("shop/r").Forward.Backends); got != `[{"Weight":1},{"Cluster":"`+webCluster+`","Weight":3}]` {
				t.Errorf("backends %s", got)
			}
		})
	}
}

func TestReferenceGrants(t *testing.T) {
	const grant = `{apiVersion: gateway.networking.k8s.io/v1, kind: ReferenceGrant, metadata: {name: g, namespace: far}, spec: {from: [{group: gateway.networking.k8s.io, kind: FROM, namespace: NS}], to: [{group: GROUP, kind: KIND NAME}]}}`
	for name, c := range map[string]struct {
		with [5]string
		ok   bool
	}{
		"all Services":       {[5]string{"HTTPRoute", "shop", `""`, "Service", ""}, true},
		"that Service":       {[5]string{"HTTPRoute", "shop", `""`, "Service", ", name: data"}, true},
		"another Service":    {[5]string{"HTTPRoute", "shop", `""`, "Service", ", name: other"}, false},
		"another namespace":  {[5]string{"HTTPRoute", "else", `""`, "Service", ""}, false},
		"another kind":       {[5]string{"TCPRoute", "shop", `""`, "Service", ""}, false},
		"to another kind":    {[5]string{"HTTPRoute", "shop", `""`, "Secret", ""}, false},
		"to another group's": {[5]string{"HTTPRoute", "shop", "example.com", "Service", ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := ruleWorld(t, "backendRefs: [{name: data, namespace: far, port: 80}]")
			r := strings.NewReplacer("FROM", c.with[0], "NS", c.with[1], "GROUP", c.with[2], "KIND", c.with[3], " NAME", c.with[4])
			w.apply(r.Replace(grant))
			want := "False/RefNotPermitted"
			if c.ok {
				want = "True/ResolvedRefs"
			}
			if got := spelled(w.route("shop/r").Status.Parents[0].Conditions, "ResolvedRefs"); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
			if rt := w.only("shop/r"); (rt.Forward.Backends[0].Cluster == dataCluster) != c.ok {
				t.Errorf("backend %+v", rt.Forward)
			}
		})
	}
}

// Rules that cannot be obeyed: each is answered by 500 and named; an HTTPRoute with other rules stays accepted.
func TestInvalidRules(t *testing.T) {
	for name, c := range map[string]struct{ rule, reason, path string }{
		"extension filter":       {"filters: [{type: ExtensionRef, extensionRef: {group: g.example, kind: Kind, name: z}}]" + toWeb, "UnsupportedValue", "filters[0].extensionRef"},
		"external authorization": {"filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: api, port: 80}}}]" + toWeb, "UnsupportedValue", "filters[0].externalAuth"},
		"authorization of one backend": {
			"backendRefs: [{name: web, port: 80, filters: [{type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: api, port: 80}}}]}, {name: api, port: 80}]",
			"UnsupportedValue", "backendRefs[0].filters[0].externalAuth",
		},
		"unknown filter":          {"filters: [{type: Magic}]" + toWeb, "UnsupportedValue", "filters[0].type"},
		"filter without its part": {"filters: [{type: URLRewrite}]" + toWeb, "UnsupportedValue", "filters[0]"},
		"redirect and rewrite": {
			"filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}, {type: URLRewrite, urlRewrite: {hostname: a.b}}]", "IncompatibleFilters", "filters",
		},
		"redirect and backends":    {"filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]" + toWeb, "IncompatibleFilters", "backendRefs"},
		"one filter twice":         {"filters: [{type: URLRewrite, urlRewrite: {hostname: a.b}}, {type: URLRewrite, urlRewrite: {hostname: a.b}}]" + toWeb, "IncompatibleFilters", "filters[1]"},
		"mirror of one of several": {"backendRefs: [{name: web, port: 80, filters: [{type: RequestMirror, requestMirror: {backendRef: {name: api, port: 80}}}]}, {name: api, port: 80}]", "UnsupportedValue", "backendRefs[0].filters[0]"},
		"path of one of several":   {"backendRefs: [{name: web, port: 80, filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /}}}]}, {name: api, port: 80}]", "UnsupportedValue", "backendRefs[0].filters[0].urlRewrite.path"},
		"host header":              {"filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: Host, value: x}]}}]" + toWeb, "UnsupportedValue", "filters[0].requestHeaderModifier.set[0].name"},
		"pseudo header":            {"filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [':path']}}]" + toWeb, "UnsupportedValue", "filters[0].requestHeaderModifier.remove[0]"},
		"line break in a header":   {`filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: a, value: "b\r\nc: d"}]}}]` + toWeb, "UnsupportedValue", "filters[0].responseHeaderModifier.add[0].value"},
		"prefix of an exact path":  {"matches: [{path: {type: Exact, value: /a}}]\nfilters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]" + toWeb, "UnsupportedValue", "filters[0].urlRewrite.path.replacePrefixMatch"},
		"relative path":            {"filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: x}}}]", "UnsupportedValue", "filters[0].requestRedirect.path.replaceFullPath"},
		"redirect code":            {"filters: [{type: RequestRedirect, requestRedirect: {statusCode: 304}}]", "UnsupportedValue", "filters[0].requestRedirect.statusCode"},
		"redirect scheme":          {"filters: [{type: RequestRedirect, requestRedirect: {scheme: ftp}}]", "UnsupportedValue", "filters[0].requestRedirect.scheme"},
		"mirror share":             {"filters: [{type: RequestMirror, requestMirror: {backendRef: {name: api, port: 80}, percent: 101}}]" + toWeb, "UnsupportedValue", "filters[0].requestMirror"},
		"mirror denominator":       {"filters: [{type: RequestMirror, requestMirror: {backendRef: {name: api, port: 80}, fraction: {numerator: 1, denominator: 0}}}]" + toWeb, "UnsupportedValue", "filters[0].requestMirror.fraction.denominator"},
		"duration":                 {"timeouts: {request: 10x}" + toWeb, "UnsupportedValue", "timeouts.request"},
		"backend outlasts request": {"timeouts: {request: 1s, backendRequest: 2s}" + toWeb, "UnsupportedValue", "timeouts.backendRequest"},
		"retry code":               {"retry: {codes: [200]}" + toWeb, "UnsupportedValue", "retry.codes[0]"},
		"retry attempts":           {"retry: {attempts: 0}" + toWeb, "UnsupportedValue", "retry.attempts"},
	} {
		t.Run(name, func(t *testing.T) {
			w := ruleWorld(t, c.rule)
			s := w.route("shop/r")
			p := s.Status.Parents[0]
			if got := spelled(p.Conditions, "Accepted"); got != "False/"+c.reason {
				t.Errorf("Accepted is %q, want False/%s", got, c.reason)
			}
			if m := p.Conditions[0]; m.Path != "spec.rules[0]."+c.path || !strings.HasPrefix(m.Message, m.Path+": ") {
				t.Errorf("path %q, message %q", m.Path, m.Message)
			}
			if rt := w.only("shop/r"); rt.Direct == nil || rt.Direct.Status != 500 || rt.Forward != nil || rt.Redirect != nil {
				t.Errorf("the rule does not fail closed: %+v", rt)
			}
			if len(s.attached) != 0 {
				t.Errorf("an invalid route counts as attached: %q", s.attached)
			}
			// Beside a valid rule it is only that rule that is dropped.
			w.apply(routeOf("shop", "r", "parentRefs: [{name: gw}]\nrules:\n- name: good\n  matches: [{path: {value: /good}}]"+strings.ReplaceAll(toWeb, "\n", "\n  ")+"\n- "+strings.ReplaceAll(c.rule, "\n", "\n  ")))
			p = w.route("shop/r").Status.Parents[0]
			equalLists(t, "conditions", said(p.Conditions)[:2], []string{"Accepted=True/Accepted", "PartiallyInvalid=True/UnsupportedValue"})
			if m := p.Conditions[1].Message; !strings.HasPrefix(m, "Dropped Rule 1 ") {
				t.Errorf("message %q", m)
			}
			if n := len(w.route("shop/r").attached); n != 1 {
				t.Errorf("attached %d times", n)
			}
		})
	}
}

// A match that cannot be evaluated is left out, since it cannot be told whose requests to refuse; its siblings answer 500.
func TestInvalidMatches(t *testing.T) {
	for name, c := range map[string]struct{ match, path string }{
		"path expression":   {`{path: {type: RegularExpression, value: "/(a"}}`, "path.value"},
		"look-ahead":        {`{path: {type: RegularExpression, value: "/(?=a)"}}`, "path.value"},
		"header expression": {`{headers: [{name: a, type: RegularExpression, value: "["}]}`, "headers[0].value"},
		"query expression":  {`{queryParams: [{name: a, type: RegularExpression, value: "["}]}`, "queryParams[0].value"},
		"path type":         {`{path: {type: Suffix, value: /a}}`, "path.type"},
		"header type":       {`{headers: [{name: a, type: Odd, value: b}]}`, "headers[0].type"},
		"header name":       {`{headers: [{name: "a b", value: b}]}`, "headers[0].name"},
		"relative path":     {`{path: {value: a}}`, "path.value"},
	} {
		t.Run(name, func(t *testing.T) {
			w := ruleWorld(t, "matches: ["+c.match+", {path: {value: /b}}]"+toWeb)
			p := w.route("shop/r").Status.Parents[0]
			if got := p.Conditions[0]; got.Status || got.Reason != "UnsupportedValue" || got.Path != "spec.rules[0].matches[0]."+c.path {
				t.Errorf("condition %+v", got)
			}
			if rt := w.only("shop/r"); rt.Match.Path.Value != "/b" || rt.Direct == nil || rt.Direct.Status != 500 {
				t.Errorf("route %+v", rt)
			}
		})
	}
}

func TestSessionPersistenceIsNamed(t *testing.T) {
	w := ruleWorld(t, "sessionPersistence: {sessionName: s}"+toWeb)
	equalLists(t, "object", said(w.route("shop/r").Status.Conditions), []string{"warning spec.rules[0].sessionPersistence"})
	if w.only("shop/r").Forward == nil {
		t.Error("the rule is not served")
	}
}

// A mirror whose backend is invalid is left out; the requests themselves are served.
func TestInvalidMirror(t *testing.T) {
	w := ruleWorld(t, "filters: [{type: RequestMirror, requestMirror: {backendRef: {name: data, namespace: far, port: 80}}}]"+toWeb)
	equalLists(t, "conditions", said(w.route("shop/r").Status.Parents[0].Conditions), []string{"Accepted=True/Accepted", "ResolvedRefs=False/RefNotPermitted"})
	if f := w.only("shop/r").Forward; f == nil || len(f.Mirrors) != 0 {
		t.Errorf("forward %+v", f)
	}
}
