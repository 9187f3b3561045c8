package integration_test

import (
	"testing"

	"fairlead.io/fairlead/pkg/model"
)

// matchFeatures are one route each; yes must take it, no must find nothing (404).
func matchFeatures() []feature {
	exact := func(v string) *model.StringMatch { return &model.StringMatch{Value: v} }
	path := func(kind model.PathMatchKind, v string) model.RouteMatch {
		return model.RouteMatch{Path: model.PathMatch{Kind: kind, Value: v}}
	}
	folded := func(kind model.PathMatchKind, v string) model.RouteMatch {
		return model.RouteMatch{Path: model.PathMatch{Kind: kind, Value: v, IgnoreCase: true}}
	}
	header := func(m model.StringMatch, invert bool) model.RouteMatch {
		return model.RouteMatch{Headers: []model.HeaderMatch{{Name: "X-A", Value: m, Invert: invert}}}
	}
	query := func(m model.StringMatch, invert bool) model.RouteMatch {
		return model.RouteMatch{Query: []model.HeaderMatch{{Name: "q", Value: m, Invert: invert}}}
	}
	source := func(namespaces []string, labels map[string]string) model.RouteMatch {
		return model.RouteMatch{Source: &model.SourceMatch{Namespaces: namespaces, Labels: labels}}
	}
	gets := func(paths ...string) (out []call) {
		for _, p := range paths {
			out = append(out, call{path: p})
		}
		return out
	}
	with := func(headers ...string) (out []call) {
		out = append(out, call{path: "/", header: headers})
		return out
	}
	stub := []call{{listener: "stub", path: "/"}}
	edge := gets("/")
	none, all := uint32(0), uint32(1_000_000)
	var out []feature
	for _, c := range []struct {
		name    string
		match   model.RouteMatch
		yes, no []call
	}{
		{"any", model.RouteMatch{}, gets("/", "/x", "/x?y"), nil},
		{"exact", path(model.PathExact, "/a"), gets("/a", "/a?x=1"), gets("/", "/a/", "/A", "/ab")},
		{"exact-case", folded(model.PathExact, "/Ab"), gets("/ab", "/AB"), gets("/a")},
		{"segment", path(model.PathPrefix, "/a/b"), gets("/a/b", "/a/b/", "/a/b/c", "/a/b?x"), gets("/a", "/a/bc", "/A/b")},
		{"segment-slash", path(model.PathPrefix, "/a/"), gets("/a", "/a/", "/a/c"), gets("/ab")},
		{"segment-root", path(model.PathPrefix, "/"), gets("/", "/ab"), nil},
		{"segment-case", folded(model.PathPrefix, "/A"), gets("/a/b", "/A"), gets("/ab")},
		{"characters", path(model.PathStringPrefix, "/a"), gets("/a", "/ab", "/a/b"), gets("/b", "/A")},
		{"characters-case", folded(model.PathStringPrefix, "/A"), gets("/ab"), gets("/b")},
		{"regex", path(model.PathRegex, "/a[0-9]+|/b"), gets("/a1", "/a22?x", "/b"), gets("/a", "/a1x", "/xb", "/B")},
		{"regex-case", folded(model.PathRegex, "/a|/b"), gets("/A", "/B"), gets("/c")},
		{"method", model.RouteMatch{Method: exact("PUT")}, []call{{method: "PUT", path: "/"}}, gets("/")},
		{"method-regex", model.RouteMatch{Method: &model.StringMatch{Kind: model.MatchRegex, Value: "GET|PUT"}}, gets("/"), []call{{method: "POST", path: "/"}}},
		{"scheme", model.RouteMatch{Scheme: exact("http")}, gets("/"), nil},
		{"scheme-other", model.RouteMatch{Scheme: exact("https")}, nil, gets("/")},
		{"authority", model.RouteMatch{Authority: exact("x.authority.test:81")}, []call{{host: "x.authority.test:81", path: "/"}}, []call{{host: "x.authority.test", path: "/"}}},
		{"header", header(*exact("v"), false), append(with("x-a: v"), append(with("x-a: v", "x-a: w"), with("x-a: w", "x-a: v")...)...), append(append(with("x-a: V"), gets("/")...), append(with("x-a: v,w"), with("x-a: w", "x-a: x")...)...)},
		{"header-case", header(model.StringMatch{Value: "v", IgnoreCase: true}, false), with("x-a: V"), with("x-a: w")},
		{"header-prefix", header(model.StringMatch{Kind: model.MatchPrefix, Value: "v"}, false), with("x-a: vv"), with("x-a: wv")},
		{"header-prefix-empty", header(model.StringMatch{Kind: model.MatchPrefix}, false), with("x-a: z"), gets("/")},
		{"header-regex", header(model.StringMatch{Kind: model.MatchRegex, Value: "v.*z"}, false), with("x-a: v-z"), with("x-a: v-z-")},
		{"header-regex-case", header(model.StringMatch{Kind: model.MatchRegex, Value: "v|w", IgnoreCase: true}, false), with("x-a: W"), with("x-a: x")},
		{"header-present", header(model.StringMatch{Kind: model.MatchPresent}, false), with("x-a: 1"), gets("/")},
		{"header-not", header(*exact("v"), true), append(gets("/"), append(with("x-a: w"), with("x-a: w", "x-a: x")...)...), append(with("x-a: v"), append(with("x-a: v", "x-a: w"), with("x-a: w", "x-a: v")...)...)},
		{"header-not-regex", header(model.StringMatch{Kind: model.MatchRegex, Value: "v+"}, true), append(gets("/"), with("x-a: w")...), append(with("x-a: vv"), with("x-a: w", "x-a: vv")...)},
		{"header-absent", header(model.StringMatch{Kind: model.MatchPresent}, true), gets("/"), with("x-a: 1")},
		{"header-absent-regex", header(model.StringMatch{Kind: model.MatchRegex, Value: ".*"}, true), gets("/"), with("x-a: 1")},
		{"header-host", model.RouteMatch{Headers: []model.HeaderMatch{{Name: "Host", Value: *exact("y.header-host.test")}}}, []call{{host: "y.header-host.test", path: "/"}}, gets("/")},
		{"query", query(*exact("v"), false), gets("/?q=v", "/?x=1&q=v&q=w"), gets("/", "/?q=w", "/?q=w&q=v", "/?qq=v")},
		{"query-prefix", query(model.StringMatch{Kind: model.MatchPrefix, Value: "v"}, false), gets("/?q=vw"), gets("/?q=w")},
		{"query-regex", query(model.StringMatch{Kind: model.MatchRegex, Value: "v+"}, false), gets("/?q=vv"), gets("/?q=vvw")},
		{"query-present", query(model.StringMatch{Kind: model.MatchPresent}, false), gets("/?q=", "/?q"), gets("/?r=q")},
		{"query-not", query(*exact("v"), true), gets("/", "/?q=w", "/?qq=v"), gets("/?q=v", "/?x=1&q=v&y=2")},
		{"query-absent", query(model.StringMatch{Kind: model.MatchPresent}, true), gets("/", "/?qq=v"), gets("/?q=v", "/?q", "/?x&q=")},
		{"query-not-prefix", query(model.StringMatch{Kind: model.MatchPrefix, Value: "v"}, true), gets("/?q=w"), gets("/?q=vw")},
		{"query-not-regex", query(model.StringMatch{Kind: model.MatchRegex, Value: "v|w"}, true), gets("/?q=vw"), gets("/?q=w")},
		{"namespace", source([]string{"other", "shop"}, nil), stub, edge},
		{"namespace-other", source([]string{"sho", "shop2"}, nil), nil, append(stub, edge...)},
		{"labels", source(nil, map[string]string{"app": "web", "v": "1"}), stub, edge},
		{"labels-second", source([]string{"shop"}, map[string]string{"v": "1"}), stub, edge},
		{"labels-other", source(nil, map[string]string{"app": "we"}), nil, stub},
		{"grpc-only", model.RouteMatch{GRPC: true}, with("content-type: application/grpc"), gets("/")},
		{"fraction-none", model.RouteMatch{Fraction: &none}, nil, gets("/")},
		{"fraction-all", model.RouteMatch{Fraction: &all}, gets("/"), nil},
	} {
		route := ok(c.name)
		route.Match = c.match
		out = append(out, feature{c.name, []model.Route{route}, func(t *testing.T, r *routeRig, host string) {
			for want, calls := range map[int][]call{200: c.yes, 404: c.no} {
				for _, one := range calls {
					if one.host == "" {
						one.host = host
					}
					expectStatus(t, r, one, want)
				}
			}
		}})
	}
	third := uint32(300_000)
	part := ok("part")
	part.Match.Fraction = &third
	return append(out, feature{"fraction", []model.Route{part, ok("rest")}, func(t *testing.T, r *routeRig, host string) {
		expectShare(t, r, host, 300, func(g reply) bool { return g.body == "part" })
	}})
}
