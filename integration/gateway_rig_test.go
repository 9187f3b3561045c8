package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"fairlead.io/fairlead/integration/mesh"
)

// gatewayClass is the class of our Gateways.
const gatewayClass = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: fairlead}
spec: {controllerName: fairlead.io/gateway-controller}
`

// gatewayYAML is a Gateway default/edge with its class; listeners is the YAML of the list.
func gatewayYAML(listeners string) string {
	return gatewayClass + gatewayNamed("edge", listeners)
}

func gatewayNamed(name, listeners string) string {
	return "---\napiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: " + name + ", namespace: default}\n" +
		"spec:\n  gatewayClassName: fairlead\n  listeners:\n" + indent(listeners, "  ")
}

// routeYAML is an HTTPRoute in namespace default for one host of the Gateway; rules is the YAML of the list.
func routeYAML(name, host, rules string) string {
	return routeTo("{name: edge}", "default", name, host, rules)
}

// routeTo is routeYAML for any parent and namespace. No host is no hostnames.
func routeTo(parent, namespace, name, host, rules string) string {
	hosts := "[]"
	if host != "" {
		hosts = fmt.Sprintf("[%q]", host)
	}
	return fmt.Sprintf("---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %s, namespace: %s}\n"+
		"spec:\n  parentRefs: [%s]\n  hostnames: %s\n  rules:\n%s", name, namespace, parent, hosts, indent(rules, "  "))
}

func indent(text, by string) string {
	lines := strings.Split(strings.Trim(text, "\n"), "\n")
	for i, l := range lines {
		lines[i] = by + strings.TrimPrefix(l, "\t")
	}
	return strings.Join(lines, "\n") + "\n"
}

func gatewayService(name string, backends ...*mesh.Backend) string {
	s := mesh.Service{Name: name}
	if len(backends) == 0 {
		return s.YAML()
	}
	yaml := s.YAML(backends[0].Address)
	if len(backends) > 1 {
		panic("one backend a service")
	}
	return yaml
}

// ruleTag is a filter that tells in the answer which rule has taken a request.
func ruleTag(n string) string {
	return `{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-rule, value: "` + n + `"}]}}`
}

// expect compares the status of an answer.
func expect(t *testing.T, m *mesh.Mesh, r mesh.Request, status int) mesh.Response {
	t.Helper()
	got := m.MustDo(t, r)
	if got.Status != status {
		t.Errorf("%s %s%s %v: status %d, want %d; body %q", r.Method, r.Host, r.Path, r.Header, got.Status, status, got.Body)
	}
	return got
}

// countAnswers sends n equal requests and counts the answers by status and backend ("200 a", "500 ").
func countAnswers(t *testing.T, m *mesh.Mesh, r mesh.Request, n int) map[string]int {
	t.Helper()
	out := map[string]int{}
	for range n {
		got := m.MustDo(t, r)
		out[fmt.Sprintf("%d %s", got.Status, got.Echo.Backend)]++
	}
	return out
}
