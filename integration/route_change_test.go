package integration_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/model"
)

func headerFeatures() []feature {
	mods := model.HeaderMods{
		Set:    []model.Header{{Name: "x-set", Value: "100%REQ(x-in)%"}, {Name: "x-empty", Value: ""}},
		Add:    []model.Header{{Name: "x-add", Value: "2"}},
		Remove: []string{"x-drop"},
	}
	backend := func(m model.HeaderMods, host string) []model.Route {
		return []model.Route{{
			RequestHeaders:  model.HeaderMods{Set: []model.Header{{Name: "x-who", Value: "rule"}, {Name: "x-rule", Value: "1"}}},
			ResponseHeaders: model.HeaderMods{Set: []model.Header{{Name: "x-who", Value: "rule"}}},
			Forward: &model.Forward{HostRewrite: "rule.example", Backends: []model.Backend{
				{Cluster: "a", Weight: 1, RequestHeaders: m, ResponseHeaders: m, HostRewrite: host},
			}},
		}}
	}
	who := model.HeaderMods{Set: []model.Header{{Name: "x-who", Value: "backend"}, {Name: "x-mine", Value: "a"}}}
	return []feature{
		{"request-headers", []model.Route{{RequestHeaders: mods, Forward: to("a")}}, func(t *testing.T, r *routeRig, host string) {
			got := r.do(t, call{host: host, path: "/", header: []string{"x-set: old", "x-add: 1", "x-drop: 1", "x-in: secret"}})
			expectHeaders(t, got.echo.Header, map[string]string{"X-Set": "100%REQ(x-in)%", "X-Add": "1 2", "X-Drop": ""})
			if v, there := got.echo.Header["X-Empty"]; !there || v[0] != "" {
				t.Errorf("the empty header is %q", v)
			}
			if got.header.Get("x-set") != "" {
				t.Error("the response was changed too")
			}
		}},
		{"response-headers", []model.Route{{ResponseHeaders: mods, Forward: to("a")}}, func(t *testing.T, r *routeRig, host string) {
			got := r.do(t, call{host: host, path: "/"})
			expectHeaders(t, got.header, map[string]string{"X-Set": "100%REQ(x-in)%", "X-Add": "2", "X-Drop": "", "X-Keep": "1"})
		}},
		{"response-headers-direct", []model.Route{{ResponseHeaders: mods, Direct: &model.DirectResponse{Status: 200}}}, func(t *testing.T, r *routeRig, host string) {
			got := r.do(t, call{host: host, path: "/"})
			expectHeaders(t, got.header, map[string]string{"X-Set": "100%REQ(x-in)%"})
		}},
		{"backend-headers", backend(who, ""), func(t *testing.T, r *routeRig, host string) {
			got := r.do(t, call{host: host, path: "/"})
			// As in Istio, the rule has the last word over its backends.
			expectHeaders(t, got.echo.Header, map[string]string{"X-Who": "rule", "X-Rule": "1", "X-Mine": "a"})
			expectHeaders(t, got.header, map[string]string{"X-Who": "rule", "X-Mine": "a"})
			expectHost(t, got, "rule.example")
		}},
		{"backend-host", backend(who, "backend.example"), func(t *testing.T, r *routeRig, host string) {
			expectHost(t, r.do(t, call{host: host, path: "/"}), "backend.example")
		}},
		{"host-by-header", []model.Route{{
			RequestHeaders: model.HeaderMods{Set: []model.Header{{Name: "Host", Value: "set.example"}, {Name: ":path", Value: "/no"}}, Remove: []string{"Host", ":method"}},
			Forward:        to("a"),
		}}, func(t *testing.T, r *routeRig, host string) {
			got := r.do(t, call{host: host, path: "/yes"})
			expectHost(t, got, "set.example")
			if got.echo.URI != "/yes" {
				t.Errorf("path %q", got.echo.URI)
			}
		}},
		{"host-rewrite", []model.Route{{Forward: &model.Forward{HostRewrite: "new.example", Backends: to("a").Backends}}}, func(t *testing.T, r *routeRig, host string) {
			expectHost(t, r.do(t, call{host: host, path: "/"}), "new.example")
		}},
		{"host-auto", []model.Route{{Forward: &model.Forward{AutoHostRewrite: true, Backends: to("dns").Backends}}}, func(t *testing.T, r *routeRig, host string) {
			expectHost(t, r.do(t, call{host: host, path: "/"}), "localhost")
		}},
		{"host-kept", []model.Route{{Forward: to("a")}}, func(t *testing.T, r *routeRig, host string) {
			expectHost(t, r.do(t, call{host: host + ":8080", path: "/"}), host+":8080")
		}},
	}
}

