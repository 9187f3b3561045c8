package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/model"
)

const (
	short = 100 * time.Millisecond
	// never is longer than any test waits.
	never = "x-want-delay: 1h"
)

func timeoutFeatures() []feature {
	d, tiny := short, time.Microsecond
	with := func(set func(*model.Forward)) []model.Route {
		f := to("a")
		set(f)
		return []model.Route{{Forward: f}}
	}
	late := func(want int) func(*testing.T, *routeRig, string) {
		return func(t *testing.T, r *routeRig, host string) {
			expectStatus(t, r, call{host: host, path: "/", header: []string{never}}, want)
		}
	}
	return []feature{
		{"timeout", with(func(f *model.Forward) { f.Timeout = &d }), func(t *testing.T, r *routeRig, host string) {
			late(504)(t, r, host)
			expectStatus(t, r, call{host: host, path: "/"}, 200)
		}},
		{"timeout-tiny", with(func(f *model.Forward) { f.Timeout = &tiny }), late(504)},
		{"timeout-idle", with(func(f *model.Forward) { f.IdleTimeout = &d }), late(504)},
		{"timeout-stream", with(func(f *model.Forward) { f.MaxStreamDuration = &d }), func(t *testing.T, r *routeRig, host string) {
			if got := r.do(t, call{host: host, path: "/", header: []string{never}}); got.status != 408 && got.status != 504 {
				t.Errorf("status %d", got.status)
			}
		}},
		{"timeout-not-by-client", with(func(*model.Forward) {}), func(t *testing.T, r *routeRig, host string) {
			// A client must not choose by x-envoy-* headers how Envoy treats it.
			expectStatus(t, r, call{host: host, path: "/", header: []string{"x-want-delay: 300ms", "x-envoy-upstream-rq-timeout-ms: 10"}}, 200)
		}},
	}
}

func retryFeatures() []feature {
	d := short
	with := func(cluster string, retry model.Retry) []model.Route {
		f := to(cluster)
		f.Retry = &retry
		return []model.Route{{Forward: f}}
	}
	tried := func(want, attempts int, header ...string) func(*testing.T, *routeRig, string) {
		return func(t *testing.T, r *routeRig, host string) {
			expectStatus(t, r, call{host: host, path: "/", header: append(header, "x-want-id: "+host)}, want)
			if n := len(r.a.Seen(host)); n != attempts {
				t.Errorf("%d attempts, want %d", n, attempts)
			}
		}
	}
	fast := func(r model.Retry) model.Retry {
		r.BackoffBase, r.BackoffMax = time.Millisecond, 2*time.Millisecond
		return r
	}
	return []feature{
		{"retry", with("a", fast(model.Retry{Attempts: 3, On: "5xx"})), tried(200, 3, "x-want-status: 503,503,200")},
		{"retry-ends", with("a", fast(model.Retry{Attempts: 1, On: "5xx"})), tried(503, 2, "x-want-status: 503,503,200")},
		{"retry-none", with("a", model.Retry{On: "5xx"}), tried(503, 1, "x-want-status: 503,200")},
		{"retry-codes", with("a", model.Retry{Attempts: 2, StatusCodes: []uint32{418}}), tried(200, 2, "x-want-status: 418,200")},
		{"retry-other-codes", with("a", model.Retry{Attempts: 2, On: "connect-failure", StatusCodes: []uint32{418}}), tried(503, 1, "x-want-status: 503,200")},
		{"retry-per-try", with("a", fast(model.Retry{Attempts: 2, On: "5xx", PerTryTimeout: &d})), tried(504, 3, never)},
		{"retry-max-only", with("a", model.Retry{Attempts: 1, On: "5xx", BackoffMax: time.Millisecond, RemoteLocalities: true}), tried(200, 2, "x-want-status: 503,200")},
		{"retry-elsewhere", with("both", fast(model.Retry{Attempts: 1, On: "5xx", IgnorePreviousHosts: true})), func(t *testing.T, r *routeRig, host string) {
			for i := range 30 {
				id := fmt.Sprint(host, i)
				expectStatus(t, r, call{host: host, path: "/", header: []string{"x-want-status: 503", "x-want-id: " + id}}, 503)
				if a, b := len(r.a.Seen(id)), len(r.b.Seen(id)); a != 1 || b != 1 {
					t.Fatalf("request %d: %d attempts at a and %d at b, want one each", i, a, b)
				}
			}
		}},
	}
}

func newHealthServer(t *testing.T) string {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	healthv1.RegisterHealthServer(s, health.NewServer())
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return lis.Addr().String()
}

