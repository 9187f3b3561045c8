package integration_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/translate"
)

// feature is a host with routes, and what must be seen through a real Envoy that has them.
type feature struct {
	host   string
	routes []model.Route
	check  func(t *testing.T, r *routeRig, host string)
}

// TestRouteFeatures gives a real Envoy one table with a host for each feature, over the real push server.
func TestRouteFeatures(t *testing.T) {
	var features []feature
	for _, list := range [][]feature{
		matchFeatures(), forwardFeatures(), headerFeatures(), rewriteFeatures(), redirectFeatures(), answerFeatures(),
		timeoutFeatures(), retryFeatures(), mirrorFeatures(), hashFeatures(), streamFeatures(), managerFeatures(),
	} {
		features = append(features, list...)
	}
	var hosts []*routev3.VirtualHost
	for i := range features {
		f := &features[i]
		f.host += ".test"
		for j := range f.routes {
			if err := translate.CheckRoute(&f.routes[j]); err != nil && f.check != nil {
				t.Errorf("%s: %v", f.host, err)
			}
		}
		hosts = append(hosts, translate.VirtualHost(&model.VirtualHost{
			Config: rigTable, Host: f.host, Domains: []string{f.host, "*." + f.host}, Routes: f.routes,
		}))
	}
	hosts = append(hosts, translate.VirtualHost(&model.VirtualHost{
		Config: rigTable, Host: "tls.test", Domains: []string{"tls.test"}, RequireTLS: true, Routes: []model.Route{ok("tls")},
	}), translate.VirtualHost(&model.VirtualHost{
		Config: rigTable, Host: "single.test", Domains: []string{"single.test"},
		Routes: []model.Route{{Redirect: &model.Redirect{Scheme: "https", Code: 301}}},
	}))
	r := newRouteRig(t, hosts)
	for _, f := range features {
		t.Run(f.host, func(t *testing.T) { f.check(t, r, f.host) })
	}
	t.Run("RequireTLS", func(t *testing.T) {
		expectLocation(t, r, call{host: "tls.test", path: "/x?y=1"}, 301, "https://tls.test/x?y=1")
	})
	t.Run("scheme change cuts the port of a single host", func(t *testing.T) {
		expectLocation(t, r, call{host: "single.test:8080", path: "/x"}, 301, "https://single.test/x")
	})
	t.Run("nothing was refused", func(t *testing.T) {
		n, names, err := r.envoy.UpdateRejected()
		if err != nil || n != 0 {
			t.Errorf("Envoy refused %d updates: %v %v", n, names, err)
		}
	})
}

// ok answers 200 with a body.
func ok(body string) model.Route {
	return model.Route{Name: body, Direct: &model.DirectResponse{Status: 200, Body: []byte(body)}}
}

// to forwards to clusters of equal weight.
func to(clusters ...string) *model.Forward {
	f := &model.Forward{}
	for _, c := range clusters {
		f.Backends = append(f.Backends, model.Backend{Cluster: c, Weight: 1})
	}
	return f
}

func expectStatus(t *testing.T, r *routeRig, c call, status int) reply {
	t.Helper()
	got := r.do(t, c)
	if got.status != status {
		t.Errorf("%+v: status %d, want %d: %s", c, got.status, status, got.body)
	}
	return got
}

func expectLocation(t *testing.T, r *routeRig, c call, status int, location string) {
	t.Helper()
	got := expectStatus(t, r, c, status)
	if l := got.header.Get("Location"); l != location {
		t.Errorf("%+v: Location %q, want %q", c, l, location)
	}
}