func expectHost(t *testing.T, got reply, want string) {
	t.Helper()
	if got.echo.Host != want {
		t.Errorf("upstream saw host %q, want %q (%d)", got.echo.Host, want, got.status)
	}
}

// change is a path match and replacement, and what becomes of paths: "from to".
type change struct {
	name  string
	match model.PathMatch
	by    model.PathRewrite
	paths []string
}

func changes() []change {
	full := func(s string) model.PathRewrite { return model.PathRewrite{Full: &s} }
	prefix := func(s string) model.PathRewrite { return model.PathRewrite{Prefix: &s} }
	segment := func(s string) model.PathMatch { return model.PathMatch{Kind: model.PathPrefix, Value: s} }
	characters := func(s string) model.PathMatch { return model.PathMatch{Kind: model.PathStringPrefix, Value: s} }
	return []change{
		{"full", segment("/a"), full("/x\\1%25y"), []string{"/a/b?q=1 /x\\1%25y?q=1", "/a /x\\1%25y"}},
		{"full-empty", segment("/a"), full(""), []string{"/a/b /"}},
		{"full-exact", model.PathMatch{Kind: model.PathExact, Value: "/a"}, full("/x"), []string{"/a?q /x?q"}},
		// The table of HTTPPathModifier.replacePrefixMatch.
		{"prefix", segment("/foo"), prefix("/xyz"), []string{"/foo/bar /xyz/bar", "/foo/bar?q=/foo /xyz/bar?q=/foo", "/foo /xyz", "/foo/ /xyz/"}},
		{"prefix-to-slash", segment("/foo"), prefix("/xyz/"), []string{"/foo/bar /xyz/bar", "/foo /xyz"}},
		{"prefix-of-slash", segment("/foo/"), prefix("/xyz"), []string{"/foo/bar /xyz/bar", "/foo/ /xyz/"}},
		{"prefix-empty", segment("/foo"), prefix(""), []string{"/foo/bar /bar", "/foo/ /", "/foo /", "/foo?q /?q"}},
		{"prefix-root", segment("/foo"), prefix("/"), []string{"/foo/bar /bar", "/foo/ /", "/foo /"}},
		{"prefix-special", segment("/f.o"), prefix("/"), []string{"/f.o/bar /bar"}},
		{"prefix-case", model.PathMatch{Kind: model.PathPrefix, Value: "/foo", IgnoreCase: true}, prefix("/"), []string{"/FOO/bar /bar"}},
		{"root-prefix", segment("/"), prefix("/xyz"), []string{"/bar /xyz/bar", "/ /xyz/"}},
		{"root-root", segment("/"), prefix("/"), []string{"/bar /bar"}},
		{"any-prefix", model.PathMatch{}, prefix("/xyz"), []string{"/bar /xyz/bar"}},
		{"characters", characters("/v1"), prefix("/v2"), []string{"/v1beta /v2beta", "/v1/x /v2/x"}},
		{"characters-root", characters("/v1"), prefix("/"), []string{"/v1/x /x", "/v1 /", "/v1beta /beta"}},
		{"characters-slash", characters("/v1/"), prefix("/"), []string{"/v1/x /x"}},
		{"exact-prefix", model.PathMatch{Kind: model.PathExact, Value: "/a"}, prefix("/x"), []string{"/a?q /x?q"}},
		{"regex-prefix", model.PathMatch{Kind: model.PathRegex, Value: "/a.*"}, prefix("/x"), []string{"/abc /x"}},
	}
}