func streamFeatures() []feature {
	d := short
	limited := to("grpc")
	limited.MaxStreamDuration = &d
	grpcOnly := model.Route{Match: model.RouteMatch{GRPC: true}, Forward: to("grpc")}
	watched := model.Route{Match: model.RouteMatch{Path: model.PathMatch{Kind: model.PathExact, Value: "/grpc.health.v1.Health/Watch"}}, Forward: limited}
	other := to("a")
	other.Upgrades = []string{"Echo", "echo", "websocket", "CONNECT"}
	return []feature{
		{"grpc", []model.Route{watched, grpcOnly}, checkGRPC},
		{"websocket", []model.Route{{Forward: to("a")}}, func(t *testing.T, r *routeRig, host string) {
			checkUpgrade(t, r.at["edge"], host, "websocket")
			checkUpgrade(t, r.at["mesh"], host, "websocket")
		}},
		{"upgrade", []model.Route{{Forward: other}}, func(t *testing.T, r *routeRig, host string) {
			checkUpgrade(t, r.at["edge"], host, "echo")
		}},
	}
}

func checkGRPC(t *testing.T, r *routeRig, host string) {
	conn, err := grpc.NewClient("passthrough:"+r.at["edge"], grpc.WithAuthority(host), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c := healthv1.NewHealthClient(conn)
	res, err := c.Check(ctx, &healthv1.HealthCheckRequest{})
	if err != nil || res.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("check: %v %v", res, err)
	}
	// Watch never ends by itself.
	watch, err := c.Watch(ctx, &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = watch.Recv()
	}
	if ctx.Err() != nil {
		t.Errorf("the stream outlived its limit: %v", status.Convert(err))
	}
}

// checkUpgrade switches protocols by hand and sends bytes both ways.
func checkUpgrade(t *testing.T, address, host, protocol string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: %s\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", host, protocol)
	in := bufio.NewReader(conn)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("upgrade to %s: %s", protocol, res.Status)
	}
	fmt.Fprint(conn, "ping\n")
	if line, err := in.ReadString('\n'); err != nil || line != "ping\n" {
		t.Errorf("got back %q: %v", line, err)
	}
}

func managerFeatures() []feature {
	byPath := []model.Route{
		{Match: model.RouteMatch{Path: model.PathMatch{Kind: model.PathPrefix, Value: "/admin"}}, Direct: &model.DirectResponse{Status: 403}},
		{Forward: to("a")},
	}
	return []feature{
		{"paths", byPath, func(t *testing.T, r *routeRig, host string) {
			for _, p := range []string{"/admin", "/x/../admin", "/x/..//admin", "/./admin/x", "/%61dmin", "/x/%2e%2e/admin"} {
				expectStatus(t, r, call{host: host, path: p}, 403)
			}
			expectLocation(t, r, call{host: host, path: "/x%2F..%2Fadmin"}, 307, "/admin")
		}},
		{"hosts", []model.Route{{Forward: to("a")}}, func(t *testing.T, r *routeRig, host string) {
			for _, h := range []string{host, host + ":8080", host + ".", strings.ToUpper(host)} {
				expectStatus(t, r, call{host: h, path: "/"}, 200)
			}
		}},
		{"scope", []model.Route{{Forward: to("a")}}, func(t *testing.T, r *routeRig, host string) {
			for _, listener := range []string{"mesh", "edge"} {
				got := expectStatus(t, r, call{listener: listener, host: host, path: "/", header: []string{"x-fl-vip: 10.0.0.1:80", "x-fl-tag: other"}}, 200)
				expectHeaders(t, got.echo.Header, map[string]string{"X-Fl-Vip": "", "X-Fl-Tag": ""})
			}
		}},
		{"server-header", []model.Route{{Forward: to("a")}}, func(t *testing.T, r *routeRig, host string) {
			got := r.do(t, call{host: host, path: "/", header: []string{"x-forwarded-for: 1.2.3.4"}})
			expectHeaders(t, got.header, map[string]string{"Server": "backend"})
			if id := got.echo.Header.Get("X-Request-Id"); len(id) != 36 {
				t.Errorf("request id %q", id)
			}
			expectHeaders(t, got.echo.Header, map[string]string{"X-Forwarded-Proto": "http"})
			// Envoy writes its own address for a client on loopback.
			if f := got.echo.Header.Get("X-Forwarded-For"); !strings.HasPrefix(f, "1.2.3.4,") {
				t.Errorf("X-Forwarded-For %q", f)
			}
		}},
	}
}
