package policy

import (
	"reflect"
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/pkg/model"
)

// TestNetworkPolicyFields changes every field of a NetworkPolicy: each changes what comes of it. A field that is in no case is one
// that a new version of the API brings.
func TestNetworkPolicyFields(t *testing.T) {
	compiled := func(text string) string {
		o := &model.Object[networkingv1.NetworkPolicySpec]{Meta: named("NetworkPolicy", "shop", 1)}
		if err := yaml.UnmarshalStrict([]byte(text), &o.Spec); err != nil {
			t.Fatal(err)
		}
		p := NetworkPolicy(o)
		if len(p.Notes) > 0 {
			t.Errorf("%s: %+v", text, p.Notes)
		}
		return describe(p)
	}
	cases := map[string][2]string{
		"podSelector": {`podSelector: {}`, `podSelector: {matchLabels: {app: a}}`},
		"policyTypes": {`policyTypes: [Ingress]`, `policyTypes: [Egress]`},
	}
	for section, side := range map[string]string{"ingress": "from", "egress": "to"} {
		peer := func(text string) string { return section + `: [{` + side + `: [` + text + `]}]` }
		port := func(text string) string { return section + `: [{ports: [` + text + `]}]` }
		cases[section+"."+side+".podSelector"] = [2]string{peer(`{podSelector: {}}`), peer(`{podSelector: {matchLabels: {app: a}}}`)}
		cases[section+"."+side+".namespaceSelector"] = [2]string{peer(`{podSelector: {}}`), peer(`{podSelector: {}, namespaceSelector: {}}`)}
		cases[section+"."+side+".ipBlock.cidr"] = [2]string{peer(`{ipBlock: {cidr: 10.0.0.0/8}}`), peer(`{ipBlock: {cidr: "fd00::/8"}}`)}
		cases[section+"."+side+".ipBlock.except"] = [2]string{peer(`{ipBlock: {cidr: 10.0.0.0/8}}`), peer(`{ipBlock: {cidr: 10.0.0.0/8, except: [10.1.0.0/16]}}`)}
		cases[section+".ports.protocol"] = [2]string{port(`{port: 80}`), port(`{port: 80, protocol: SCTP}`)}
		cases[section+".ports.port"] = [2]string{port(`{port: 80}`), port(`{port: "80"}`)}
		cases[section+".ports.endPort"] = [2]string{port(`{port: 80}`), port(`{port: 80, endPort: 81}`)}
	}
	var got []string
	leaves(reflect.TypeFor[networkingv1.NetworkPolicySpec](), "", &got)
	for path, c := range cases {
		if !slices.Contains(got, path) {
			t.Errorf("there is no field %s", path)
		}
		if compiled(c[0]) == compiled(c[1]) {
			t.Errorf("%s changes nothing", path)
		}
	}
	for _, path := range got {
		if _, ok := cases[path]; !ok {
			t.Errorf("field %s is in no case", path)
		}
	}
}
