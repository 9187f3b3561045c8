package integration_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
)

func ruleYAML(name, host, spec string) string {
	return "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: " + name + ", namespace: shop}\nspec: {host: \"" + host + "\", " + spec + "}\n"
}

// selecting is serviceYAML for pods of another app.
func selecting(app, name, vip, ports string) string {
	return strings.ReplaceAll(serviceYAML("shop", name, vip, ports), "selector: {app: "+name+"}", "selector: {app: "+app+"}")
}

// TestMeshLoadBalancing chooses among three pods.
func TestMeshLoadBalancing(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: []resolve.Stub{webStub}})
	text := ""
	for i := 1; i <= 3; i++ {
		m.pod(i)
		text += podYAML("shop", fmt.Sprint("a", i), i, "app: a, version: v"+fmt.Sprint(i), "")
	}
	hash := func(name, by string) string {
		return ruleYAML(name, name, "trafficPolicy: {loadBalancer: {consistentHash: {"+by+"}}}")
	}
	m.apply("base", text+selecting("a", "rr", "10.96.7.1", anyHTTP)+ruleYAML("rr", "rr", "trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}")+
		selecting("a", "header", "10.96.7.2", anyHTTP)+hash("header", "httpHeaderName: x-user")+
		selecting("a", "cookie", "10.96.7.3", anyHTTP)+hash("cookie", "httpCookie: {name: who, ttl: 60s}")+
		selecting("a", "query", "10.96.7.4", anyHTTP)+hash("query", "httpQueryParameterName: user, maglev: {tableSize: 65537}")+
		selecting("a", "source", "10.96.7.5", anyHTTP)+hash("source", "useSourceIp: true")+
		selecting("a", "subset", "10.96.7.6", anyHTTP)+ruleYAML("subset", "subset", `trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}},
  subsets: [{name: all, labels: {app: a}, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}, {name: rr, labels: {app: a}}]`)+
		virtualServiceYAML("shop", "subset", "subset", "  http:\n  - match: [{uri: {prefix: /hash}}]\n    route: [{destination: {host: subset, subset: all}}]\n  - route: [{destination: {host: subset, subset: rr}}]"))
	m.accepted()

	even := func(t *testing.T, q meshCall) {
		t.Helper()
		m.expectAny(t, q)
		if got := m.count(t, 30, q); got["1"] != 10 || got["2"] != 10 || got["3"] != 10 {
			t.Errorf("30 requests in turn: %v", got)
		}
	}
	// sticky asks as many clients several times, each over connections of its own, and wants more than one pod in all.
	sticky := func(t *testing.T, of func(client int) meshCall) {
		t.Helper()
		pods := map[string]bool{}
		for i := range 20 {
			first := m.expectAny(t, of(i)).echo.Backend
			pods[first] = true
			for range 4 {
				if got := m.expectAny(t, of(i)).echo.Backend; got != first {
					t.Fatalf("%+v went to pod %s, then to %s", of(i), first, got)
				}
			}
		}
		if len(pods) < 2 {
			t.Errorf("20 clients all went to %v", pods)
		}
	}
	t.Run("round robin", func(t *testing.T) { even(t, meshCall{to: "10.96.7.1:80"}) })
	t.Run("header", func(t *testing.T) {
		sticky(t, func(i int) meshCall {
			return meshCall{to: "10.96.7.2:80", header: []string{"x-user: " + strconv.Itoa(i)}}
		})
	})
	t.Run("cookie", func(t *testing.T) {
		sticky(t, func(i int) meshCall {
			return meshCall{to: "10.96.7.3:80", header: []string{"Cookie: who=" + strconv.Itoa(i)}}
		})
		made := m.expectAny(t, meshCall{to: "10.96.7.3:80"})
		cookie, _, _ := strings.Cut(made.header.Get("Set-Cookie"), ";")
		if !strings.HasPrefix(cookie, "who=") || !strings.Contains(made.header.Get("Set-Cookie"), "Max-Age=60") {
			t.Fatalf("the cookie that is made: %q", made.header.Get("Set-Cookie"))
		}
		for range 5 {
			if got := m.expectAny(t, meshCall{to: "10.96.7.3:80", header: []string{"Cookie: " + cookie}}); got.echo.Backend != made.echo.Backend {
				t.Errorf("the cookie of pod %s went to pod %s", made.echo.Backend, got.echo.Backend)
			}
		}
	})
	t.Run("query", func(t *testing.T) {
		sticky(t, func(i int) meshCall { return meshCall{to: "10.96.7.4:80", path: "/?x=1&user=" + strconv.Itoa(i)} })
	})
	t.Run("source address", func(t *testing.T) {
		sticky(t, func(i int) meshCall { return meshCall{to: "10.96.7.5:80", from: "192.0.2." + strconv.Itoa(i+1)} })
	})
	t.Run("policy of a subset", func(t *testing.T) {
		sticky(t, func(i int) meshCall {
			return meshCall{to: "10.96.7.6:80", path: "/hash", header: []string{"x-user: " + strconv.Itoa(i)}}
		})
		even(t, meshCall{to: "10.96.7.6:80"})
	})
}

