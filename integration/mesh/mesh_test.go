package mesh

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const edge = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: fairlead}
spec: {controllerName: fairlead.io/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge, namespace: default}
spec:
  gatewayClassName: fairlead
  listeners: [{name: http, port: 80, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: default}
spec:
  parentRefs: [{name: edge}]
  hostnames: [web.example.com]
  rules:
  - backendRefs: [{name: web, port: 80}]
`

// TestMesh edits a folder and sees it in real requests, through a gateway and through the outbound listener.
func TestMesh(t *testing.T) {
	m := Start(t, Options{Manifests: edge, Nodes: 2})
	m.WaitStatus(t, Request{Host: "web.example.com"}, 500) // there is no such Service
	m.WaitFinding(t, "HTTPRoute default/web", "Service default/web does not exist")
	a, b := NewBackend(t, "a"), NewBackend(t, "b")
	m.Apply("web", Service{Name: "web"}.YAML(a.Address))
	got := m.WaitBackend(t, Request{Host: "web.example.com", Path: "/x%20y?q=1", Header: []string{"x-want-id: 1"}}, "a")
	if got.Echo.Path != "/x%20y" || got.Echo.Query != "q=1" || len(a.Seen("1")) == 0 {
		t.Errorf("backend saw %+v", got.Echo)
	}
	m.WaitNoFinding(t, "HTTPRoute default/web")
	m.WaitBackend(t, Request{To: m.Stub.String(), Host: "web.default"}, "a")
	m.Apply("web", Service{Name: "web"}.YAML(b.Address))
	m.WaitBackend(t, Request{Host: "web.example.com"}, "b")
	m.Delete("web")
	m.WaitStatus(t, Request{Host: "web.example.com"}, 500)
}