func rewriteFeatures() []feature {
	list := append(changes(), change{
		"regex",
		model.PathMatch{Kind: model.PathPrefix, Value: "/"},
		model.PathRewrite{Regex: &model.RegexRewrite{Pattern: `/service/([^/]+)(/.*)`, Substitution: `\2/of/\1\\`}},
		[]string{`/service/s/v1?q /v1/of/s\?q`, "/other /other"},
	})
	var out []feature
	for _, c := range list {
		route := model.Route{Match: model.RouteMatch{Path: c.match}, Forward: to("a")}
		route.Forward.PathRewrite = &c.by
		out = append(out, feature{"rewrite-" + c.name, []model.Route{route}, func(t *testing.T, r *routeRig, host string) {
			for _, p := range c.paths {
				from, want, _ := strings.Cut(p, " ")
				if got := r.do(t, call{host: host, path: from}); got.echo.URI != want {
					t.Errorf("%s became %q, want %q (%d)", from, got.echo.URI, want, got.status)
				}
			}
		}})
	}
	return out
}

func redirectFeatures() []feature {
	var out []feature
	for _, c := range changes() {
		if c.name == "root-root" { // Location would be the request itself
			continue
		}
		route := model.Route{Match: model.RouteMatch{Path: c.match}, Redirect: &model.Redirect{Path: c.by.Full, Prefix: c.by.Prefix, Code: 302, KeepPort: true}}
		out = append(out, feature{"redirect-" + c.name, []model.Route{route}, func(t *testing.T, r *routeRig, host string) {
			for _, p := range c.paths {
				from, want, _ := strings.Cut(p, " ")
				expectLocation(t, r, call{host: host + ":8080", path: from}, 302, "http://"+host+":8080"+want)
			}
		}})
	}
	for i, c := range []struct {
		r    model.Redirect
		want string // HOST stands for the host without port
	}{
		{model.Redirect{Scheme: "https", KeepPort: true}, "https://HOST:8080/p?q=1"},
		{model.Redirect{Scheme: "https"}, "https://HOST:443/p?q=1"},
		{model.Redirect{Scheme: "HTTPS", Port: 8443}, "https://HOST:8443/p?q=1"},
		{model.Redirect{Host: "new.example"}, "http://new.example/p?q=1"},
		{model.Redirect{Host: "new.example", Scheme: "https"}, "https://new.example/p?q=1"},
		{model.Redirect{Host: "new.example", Scheme: "https", Port: 443}, "https://new.example/p?q=1"},
		{model.Redirect{Host: "new.example", Port: 80}, "http://new.example/p?q=1"},
		{model.Redirect{Host: "new.example", Port: 8000}, "http://new.example:8000/p?q=1"},
		{model.Redirect{Port: 8000}, "http://HOST:8000/p?q=1"},
		{model.Redirect{Scheme: "https", Port: 80}, "https://HOST:80/p?q=1"},
	} {
		c.r.Code = []int{301, 302, 303, 307, 308}[i%5]
		out = append(out, feature{fmt.Sprint("redirect-", i), []model.Route{{Redirect: &c.r}}, func(t *testing.T, r *routeRig, host string) {
			expectLocation(t, r, call{host: host + ":8080", path: "/p?q=1"}, c.r.Code, strings.ReplaceAll(c.want, "HOST", host))
		}})
	}
	return out
}

