package integration_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/resolve"
)

const apiStub = "api"

// twoStubs are clients of two namespaces with different labels.
func twoStubs() []resolve.Stub {
	return []resolve.Stub{webStub, {Name: apiStub, Namespace: "other", ServiceAccount: "api", Labels: map[string]string{"app": "api", "tier": "back"}}}
}

// TestMeshTCP routes connections: by address and port, weight and subnet.
func TestMeshTCP(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: twoStubs()})
	port := m.greeter(11, 0)
	m.greeter(12, port)
	m.pod(2)
	m.expand("")
	tcp := func(name, vip, ports string) string {
		return strings.ReplaceAll(serviceYAML("shop", name, vip, ports), "$PORT", fmt.Sprint(port))
	}
	pods := podYAML("shop", "one", 11, "app: one", "") + podYAML("shop", "two", 12, "app: two", "")
	m.apply("base", pods+
		tcp("one", "10.96.1.1", "{name: tcp-db, port: 3306}, {name: other, port: 3307}")+
		tcp("two", "10.96.1.2", "{name: tcp-db, port: 3306}, {name: tcp-80, port: 80}")+
		// HTTP and TCP Services share the port number 80.
		podYAML("shop", "web", 2, "app: web", "")+serviceYAML("shop", "web", "10.96.1.3", anyHTTP))

	t.Run("by address, the server speaking first", func(t *testing.T) {
		m.greets(t, meshCall{to: "10.96.1.1:3306"}, "11")
		m.greets(t, meshCall{to: "10.96.1.1:3307"}, "11")
		m.greets(t, meshCall{to: "10.96.1.2:3306"}, "12")
		m.greets(t, meshCall{to: "10.96.1.2:80"}, "12")
		m.expect(t, meshCall{to: "10.96.1.3:80"}, want{pod: "2"})
	})
	t.Run("passthrough", func(t *testing.T) {
		m.greets(t, meshCall{to: fmt.Sprintf("%s:%d", m.ip(12), port)}, "12")
	})
	route := func(match, destinations string) {
		m.apply("route", virtualServiceYAML("shop", "one", "one", "  tcp:\n  - match: ["+match+"]\n    route: ["+destinations+"]"))
	}
	t.Run("weights", func(t *testing.T) {
		route("{port: 3306}", "{destination: {host: one, port: {number: 3306}}, weight: 75}, {destination: {host: two, port: {number: 3306}}, weight: 25}")
		got := map[string]int{}
		const n = 400
		for range n {
			who, err := m.greeting(meshCall{to: "10.96.1.1:3306"})
			if err != nil {
				t.Fatal(err)
			}
			got[who]++
		}
		// Five standard deviations.
		if d := 5 * math.Sqrt(n*0.75*0.25); math.Abs(float64(got["pod 12"])-n*0.25) > d {
			t.Errorf("weights 75:25 over %d connections: %v", n, got)
		}
		m.greets(t, meshCall{to: "10.96.1.1:3307"}, "11") // another port of the host
	})
	t.Run("subnets", func(t *testing.T) {
		route("{destinationSubnets: [10.96.0.0/16]}", "{destination: {host: two, port: {number: 3306}}}")
		m.greets(t, meshCall{to: "10.96.1.1:3306"}, "12")
		m.greets(t, meshCall{to: "10.96.1.1:3307"}, "12")
		m.accepted()
		route("{destinationSubnets: [192.168.0.0/16]}", "{destination: {host: two, port: {number: 3306}}}")
		m.greets(t, meshCall{to: "10.96.1.1:3306"}, "11")
		m.says(t, "VirtualService", "shop/one", "spec.tcp[0].match[0].destinationSubnets: ")
		route("{sourceSubnet: 192.0.2.0/24}", "{destination: {host: two, port: {number: 3306}}}")
		m.greets(t, meshCall{to: "10.96.1.1:3306"}, "11")
		m.greets(t, meshCall{to: "10.96.1.1:3306", from: "192.0.2.7"}, "12")
		m.accepted()
	})
	t.Run("a route for some clients is for nobody", func(t *testing.T) {
		for field, match := range map[string]string{"sourceLabels": "{sourceLabels: {app: web}}", "sourceNamespace": "{sourceNamespace: shop}"} {
			route(match, "{destination: {host: two, port: {number: 3306}}}")
			for _, stub := range []string{"web", apiStub} {
				m.greets(t, meshCall{stub: stub, to: "10.96.1.1:3306"}, "11")
			}
			m.says(t, "VirtualService", "shop/one", "spec.tcp[0].match[0]."+field+": ")
		}
	})
	t.Run("a destination that does not exist", func(t *testing.T) {
		route("{port: 3306}", "{destination: {host: nobody}}")
		m.greets(t, meshCall{to: "10.96.1.1:3306"}, "")
		m.greets(t, meshCall{to: "10.96.1.1:3307"}, "11")
		if len(m.conditions("VirtualService", "shop/one")) == 0 {
			t.Error("no condition says so")
		}
	})
	t.Run("two entries claim one address", func(t *testing.T) {
		entry := func(name, address string, pod int) string {
			return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s, namespace: shop}
spec:
  hosts: [%s.example.com]
  addresses: [%s]
  ports: [{number: 3306, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: $IP.%d, ports: {tcp: %d}}]
`, name, name, address, pod, port)
		}
		m.apply("route", entry("e1", "240.0.0.1", 11)+entry("e2", "240.0.0.1", 12)+entry("e3", "10.96.1.2", 11))
		m.greets(t, meshCall{to: "240.0.0.1:3306"}, "11")
		m.greets(t, meshCall{to: "10.96.1.2:3306"}, "12") // a Service keeps its address
	})
}

// says fails the test unless some condition of the object begins so.
func (m *meshRig) says(t *testing.T, kind, key, prefix string) {
	t.Helper()
	list := m.conditions(kind, key)
	for _, c := range list {
		if strings.HasPrefix(c, prefix) {
			return
		}
	}
	t.Errorf("no condition of %s %s begins with %q: %q", kind, key, prefix, list)
}

// TestMeshTLSPassthrough routes TLS by server name without terminating it.
func TestMeshTLSPassthrough(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: []resolve.Stub{webStub}})
	ca := newAuthority(t)
	port := m.tlsPod(21, 0, ca, nil, "pod21", "a.example.com", "b.example.com", "c.wild.example.com")
	m.tlsPod(22, port, ca, nil, "pod22", "a.example.com", "b.example.com", "c.wild.example.com")
	entry := func(namespace, name, hosts, addresses string, pod int) string {
		return fmt.Sprintf(`---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: %s, namespace: %s}
spec:
  hosts: [%s]
  addresses: [%s]
  ports: [{number: 443, name: tls, protocol: TLS}]
  resolution: STATIC
  endpoints: [{address: $IP.%d, ports: {tls: %d}}]
`, name, namespace, hosts, addresses, pod, port)
	}
	m.apply("base", entry("shop", "a", "a.example.com", "", 21)+entry("shop", "b", "b.example.com", "", 22)+
		entry("shop", "wild", `"*.wild.example.com"`, "", 22)+entry("shop", "vip", "vip.example.com", "240.0.0.9", 21)+
		entry("other", "a", "a.example.com", "", 22)) // the same name in another namespace must not break the listener
	serves := func(to, sni, pod string) {
		t.Helper()
		until(t, sni+" at "+to+" reaches "+pod, func() error {
			got, err := m.tlsCall(to, sni, ca)
			if err == nil && got != pod {
				err = fmt.Errorf("got %s", got)
			}
			return err
		})
	}
	// The address does not matter: it is what some resolver said.
	serves("198.51.100.1:443", "b.example.com", "pod22")
	serves("198.51.100.2:443", "c.wild.example.com", "pod22")
	serves("240.0.0.9:443", "a.example.com", "pod21")
	m.apply("route", `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vip, namespace: shop}
spec:
  hosts: [vip.example.com, a.example.com, b.example.com]
  tls:
  - match: [{port: 443, sniHosts: [b.example.com]}]
    route: [{destination: {host: a.example.com}}]
  - match: [{port: 443, sniHosts: [vip.example.com]}]
    route: [{destination: {host: b.example.com}}]
`)
	serves("198.51.100.1:443", "b.example.com", "pod21")
	m.accepted()
}
