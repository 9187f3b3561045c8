package integration_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/resolve"
)

// webStub is the client of most mesh tests.
var webStub = resolve.Stub{Name: "web", Namespace: "shop", ServiceAccount: "web", Labels: map[string]string{"app": "web"}}

const anyHTTP = "{name: http, port: 80}"

// TestMeshByAddress reaches Services by the address that a client asked for, whatever the Host header says.
func TestMeshByAddress(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: []resolve.Stub{webStub}, first: podYAML("shop", "a", 1, "app: a", "") +
		serviceYAML("shop", "a", "10.96.0.1", anyHTTP+", {name: http-alt, port: 8080}")})
	m.pod(2)
	m.apply("b", podYAML("other", "b", 2, "app: b", "")+serviceYAML("other", "b", "10.96.0.2", anyHTTP))
	for _, host := range []string{"a", "b", "a.shop.svc.cluster.local:80", "anything.example.com"} {
		m.expect(t, meshCall{to: "10.96.0.1:80", host: host}, want{pod: "1"})
		m.expect(t, meshCall{to: "10.96.0.2:80", host: host}, want{pod: "2"})
	}
	m.expect(t, meshCall{to: "10.96.0.1:8080"}, want{pod: "1"})

	t.Run("a client cannot choose the scope", func(t *testing.T) {
		got := m.expect(t, meshCall{to: "10.96.0.1:80", header: []string{"x-fl-vip: 10.96.0.2:80", "x-fl-tag: mesh"}}, want{pod: "1"})
		for name := range got.echo.Header {
			if http.CanonicalHeaderKey("x-fl-vip") == name || http.CanonicalHeaderKey("x-fl-tag") == name {
				t.Errorf("the pod sees %s", name)
			}
		}
	})
	t.Run("PROXY protocol version 2", func(t *testing.T) {
		c, err := net.Dial("tcp", m.stub("web").String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		// Signature, version 2 PROXY, TCP over IPv4, 12 bytes: 192.0.2.1:40000 to 10.96.0.2:80.
		header := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\x0a\x60\x00\x02\x9c\x40\x00\x50"
		fmt.Fprint(c, header+"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		var saw mesh.Echo
		if err := json.NewDecoder(res.Body).Decode(&saw); err != nil || saw.Backend != "2" {
			t.Errorf("pod %q answers, %v", saw.Backend, err)
		}
	})
	t.Run("connections that the client wants closed", func(t *testing.T) {
		body := strings.Repeat("x", 1<<20)
		m.apply("large", serviceYAML("shop", "large", "10.96.0.3", anyHTTP)+
			virtualServiceYAML("shop", "large", "large", "  http:\n  - directResponse: {status: 200, body: {string: "+body[:1<<20]+"}}"))
		m.expect(t, meshCall{to: "10.96.0.3:80"}, want{status: 200})
		for to, want := range map[string]string{"10.96.0.1:80": "", "10.96.0.3:80": body} {
			for range 20 {
				got := m.expectStatus(t, meshCall{to: to, header: []string{"Connection: close"}}, http.StatusOK)
				if want != "" && got.body != want {
					t.Fatalf("%s: %d bytes of %d", to, len(got.body), len(want))
				}
			}
		}
	})
	t.Run("IPv6", func(t *testing.T) {
		m.apply("six", entryYAML("six", "hosts: [six.test], addresses: [\"fd00::6\"], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: [{address: $IP.2, ports: {http: $PORT}}]"))
		m.expect(t, meshCall{to: "[fd00::6]:80"}, want{pod: "2"})
	})
	t.Run("an address of no Service", func(t *testing.T) {
		m.expect(t, meshCall{to: "10.96.0.99:80"}, want{status: 404})
	})
	t.Run("an address outside the ranges of Services", func(t *testing.T) {
		// The port carries HTTP elsewhere; the connection goes where the client wanted.
		m.expect(t, meshCall{to: m.pod(2).Address.String()}, want{pod: "2"})
	})
	t.Run("a Service that goes away", func(t *testing.T) {
		m.apply("b", "")
		m.expect(t, meshCall{to: "10.96.0.2:80"}, want{status: 404})
		m.expect(t, meshCall{to: "10.96.0.1:80"}, want{pod: "1"})
	})
	m.accepted()
}

// TestMeshByName reaches Services by :authority, for clients that connect to the stub itself.
func TestMeshByName(t *testing.T) {
	m := newMeshRig(t, meshOptions{named: true, stubs: []resolve.Stub{webStub}, first: podYAML("shop", "a", 1, "app: a", "") +
		serviceYAML("shop", "a", "10.96.0.1", anyHTTP+", {name: http-alt, port: 8080}")})
	m.pod(2)
	m.apply("b", podYAML("other", "b", 2, "app: b", "")+serviceYAML("other", "b", "None", anyHTTP))
	for _, host := range []string{
		"a", "a:80", "a:8080", "a.shop", "a.shop:80", "a.shop.svc", "a.shop.svc:8080",
		"a.shop.svc.cluster.local", "a.shop.svc.cluster.local:80", "A.Shop.svc.cluster.local.",
	} {
		m.expect(t, meshCall{host: host}, want{pod: "1"})
	}
	for _, host := range []string{"b.other", "b.other.svc:80", "b.other.svc.cluster.local"} {
		m.expect(t, meshCall{host: host}, want{pod: "2"})
	}
	for _, host := range []string{"b", "nobody.example.com", "a.other", "a:81"} {
		m.expect(t, meshCall{host: host}, want{status: 404})
	}

	t.Run("two definitions of one name", func(t *testing.T) {
		m.apply("twice", `
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: twice, namespace: shop}
spec:
  hosts: [twice.example.com, a.shop]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: $IP.2, ports: {http: $PORT}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: twice, namespace: other}
spec:
  hosts: [twice.example.com]
  ports: [{number: 8000, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: $IP.1, ports: {http: $PORT}}]
`)
		m.expect(t, meshCall{host: "twice.example.com"}, want{pod: "2"})
		m.expect(t, meshCall{host: "twice.example.com:8000"}, want{pod: "1"})
		m.expect(t, meshCall{host: "a.shop.svc"}, want{pod: "1"})
	})
	m.accepted()
}