func mirrorFeatures() []feature {
	mirrored := func(m ...model.Mirror) []model.Route {
		f := to("a")
		f.Mirrors = m
		return []model.Route{{Forward: f}}
	}
	return []feature{
		{"mirror", mirrored(model.Mirror{Cluster: "b", Millionths: 1e6}, model.Mirror{Millionths: 1e6}), func(t *testing.T, r *routeRig, host string) {
			expectStatus(t, r, call{host: host, path: "/m", header: []string{"x-want-id: mirror"}}, 200)
			until(t, "the copy arrives", func() error {
				if got := r.b.Seen("mirror"); len(got) != 1 || got[0].Host != host+"-shadow" || got[0].URI != "/m" {
					return fmt.Errorf("saw %+v", got)
				}
				return nil
			})
		}},
		{"mirror-part", mirrored(model.Mirror{Cluster: "b", Millionths: 200_000}), func(t *testing.T, r *routeRig, host string) {
			for range 1000 {
				r.do(t, call{host: host, path: "/", header: []string{"x-want-id: part"}})
			}
			var n int
			until(t, "copies arrive", func() error {
				if n = len(r.b.Seen("part")); n < 110 {
					return fmt.Errorf("%d of 1,000", n)
				}
				return nil
			})
			if n > 290 {
				t.Errorf("%d copies of 1,000, want about 200", n)
			}
		}},
		{"mirror-none", append(mirrored(model.Mirror{Cluster: "b"}), ok("")), func(t *testing.T, r *routeRig, host string) {
			expectStatus(t, r, call{host: host, path: "/", header: []string{"x-want-id: none"}}, 200)
			expectStatus(t, r, call{host: "mirror.test", path: "/", header: []string{"x-want-id: fence"}}, 200)
			until(t, "the copy that follows arrives", func() error {
				if len(r.b.Seen("fence")) == 0 {
					return fmt.Errorf("not yet")
				}
				return nil
			})
			if got := r.b.Seen("none"); len(got) != 0 {
				t.Errorf("mirrored %+v", got)
			}
		}},
	}
}

func hashFeatures() []feature {
	hashed := func(h ...model.HashPolicy) []model.Route {
		f := to("ring")
		f.Hash = h
		return []model.Route{{Forward: f}}
	}
	backends := func(t *testing.T, r *routeRig, host string, n int, c func(i int) call) []string {
		var seen []string
		for i := range n {
			one := c(i)
			one.host = host
			if b := r.do(t, one).echo.Backend; !slices.Contains(seen, b) {
				seen = append(seen, b)
			}
		}
		return seen
	}
	sticky := func(same, other func(i int) call) func(*testing.T, *routeRig, string) {
		return func(t *testing.T, r *routeRig, host string) {
			if seen := backends(t, r, host, 40, same); len(seen) != 1 {
				t.Errorf("one key went to %v", seen)
			}
			if seen := backends(t, r, host, 40, other); len(seen) != 2 {
				t.Errorf("40 keys went to %v only", seen)
			}
		}
	}
	get := func(header string, arguments ...any) call {
		return call{path: "/", header: []string{fmt.Sprintf(header, arguments...)}}
	}
	return []feature{
		{"hash-header", hashed(model.HashPolicy{Header: "x-user"}), sticky(
			func(int) call { return get("x-user: u") }, func(i int) call { return get("x-user: u%d", i) })},
		{"hash-query", hashed(model.HashPolicy{Query: "u"}), sticky(
			func(int) call { return call{path: "/?u=1"} }, func(i int) call { return call{path: fmt.Sprint("/?u=", i)} })},
		{"hash-source", hashed(model.HashPolicy{SourceIP: true}), func(t *testing.T, r *routeRig, host string) {
			if seen := backends(t, r, host, 40, func(int) call { return call{path: "/"} }); len(seen) != 1 {
				t.Errorf("one address went to %v", seen)
			}
		}},
		{"hash-cookie", hashed(model.HashPolicy{Cookie: "c", CookiePath: "/p", CookieTTL: zeroTTL()}), func(t *testing.T, r *routeRig, host string) {
			sticky(func(int) call { return get("cookie: c=1") }, func(i int) call { return get("cookie: c=%d", i) })(t, r, host)
			set := r.do(t, call{host: host, path: "/"}).header.Get("Set-Cookie")
			if !strings.HasPrefix(set, "c=") || !strings.Contains(set, "Path=/p") || !strings.Contains(set, "HttpOnly") {
				t.Errorf("Set-Cookie %q", set)
			}
		}},
		{"hash-nothing", hashed(), func(t *testing.T, r *routeRig, host string) {
			if seen := backends(t, r, host, 40, func(int) call { return call{path: "/"} }); len(seen) != 2 {
				t.Errorf("requests without a key went to %v only", seen)
			}
		}},
	}
}

// zeroTTL makes a session cookie.
func zeroTTL() *time.Duration { return new(time.Duration) }
