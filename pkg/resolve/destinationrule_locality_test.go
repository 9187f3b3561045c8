package resolve_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestLocalityWithoutEndpoints: where Envoy finds the endpoints itself, a locality setting is named as one without effect.
func TestLocalityWithoutEndpoints(t *testing.T) {
	const near = "loadBalancer: {localityLbSetting: {distribute: [{from: r/*, to: {r/*: 100}}]}}"
	entry := func(resolution, endpoints string) string {
		return fmt.Sprintf("apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e, namespace: prod}\n"+
			"spec: {hosts: [e.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: %s%s}", resolution, endpoints)
	}
	const all = "{host: e.example.com, trafficPolicy: {" + near + ", portLevelSettings: [{port: {number: 80}, " + near + "}]}, subsets: [{name: v1, trafficPolicy: {" + near + "}}]}"
	paths := []string{
		"spec.trafficPolicy.loadBalancer.localityLbSetting", "spec.trafficPolicy.portLevelSettings[0].loadBalancer.localityLbSetting",
		"spec.subsets[0].trafficPolicy.loadBalancer.localityLbSetting",
	}
	for resolution, text := range map[string]string{"DNS": "found by DNS", "DNS_ROUND_ROBIN": "found by DNS", "NONE": "resolution NONE"} {
		d := newDestinations(t, entry(resolution, ""), rule("r", all))
		for _, path := range paths {
			if c := d.said(d.rules, "prod/r@istio", path, text); !c.Warning || !c.Status {
				t.Errorf("%s: %+v is no warning", resolution, c)
			}
		}
		d.apply(rule("r", strings.ReplaceAll(all, "{distribute", "{enabled: false, distribute")))
		d.accepted(d.rules, "prod/r@istio")
	}
	d := newDestinations(t, entry("STATIC", ", endpoints: [{address: 10.0.0.1, locality: r/z}]"), rule("r", all))
	d.accepted(d.rules, "prod/r@istio")
}