// TestMeshLimits ejects a pod that fails and refuses what a connection pool does not hold.
func TestMeshLimits(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: []resolve.Stub{webStub}})
	m.pod(3)
	once := "  http:\n  - retries: {attempts: 0}\n    route: [{destination: {host: %s}}]"
	m.apply("base", podYAML("shop", "a1", 1, "app: a", "")+podYAML("shop", "dead", 99, "app: a", "")+
		selecting("a", "outlier", "10.96.8.1", anyHTTP)+virtualServiceYAML("shop", "outlier", "outlier", fmt.Sprintf(once, "outlier"))+
		ruleYAML("outlier", "outlier", "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 3, interval: 1s, baseEjectionTime: 10m, maxEjectionPercent: 100}}")+
		podYAML("shop", "b", 3, "app: pool", "")+serviceYAML("shop", "pool", "10.96.8.2", anyHTTP)+
		ruleYAML("pool", "pool", "trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}}}")+
		virtualServiceYAML("shop", "pool", "pool", fmt.Sprintf(once, "pool")))
	m.accepted()
	t.Run("outlier detection", func(t *testing.T) {
		failed := 0
		until(t, "the dead pod is ejected", func() error {
			got := m.count(t, 20, meshCall{to: "10.96.8.1:80"})
			failed += got["status 503"]
			if got["1"] != 20 {
				return fmt.Errorf("%v", got)
			}
			return nil
		})
		if failed < 3 {
			t.Errorf("%d failures before the ejection, want 3 at least", failed)
		}
		stats, err := m.envoy.Stats(`outlier_detection\.ejections_active$`)
		n := int64(0)
		for _, v := range stats {
			n += v
		}
		if err != nil || n != 1 {
			t.Errorf("ejections %v, %v", stats, err)
		}
	})
	t.Run("connection pool", func(t *testing.T) {
		m.expect(t, meshCall{to: "10.96.8.2:80"}, want{pod: "3"})
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := map[int]int{}
		for range 6 {
			wg.Go(func() {
				r, err := m.do(meshCall{to: "10.96.8.2:80", header: []string{"x-want-delay: 1500ms"}})
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				got[r.status]++
				mu.Unlock()
			})
		}
		wg.Wait()
		if got[http.StatusServiceUnavailable] == 0 || got[http.StatusOK] == 0 {
			t.Errorf("six at once with one connection and one that waits: %v", got)
		}
		stats, err := m.envoy.Stats(`pool\.shop.*upstream_rq_pending_overflow$`)
		n := int64(0)
		for _, v := range stats {
			n += v
		}
		if err != nil || n != int64(got[http.StatusServiceUnavailable]) {
			t.Errorf("overflows %v, %v; answers %v", stats, err, got)
		}
	})
}

