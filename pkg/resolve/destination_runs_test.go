package resolve_test

import (
	"fmt"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/model"
)

// runs counts what the tables of this part have computed so far.
func (d *destinations) runs() map[string]uint64 {
	out := map[string]uint64{}
	for _, s := range d.engine.Stats() {
		switch s.Name {
		case "hosts", "policies", "clusters", "endpoints":
			out[s.Name] = s.Runs
		}
	}
	return out
}

// TestWorkIsProportional: a change costs the runs of what it is about, among a hundred services of two ports.
func TestWorkIsProportional(t *testing.T) {
	var all []string
	named := func(i int, text string) string {
		return strings.NewReplacer("name: reviews,", fmt.Sprintf("name: s%d,", i), "name: reviews-1", fmt.Sprintf("name: s%d-1", i),
			"service-name: reviews", fmt.Sprintf("service-name: s%d", i)).Replace(text)
	}
	for i := range 100 {
		all = append(all, named(i, reviews), named(i, reviewsSlice), rule(fmt.Sprintf("s%d", i), fmt.Sprintf("{host: s%d, subsets: [{name: v1, labels: {version: v1}}]}", i)))
	}
	d := newDestinations(t, append(all, reviewsPods)...)
	ports := uint64(4)
	for _, c := range []struct {
		name, manifest string
		want           map[string]uint64
	}{
		{"an EndpointSlice", named(7, strings.Replace(reviewsSlice, "10.1.0.2", "10.1.9.9", 1)), map[string]uint64{"endpoints": 2 * ports}},
		{"a rule", rule("s7", "{host: s7, subsets: [{name: v1, labels: {version: v1}}, {name: v2}]}"), map[string]uint64{"policies": 1, "clusters": 3 * ports, "endpoints": 3 * ports}},
		{"a node's heartbeat", "apiVersion: v1\nkind: Node\nmetadata: {name: n1, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: other}}\nstatus: {conditions: [{type: Ready, status: 'False'}]}", nil},
		{"a Service's annotation", named(7, strings.Replace(reviews, "namespace: prod}", "namespace: prod, annotations: {a: b}}", 1)), map[string]uint64{"hosts": 1}},
	} {
		before := d.runs()
		d.apply(c.manifest)
		for table, n := range d.runs() {
			if got := n - before[table]; got != c.want[table] {
				t.Errorf("%s: %d runs of %s, want %d", c.name, got, table, c.want[table])
			}
		}
	}
	if got := d.addresses("svc/prod/s7.prod.svc.cluster.local/80"); !strings.Contains(got, "10.1.9.9") {
		t.Errorf("endpoints: %s", got)
	}
}

// TestEndpointsAreUrgent: an endpoint change can overtake a long pass, as it reads nothing outside the urgent lane.
func TestEndpointsAreUrgent(t *testing.T) {
	d := newDestinations(t, reviews, reviewsSlice)
	left := false
	for _, s := range d.engine.Stats() {
		switch s.Name {
		case "clusters":
			left = true
		case "hosts", "policies", "endpoints", "node localities":
			if left {
				t.Errorf("%s comes after tables that are not of the urgent lane", s.Name)
			}
			if !s.Urgent {
				t.Errorf("%s is not of the urgent lane", s.Name)
			}
		}
	}
	d.remove(model.Ref{Group: model.DiscoveryGroup, Kind: "EndpointSlice", Namespace: "prod", Name: "reviews-1"})
	if got := d.addresses(reviewsHTTP); got != "" {
		t.Errorf("a Service without slices keeps an empty set, not %q", got)
	}
}