func forwardFeatures() []feature {
	weighted := func(b ...model.Backend) []model.Route { return []model.Route{{Forward: &model.Forward{Backends: b}}} }
	status := func(want int) func(*testing.T, *routeRig, string) {
		return func(t *testing.T, r *routeRig, host string) { expectStatus(t, r, call{host: host, path: "/"}, want) }
	}
	return []feature{
		{"weights", weighted(model.Backend{Cluster: "a", Weight: 3}, model.Backend{Cluster: "b", Weight: 1}), func(t *testing.T, r *routeRig, host string) {
			expectShare(t, r, host, 750, func(g reply) bool { return g.echo.Backend == "a" })
		}},
		{"invalid-share", weighted(model.Backend{Cluster: "a", Weight: 1}, model.Backend{Weight: 1}), func(t *testing.T, r *routeRig, host string) {
			expectShare(t, r, host, 500, func(g reply) bool { return g.status == 500 && g.echo.Backend == "" })
		}},
		{"huge-weights", weighted(model.Backend{Cluster: "a", Weight: 1<<32 - 1}, model.Backend{Cluster: "b", Weight: 1<<32 - 1}), func(t *testing.T, r *routeRig, host string) {
			expectShare(t, r, host, 500, func(g reply) bool { return g.echo.Backend == "a" })
		}},
		{"zero-weight-of-one", weighted(model.Backend{Cluster: "a", Weight: 1}, model.Backend{Cluster: "b"}), func(t *testing.T, r *routeRig, host string) {
			expectShare(t, r, host, 1000, func(g reply) bool { return g.echo.Backend == "a" })
		}},
		{"all-invalid", weighted(model.Backend{Weight: 1}), status(500)},
		{"all-zero", weighted(model.Backend{Cluster: "a"}), status(500)},
		{"no-backends", weighted(), status(500)},
		{"missing-cluster", weighted(model.Backend{Cluster: "nowhere", Weight: 1}), status(503)},
		{"no-endpoints", weighted(model.Backend{Cluster: "empty", Weight: 1}), status(503)},
	}
}

// expectShare counts over 1,000 requests; 90 of them are more than five standard deviations of a fair coin.
func expectShare(t *testing.T, r *routeRig, host string, want int, hit func(reply) bool) {
	t.Helper()
	n := 0
	for range 1000 {
		if hit(r.do(t, call{host: host, path: "/"})) {
			n++
		}
	}
	slack := 90
	if want == 0 || want == 1000 {
		slack = 0
	}
	if n < want-slack || n > want+slack {
		t.Errorf("%d of 1,000 requests, want about %d", n, want)
	}
}