// TestMeshUpstreamTLS secures connections to pods.
func TestMeshUpstreamTLS(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: []resolve.Stub{webStub}})
	ca, other := newAuthority(t), newAuthority(t)
	port := m.tlsPod(31, 0, ca, nil, "secure.test", "other.test")
	m.tlsPod(32, port, ca, ca, "secure.test")
	m.pod(31)
	m.pod(32)
	cert, key := ca.leaf("the-client")
	ports := fmt.Sprintf("{name: http, port: 80, targetPort: %d}, {name: http-plain, port: 8080, targetPort: $PORT}", port)
	n := 0
	service := func(name string, pod int, tls string) string {
		n++
		return fmt.Sprintf("---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: {clusterIP: 10.96.9.%d, selector: {app: p%d}, ports: [%s]}\n", name, n, pod, ports) +
			ruleYAML(name, name, "trafficPolicy: {tls: {"+tls+"}, portLevelSettings: [{port: {number: 8080}, tls: {mode: DISABLE}}]}")
	}
	m.apply("base", podYAML("shop", "p31", 31, "app: p31", "")+podYAML("shop", "p32", 32, "app: p32", "")+
		secretYAML("shop", "roots", "ca.crt", ca.pem)+secretYAML("shop", "wrong", "ca.crt", other.pem)+
		secretYAML("shop", "pair", "ca.crt", ca.pem, "tls.crt", cert, "tls.key", key)+
		service("simple", 31, "mode: SIMPLE, credentialName: roots, sni: secure.test, subjectAltNames: [secure.test]")+ // .1
		service("san", 31, "mode: SIMPLE, credentialName: roots, sni: secure.test, subjectAltNames: [not.test]")+ // .2
		service("roots", 31, "mode: SIMPLE, credentialName: wrong, sni: secure.test")+ // .3
		service("sni", 31, "mode: SIMPLE, credentialName: roots, sni: other.test")+ // .4
		service("mutual", 32, "mode: MUTUAL, credentialName: pair, sni: secure.test")+ // .5
		service("no-cert", 32, "mode: SIMPLE, credentialName: roots, sni: secure.test")+ // .6
		service("mesh", 31, "mode: ISTIO_MUTUAL")+ // .7
		service("absent", 31, "mode: SIMPLE, credentialName: nobody, sni: secure.test")) // .8
	at := func(i int) meshCall { return meshCall{to: fmt.Sprintf("10.96.9.%d:80", i), host: "secure.test"} }
	if got := m.expect(t, at(1), want{pod: "31"}); got.header.Get("x-sni") != "secure.test" {
		t.Errorf("server name %q", got.header.Get("x-sni"))
	}
	if got := m.expect(t, at(4), want{pod: "31"}); got.header.Get("x-sni") != "other.test" {
		t.Errorf("server name %q", got.header.Get("x-sni"))
	}
	if got := m.expect(t, at(5), want{pod: "32"}); got.header.Get("x-client") != "the-client" {
		t.Errorf("the pod sees the client %q", got.header.Get("x-client"))
	}
	for _, i := range []int{2, 3, 6, 7, 8} {
		m.expect(t, at(i), want{status: http.StatusServiceUnavailable})
	}
	for i := 1; i <= n; i++ { // DISABLE of one port
		pod := "31"
		if i == 5 || i == 6 {
			pod = "32"
		}
		m.expect(t, meshCall{to: fmt.Sprintf("10.96.9.%d:8080", i)}, want{pod: pod})
	}
	m.says(t, "DestinationRule", "shop/mesh", "spec.trafficPolicy.tls.mode: ")
	m.says(t, "DestinationRule", "shop/absent", "spec.trafficPolicy.tls.credentialName: ")
	m.accepted("DestinationRule shop/mesh", "DestinationRule shop/absent")

	t.Run("the Secret arrives", func(t *testing.T) {
		m.apply("late", secretYAML("shop", "nobody", "ca.crt", ca.pem))
		m.expect(t, at(8), want{pod: "31"})
		m.accepted("DestinationRule shop/mesh")
	})
}

// TestMeshLocality prefers pods near the node.
func TestMeshLocality(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: []resolve.Stub{webStub}, locality: model.Locality{Region: "r1", Zone: "z1"}})
	pods, nodes := make([]string, 4), ""
	for i, l := range []string{1: "r1 z1", 2: "r1 z2", 3: "r2 z1"} {
		if i == 0 {
			continue
		}
		m.pod(i)
		region, zone, _ := strings.Cut(l, " ")
		nodes += fmt.Sprintf("---\napiVersion: v1\nkind: Node\nmetadata: {name: n%d, labels: {topology.kubernetes.io/region: %s, topology.kubernetes.io/zone: %s}}\n", i, region, zone)
		pods[i] = podYAML("shop", fmt.Sprint("a", i), i, "app: a", fmt.Sprint("n", i))
	}
	m.apply("base", nodes+selecting("a", "near", "10.96.10.1", anyHTTP)+ruleYAML("near", "near", "trafficPolicy: {outlierDetection: {consecutive5xxErrors: 5}}")+
		selecting("a", "shared", "10.96.10.2", anyHTTP)+ruleYAML("shared", "shared",
		`trafficPolicy: {loadBalancer: {localityLbSetting: {distribute: [{from: "r1/z1/*", to: {"r1/z1/*": 70, "r2/z1/*": 30}}]}}}`))
	near1 := func(pod string) {
		t.Helper()
		until(t, "all requests go to pod "+pod, func() error {
			if got := m.count(t, 20, meshCall{to: "10.96.10.1:80"}); got[pod] != 20 {
				return fmt.Errorf("%v", got)
			}
			return nil
		})
	}
	m.apply("pods", pods[1]+pods[2]+pods[3])
	near1("1")
	t.Run("distribute", func(t *testing.T) {
		m.expectAny(t, meshCall{to: "10.96.10.2:80"})
		const n = 600
		got := m.count(t, n, meshCall{to: "10.96.10.2:80"})
		if got["2"] != 0 || got["1"]+got["3"] != n {
			t.Errorf("a zone without a share was asked: %v", got)
		}
		near(t, "share of another region", got["3"], n, 0.3)
	})
	t.Run("failover", func(t *testing.T) {
		m.apply("pods", pods[2]+pods[3])
		near1("2")
		m.apply("pods", pods[3])
		near1("3")
		m.apply("pods", pods[1]+pods[2]+pods[3])
		near1("1")
	})
	m.accepted()
}
