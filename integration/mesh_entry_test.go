package integration_test

import (
	"fmt"
	"net"
	"strconv"
	"testing"

	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/resolve"
)

func entryYAML(name, spec string) string {
	return "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " + name + ", namespace: shop}\nspec: {" + spec + "}\n"
}

// TestMeshServiceEntry reaches hosts outside the cluster by every resolution.
func TestMeshServiceEntry(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: []resolve.Stub{webStub}, named: true})
	m.pod(2)
	m.pod(3)
	tcp := m.greeter(11, 0)
	m.greeter(12, tcp)
	local := mesh.NewBackend(t, "local") // on 127.0.0.1, which localhost is
	localPort := strconv.Itoa(int(local.Address.Port()))
	http := "ports: [{number: 80, name: http, protocol: HTTP}]"
	m.apply("entries", entryYAML("static", "hosts: [static.test], addresses: [240.0.0.1], "+http+
		", resolution: STATIC, endpoints: [{address: $IP.1, ports: {http: $PORT}}]")+
		entryYAML("target", "hosts: [target.test], addresses: [240.0.0.2], ports: [{number: 80, name: http, protocol: HTTP, targetPort: $PORT}], resolution: STATIC, endpoints: [{address: $IP.2}]")+
		entryYAML("range", "hosts: [range.test], addresses: [240.1.0.0/16], "+http+
			", resolution: STATIC, endpoints: [{address: $IP.3, ports: {http: $PORT}}]")+
		entryYAML("dns", "hosts: [dns.test], addresses: [240.0.0.3], "+http+
			", resolution: DNS, endpoints: [{address: localhost, ports: {http: "+localPort+"}}]")+
		entryYAML("rr", "hosts: [rr.test], addresses: [240.0.0.4], "+http+
			", resolution: DNS_ROUND_ROBIN, endpoints: [{address: localhost, ports: {http: "+localPort+"}}]")+
		entryYAML("self", "hosts: [localhost], addresses: [240.0.0.5], ports: [{number: 80, name: http, protocol: HTTP, targetPort: "+localPort+"}], resolution: DNS")+
		entryYAML("none", "hosts: [\"*.none.test\"], ports: [{number: $PORT, name: http, protocol: HTTP}], resolution: NONE")+
		entryYAML("none-tcp", "hosts: [none-tcp.test], addresses: [$IP.0/24], ports: [{number: "+fmt.Sprint(tcp)+", name: tcp, protocol: TCP}], resolution: NONE")+
		entryYAML("workloads", "hosts: [workloads.test], addresses: [240.0.0.6], "+http+
			", location: MESH_INTERNAL, resolution: STATIC, workloadSelector: {labels: {app: vm}}")+`---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm1, namespace: shop}
spec: {address: $IP.1, labels: {app: vm, version: v1}, ports: {http: $PORT}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm2, namespace: shop}
spec: {address: $IP.2, labels: {app: vm, version: v2}, ports: {http: $PORT}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: workloads, namespace: shop}
spec: {host: workloads.test, subsets: [{name: v2, labels: {version: v2}}], trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}
`+entryYAML("api", "hosts: [api.test], addresses: [240.0.0.7], "+http+", resolution: STATIC, endpoints: [{address: $IP.1, ports: {http: $PORT}}]")+
		virtualServiceYAML("shop", "workloads", "workloads.test", `
  http:
  - match: [{uri: {prefix: /v2}}]
    route: [{destination: {host: workloads.test, subset: v2}}]
  - route: [{destination: {host: workloads.test}}]
`))
	for to, pod := range map[string]string{
		"240.0.0.1:80": "1", "240.0.0.2:80": "2", "240.1.2.3:80": "3", "240.0.0.3:80": "local",
		"240.0.0.4:80": "local", "240.0.0.5:80": "local", "240.0.0.7:80": "1",
	} {
		m.expect(t, meshCall{to: to}, want{pod: pod})
	}
	for host, pod := range map[string]string{"static.test": "1", "range.test": "3", "dns.test": "local", "rr.test:80": "local"} {
		m.expect(t, meshCall{host: host}, want{pod: pod})
	}
	t.Run("NONE", func(t *testing.T) {
		for _, pod := range []int{1, 3} {
			to := m.pod(pod).Address.String()
			_, port, _ := net.SplitHostPort(to)
			m.expect(t, meshCall{to: to, host: "a.none.test:" + port}, want{pod: fmt.Sprint(pod)})
		}
		for _, pod := range []int{11, 12} {
			m.greets(t, meshCall{to: fmt.Sprintf("%s:%d", m.ip(pod), tcp)}, fmt.Sprint(pod))
		}
	})
	t.Run("workloadSelector", func(t *testing.T) {
		for range 10 {
			m.expect(t, meshCall{to: "240.0.0.6:80", path: "/v2"}, want{pod: "2"})
		}
		if got := m.count(t, 20, meshCall{to: "240.0.0.6:80"}); got["1"] != 10 || got["2"] != 10 {
			t.Errorf("round robin over two workloads: %v", got)
		}
	})
	m.accepted()
}
