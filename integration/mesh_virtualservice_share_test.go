package integration_test

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"testing"
	"time"
)

// near fails the test when got of n is further than five standard deviations from the share.
func near(t *testing.T, what string, got, n int, share float64) {
	t.Helper()
	if d := 5 * math.Sqrt(float64(n)*share*(1-share)); math.Abs(float64(got)-float64(n)*share) > d {
		t.Errorf("%s: %d of %d, want %.0f ± %.0f", what, got, n, float64(n)*share, d)
	}
}

// count sends n requests over one kept connection and counts the pods that answered, "status 503" where none did.
func (m *meshRig) count(t *testing.T, n int, q meshCall) map[string]int {
	t.Helper()
	if q.stub == "" {
		q.stub = "web"
	}
	c := m.client(q.stub, q.to, q.from)
	out := map[string]int{}
	for range n {
		got, err := c.do(q)
		if err != nil {
			t.Fatal(err)
		}
		if got.echo.Backend == "" {
			got.echo.Backend = "status " + strconv.Itoa(got.status)
		}
		out[got.echo.Backend]++
	}
	return out
}

func meshShareFeatures() []meshFeature {
	return []meshFeature{{name: "weights", body: `
  http:
  - route:
    - {destination: {host: HOST, subset: v1}, weight: 90}
    - {destination: {host: HOST, subset: v2}, weight: 10}
`, check: func(t *testing.T, m *meshRig, vip string) {
		m.expect(t, meshCall{to: vip}, want{pod: "1"})
		const n = 1000
		got := m.count(t, n, meshCall{to: vip})
		near(t, "v2", got["2"], n, 0.1)
		if got["1"]+got["2"] != n {
			t.Error(got)
		}
	}}, {name: "canary", body: `
  http:
  - match: [{headers: {x-canary: {exact: "yes"}}}]
    route: [{destination: {host: HOST, subset: v2}}]
  - route: [{destination: {host: HOST, subset: v1}}]
`, check: func(t *testing.T, m *meshRig, vip string) {
		for range 20 {
			m.expect(t, meshCall{to: vip, header: []string{"x-canary: yes"}}, want{pod: "2"})
			m.expect(t, meshCall{to: vip}, want{pod: "1"})
		}
	}}, {name: "missing", body: `
  http:
  - match: [{uri: {prefix: /there}}]
    route: [{destination: {host: b}}]
  - route: [{destination: {host: b, port: {number: 80}}, weight: 1}]
`, check: func(t *testing.T, m *meshRig, vip string) {
		m.expect(t, meshCall{to: vip, path: "/there"}, want{pod: "3"})
		m.apply("missing", virtualServiceYAML("shop", "gone", "gone", "  http:\n  - route: [{destination: {host: nobody}}]")+
			serviceYAML("shop", "gone", "10.96.3.9", anyHTTP))
		m.expect(t, meshCall{to: "10.96.3.9:80"}, want{status: http.StatusServiceUnavailable})
		m.says(t, "VirtualService", "shop/gone", "spec.http[0].route[0].destination")
	}}, {name: "mirrors", body: `
  http:
  - mirrors:
    - {destination: {host: b}, percentage: {value: 30}}
    - {destination: {host: HOST, subset: v2}}
    route: [{destination: {host: HOST, subset: v1}}]
`, check: func(t *testing.T, m *meshRig, vip string) {
		m.expect(t, meshCall{to: vip}, want{pod: "1"})
		const n = 500
		got := m.count(t, n, meshCall{to: vip, header: []string{"x-want-id: mirrors"}})
		if got["1"] != n {
			t.Errorf("answers %v", got)
		}
		until(t, "copies arrive", func() error {
			if all := len(m.pods[2].Seen("mirrors")); all != n {
				return fmt.Errorf("%d of %d", all, n)
			}
			return nil
		})
		near(t, "mirror of 30 %", len(m.pods[3].Seen("mirrors")), n, 0.3)
	}}}
}

