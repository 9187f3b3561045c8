package translate_test

import (
	"math"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/translate"
)

// What Envoy does with the messages is shown on a real one, in integration/route_*_test.go. Here is what it must never get.

func TestRouteConfigurationKeepsDomainsUnique(t *testing.T) {
	first := &routev3.VirtualHost{Name: "1", Domains: []string{"a", "b"}}
	second := &routev3.VirtualHost{Name: "2", Domains: []string{"b", "c"}}
	third := &routev3.VirtualHost{Name: "3", Domains: []string{"c"}}
	before := proto.Clone(second)
	got := translate.RouteConfiguration("rc", []*routev3.VirtualHost{first, second, third}).GetVirtualHosts()
	if len(got) != 2 || strings.Join(got[0].GetDomains(), " ") != "a b" || strings.Join(got[1].GetDomains(), " ") != "c" {
		t.Errorf("got %v", got)
	}
	if !proto.Equal(before, second) {
		t.Error("a shared virtual host was changed")
	}
}

func TestVirtualHostDomains(t *testing.T) {
	got := translate.VirtualHost(&model.VirtualHost{Config: "gateway/x", Host: "h", Domains: []string{"A.test", "", "a.test", "*.b"}})
	if d := strings.Join(got.GetDomains(), " "); d != "a.test *.b" || got.GetName() != "gateway/x/h" {
		t.Errorf("%q has the domains %q", got.GetName(), d)
	}
	if d := translate.VirtualHost(&model.VirtualHost{}).GetDomains(); len(d) != 1 || d[0] != "*" {
		t.Errorf("a host without domains has %q", d)
	}
}

func TestCheckRoute(t *testing.T) {
	forward := &model.Forward{Backends: []model.Backend{{Cluster: "c", Weight: 1}}}
	regex := func(p string) model.RouteMatch {
		return model.RouteMatch{Path: model.PathMatch{Kind: model.PathRegex, Value: p}}
	}
	rewrite := &model.Forward{Backends: forward.Backends, PathRewrite: &model.PathRewrite{
		Regex: &model.RegexRewrite{Pattern: "(a)", Substitution: `\2`},
	}}
	for _, c := range []struct {
		name  string
		route model.Route
		want  string // in the reason
		gone  bool   // left out, as its match cannot be expressed
	}{
		{"good", model.Route{Forward: forward}, "", false},
		{"no action", model.Route{}, "no action", false},
		{"expression", model.Route{Match: regex("("), Forward: forward}, "expression", true},
		{"wide escape", model.Route{Match: regex(`\\\x{100}`), Forward: forward}, `\x{100}`, true},
		{"repeated x", model.Route{Match: regex(`\\x{100}`), Forward: forward}, "", false},
		{"header name", model.Route{Match: model.RouteMatch{Headers: []model.HeaderMatch{{Name: "a b"}}}, Forward: forward}, "header name", true},
		{"prefix with a query", model.Route{Match: model.RouteMatch{Path: model.PathMatch{Kind: model.PathPrefix, Value: "/a?b"}}, Forward: forward}, "PathSeparatedPrefix", true},
		{"group", model.Route{Forward: rewrite}, `\2`, false},
		{"redirect code", model.Route{Redirect: &model.Redirect{Code: 200}}, "200", false},
		{"redirect port", model.Route{Redirect: &model.Redirect{Code: 301, Port: 65536}}, "65536", false},
		{"status", model.Route{Direct: &model.DirectResponse{Status: 700}}, "700", false},
		{"body", model.Route{Direct: &model.DirectResponse{Status: 200, Body: make([]byte, 1<<20+1)}}, "bytes", false},
		{"abort", model.Route{Forward: forward, Fault: &model.Fault{AbortHTTP: 99, AbortMillionths: 1}}, "HTTPFault", false},
		{"text", model.Route{Match: model.RouteMatch{Path: model.PathMatch{Kind: model.PathExact, Value: "/\xff"}}, Forward: forward}, "UTF-8", true},
	} {
		err := translate.CheckRoute(&c.route)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		got := translate.Route(&c.route)
		if (got == nil) != c.gone {
			t.Errorf("%s: route is %v", c.name, got)
		}
		if got != nil && c.want != "" && got.GetDirectResponse().GetStatus() != 500 {
			t.Errorf("%s: does not answer 500: %v", c.name, got)
		}
	}
}

func TestTimeoutsAreBounded(t *testing.T) {
	for in, want := range map[time.Duration]time.Duration{
		-1: 0, 0: 0, 1: time.Millisecond, time.Second: time.Second, time.Second + 1: time.Second + time.Millisecond,
		math.MaxInt64: 10 * 365 * 24 * time.Hour,
	} {
		r := translate.Route(&model.Route{Forward: &model.Forward{Timeout: &in, Backends: []model.Backend{{Cluster: "c", Weight: 1}}}})
		if got := r.GetRoute().GetTimeout().AsDuration(); got != want {
			t.Errorf("a timeout of %v became %v, want %v", in, got, want)
		}
	}
}