func answerFeatures() []feature {
	long := make([]byte, 64<<10)
	for i := range long {
		long[i] = 'x'
	}
	second := time.Second
	grpcUnavailable := uint32(14)
	return []feature{
		{"direct", []model.Route{{Direct: &model.DirectResponse{Status: 418, Body: []byte("%teapot%\x00")}}}, func(t *testing.T, r *routeRig, host string) {
			if got := expectStatus(t, r, call{host: host, path: "/"}, 418); got.body != "%teapot%\x00" {
				t.Errorf("body %q", got.body)
			}
		}},
		{"direct-long", []model.Route{{Direct: &model.DirectResponse{Status: 200, Body: long}}}, func(t *testing.T, r *routeRig, host string) {
			if got := expectStatus(t, r, call{host: host, path: "/"}, 200); len(got.body) != len(long) {
				t.Errorf("%d bytes", len(got.body))
			}
		}},
		{"direct-empty", []model.Route{{Direct: &model.DirectResponse{Status: 204}}}, func(t *testing.T, r *routeRig, host string) {
			expectStatus(t, r, call{host: host, path: "/"}, 204)
		}},
		{"abort", []model.Route{{Fault: &model.Fault{AbortHTTP: 418, AbortMillionths: 1e6}, Forward: to("a")}}, func(t *testing.T, r *routeRig, host string) {
			expectStatus(t, r, call{host: host, path: "/"}, 418)
		}},
		{"abort-half", []model.Route{{Fault: &model.Fault{AbortHTTP: 418, AbortMillionths: 500_000}, Forward: to("a")}}, func(t *testing.T, r *routeRig, host string) {
			expectShare(t, r, host, 500, func(g reply) bool { return g.status == 418 })
		}},
		{"abort-grpc", []model.Route{{Fault: &model.Fault{AbortGRPC: &grpcUnavailable, AbortMillionths: 1e6}, Forward: to("a")}}, func(t *testing.T, r *routeRig, host string) {
			got := r.do(t, call{method: "POST", host: host, path: "/", header: []string{"content-type: application/grpc"}})
			if s := got.header.Get("grpc-status"); s != "14" {
				t.Errorf("grpc-status %q of %+v", s, got)
			}
		}},
		{"delay", []model.Route{{Fault: &model.Fault{Delay: 100 * time.Millisecond, DelayMillionths: 1e6}, Forward: to("a")}}, func(t *testing.T, r *routeRig, host string) {
			start := time.Now()
			expectStatus(t, r, call{host: host, path: "/"}, 200)
			if d := time.Since(start); d < 90*time.Millisecond { // Envoy's timers may fire some milliseconds early
				t.Errorf("answered after %v, before the delay was over", d)
			}
		}},
		{"cors", []model.Route{{Forward: to("a"), CORS: &model.CORS{
			AllowOrigins: []model.StringMatch{{Value: "https://*.good.test"}}, AllowMethods: []string{"GET", "PUT"},
			AllowHeaders: []string{"x-a", "x-b"}, ExposeHeaders: []string{"x-c"}, MaxAge: &second, AllowCredentials: true,
		}}}, checkCORS},
		{"cors-any", []model.Route{{Forward: to("a"), CORS: &model.CORS{
			AllowOrigins: []model.StringMatch{{Value: "*"}}, AllowMethods: []string{"*"}, AllowHeaders: []string{"x-a", "*"},
			AllowCredentials: true, ForwardUnmatched: true,
		}}}, func(t *testing.T, r *routeRig, host string) {
			got := expectStatus(t, r, preflight(host, "https://any.test"), 200)
			expectHeaders(t, got.header, map[string]string{
				"Access-Control-Allow-Origin": "https://any.test", "Access-Control-Allow-Methods": "DELETE",
				"Access-Control-Allow-Headers": "x-z", "Access-Control-Allow-Credentials": "true",
			})
		}},
		{"cors-forward", []model.Route{{Forward: to("a"), CORS: &model.CORS{
			AllowOrigins: []model.StringMatch{{Value: "https://good.test"}}, ForwardUnmatched: true,
		}}}, func(t *testing.T, r *routeRig, host string) {
			if got := r.do(t, preflight(host, "https://bad.test")); got.echo.Backend != "a" {
				t.Errorf("a preflight of another origin was not forwarded: %+v", got)
			}
		}},
	}
}

func preflight(host, origin string) call {
	return call{method: "OPTIONS", host: host, path: "/", header: []string{
		"origin: " + origin, "access-control-request-method: DELETE", "access-control-request-headers: x-z",
	}}
}

// expectHeaders compares values, joined by " "; "" is a header that is absent or empty.
func expectHeaders(t *testing.T, got http.Header, want map[string]string) {
	t.Helper()
	for k, v := range want {
		if g := fmt.Sprint(got.Values(k)); g != "["+v+"]" {
			t.Errorf("%s is %s, want [%s]", k, g, v)
		}
	}
}

func checkCORS(t *testing.T, r *routeRig, host string) {
	got := expectStatus(t, r, preflight(host, "https://www.good.test"), 200)
	if got.echo.Backend != "" {
		t.Error("the preflight reached the backend")
	}
	expectHeaders(t, got.header, map[string]string{
		"Access-Control-Allow-Origin": "https://www.good.test", "Access-Control-Allow-Methods": "GET,PUT",
		"Access-Control-Allow-Headers": "x-a,x-b", "Access-Control-Max-Age": "1", "Access-Control-Allow-Credentials": "true",
	})
	got = r.do(t, call{host: host, path: "/", header: []string{"origin: https://www.good.test"}})
	expectHeaders(t, got.header, map[string]string{
		"Access-Control-Allow-Origin": "https://www.good.test", "Access-Control-Expose-Headers": "x-c",
	})
	for _, origin := range []string{"https://good.test.evil", "https://www.good.test.evil", "http://www.good.test"} {
		got = r.do(t, preflight(host, origin))
		if got.header.Get("Access-Control-Allow-Origin") != "" || got.echo.Backend != "" {
			t.Errorf("preflight of %s: %+v", origin, got)
		}
	}
}
