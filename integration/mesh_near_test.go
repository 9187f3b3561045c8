package integration_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
)

// TestMeshNear sends requests to Services that prefer, or demand, endpoints near the client. The client's Envoy is on
// test-node in zone z1, as pod 11 is; 12 is in its zone, 13 in another.
func TestMeshNear(t *testing.T) {
	m := newMeshRig(t, meshOptions{stubs: []resolve.Stub{webStub}, locality: model.Locality{Region: "r1", Zone: "z1"}})
	at := map[int]string{11: "test-node", 12: "n2", 13: "n3"}
	zones := map[int]string{11: "z1", 12: "z1", 13: "z2"}
	var base strings.Builder
	for n, node := range at {
		m.pod(n)
		fmt.Fprintf(&base, "---\napiVersion: v1\nkind: Node\nmetadata: {name: %s, labels: {topology.kubernetes.io/region: r1, topology.kubernetes.io/zone: %s}}\n", node, zones[n])
	}
	m.apply("nodes", base.String())
	kinds := []struct{ name, vip, says string }{
		{"plain", "10.96.7.1", ""},
		{"zone", "10.96.7.2", "trafficDistribution: PreferClose"},
		{"node", "10.96.7.3", "trafficDistribution: PreferSameNode"},
		{"local", "10.96.7.4", "internalTrafficPolicy: Local"},
	}
	place := func(pods ...int) {
		var all strings.Builder
		for _, k := range kinds {
			all.WriteString(strings.Replace(serviceYAML("shop", k.name, k.vip, anyHTTP), "spec:\n", "spec:\n  "+k.says+"\n", 1))
			for _, n := range pods {
				all.WriteString(podYAML("shop", fmt.Sprintf("%s-%d", k.name, n), n, "app: "+k.name, at[n]))
			}
		}
		m.apply("services", all.String())
	}
	for _, c := range []struct {
		pods []int
		want map[string]string
	}{
		{[]int{11, 12, 13}, map[string]string{"plain": "11 12 13", "zone": "11 12", "node": "11", "local": "11"}},
		{[]int{12, 13}, map[string]string{"plain": "12 13", "zone": "12", "node": "12", "local": "503"}},
		{[]int{13}, map[string]string{"plain": "13", "zone": "13", "node": "13", "local": "503"}},
		{[]int{11, 13}, map[string]string{"plain": "11 13", "zone": "11", "node": "11", "local": "11"}},
	} {
		place(c.pods...)
		for _, k := range kinds {
			until(t, fmt.Sprintf("%s with pods %v reaches %s", k.name, c.pods, c.want[k.name]), func() error {
				var seen []string
				for range 40 {
					got, err := m.do(meshCall{to: k.vip + ":80"})
					if err != nil {
						return err
					}
					if got.echo.Backend == "" {
						got.echo.Backend = fmt.Sprint(got.status)
					}
					seen = append(seen, got.echo.Backend)
				}
				slices.Sort(seen)
				if s := strings.Join(slices.Compact(seen), " "); s != c.want[k.name] {
					return fmt.Errorf("reaches %s", s)
				}
				return nil
			})
		}
	}
}