func meshFailureFeatures() []meshFeature {
	d := 300 * time.Millisecond
	return []meshFeature{{name: "timeout", body: `
  http:
  - match: [{uri: {prefix: /short}}]
    timeout: 0.2s
    route: [{destination: {host: HOST, subset: v1}}]
  - route: [{destination: {host: HOST, subset: v1}}]
`, check: func(t *testing.T, m *meshRig, vip string) {
		m.expect(t, meshCall{to: vip, path: "/short", header: []string{"x-want-delay: 30s"}}, want{status: http.StatusGatewayTimeout})
		m.expect(t, meshCall{to: vip, path: "/long", header: []string{"x-want-delay: 400ms"}}, want{pod: "1"})
	}}, {name: "retries", body: `
  http:
  - match: [{uri: {prefix: /three}}]
    retries: {attempts: 3, retryOn: 5xx, backoff: 1ms}
    route: [{destination: {host: HOST, subset: v1}}]
  - match: [{uri: {prefix: /none}}]
    retries: {attempts: 0}
    route: [{destination: {host: HOST, subset: v1}}]
  - match: [{uri: {prefix: /try}}]
    retries: {attempts: 1, perTryTimeout: 200ms, retryOn: 5xx}
    route: [{destination: {host: HOST, subset: v1}}]
  - route: [{destination: {host: HOST, subset: v1}}]
`, check: func(t *testing.T, m *meshRig, vip string) {
		tried := func(path, id, status string, w want, tries int) {
			t.Helper()
			m.expect(t, meshCall{to: vip, path: path}, want{pod: "1"})
			got, err := m.do(meshCall{to: vip, path: path, header: []string{"x-want-id: " + id, "x-want-status: " + status}})
			if err != nil {
				t.Fatal(err)
			}
			if n := len(m.pods[1].Seen(id)); got.status != w.status || n != tries {
				t.Errorf("%s of a pod that answers %s: %d after %d tries, want %d after %d", path, status, got.status, n, w.status, tries)
			}
		}
		tried("/three", "r1", "500,500,500,200", want{status: 200}, 4)
		tried("/three", "r2", "500", want{status: 500}, 4)
		tried("/none", "r3", "503,200", want{status: 503}, 1)
		tried("/", "r4", "503,503,200", want{status: 200}, 3) // Istio's default
		tried("/", "r5", "500,200", want{status: 500}, 1)
		m.expect(t, meshCall{to: vip, path: "/try", header: []string{"x-want-delay: 30s", "x-want-id: r6"}}, want{status: http.StatusGatewayTimeout})
		if n := len(m.pods[1].Seen("r6")); n != 2 {
			t.Errorf("%d tries with a timeout each, want 2", n)
		}
	}}, {name: "faults", body: `
  http:
  - match: [{uri: {prefix: /delay}}]
    fault: {delay: {fixedDelay: 0.3s, percentage: {value: 100}}}
    route: [{destination: {host: HOST, subset: v1}}]
  - match: [{uri: {prefix: /abort}}]
    fault: {abort: {httpStatus: 418, percentage: {value: 40}}}
    route: [{destination: {host: HOST, subset: v1}}]
  - route: [{destination: {host: HOST, subset: v1}}]
`, check: func(t *testing.T, m *meshRig, vip string) {
		m.expect(t, meshCall{to: vip}, want{pod: "1"})
		start := time.Now()
		m.expect(t, meshCall{to: vip, path: "/delay"}, want{pod: "1"})
		if took := time.Since(start); took < d*9/10 { // Envoy's timers may fire some milliseconds early
			t.Errorf("answered after %v, which is before the delay of %v", took, d)
		}
		const n = 500
		got := m.count(t, n, meshCall{to: vip, path: "/abort"})
		near(t, "aborts", got["status 418"], n, 0.4)
		if got["1"]+got["status 418"] != n {
			t.Error(got)
		}
	}}}
}
