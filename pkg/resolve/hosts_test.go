package resolve_test

import (
	"slices"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/table"
)

const reviews = `
apiVersion: v1
kind: Service
metadata: {name: reviews, namespace: prod}
spec:
  clusterIP: 10.0.0.1
  selector: {app: reviews}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: db, port: 81, appProtocol: kubernetes.io/h2c}
  - {name: grpc-web-x, port: 82, targetPort: named}
  - {name: plain, port: 83}
  - {name: dns, port: 53, protocol: UDP}
`

const reviewsSlice = `
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews-1, namespace: prod, labels: {kubernetes.io/service-name: reviews}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: db, port: 81}]
endpoints:
- {addresses: [10.1.0.1], conditions: {ready: true}, targetRef: {kind: Pod, name: r1}, nodeName: n1, zone: z1}
- {addresses: [10.1.0.2], conditions: {ready: true}, targetRef: {kind: Pod, name: r2}}
- {addresses: [10.1.0.3], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [10.1.0.4], conditions: {ready: false}}
- {addresses: [10.1.0.5], conditions: {ready: false, serving: false, terminating: true}}
`

const reviewsPods = `
apiVersion: v1
kind: Pod
metadata: {name: r1, namespace: prod, labels: {app: reviews, version: v1}}
status: {podIP: 10.1.0.1}
---
apiVersion: v1
kind: Pod
metadata: {name: r2, namespace: prod, labels: {app: reviews, version: v2}}
status: {podIP: 10.1.0.2}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/region: r, topology.kubernetes.io/zone: other}}
`

const reviewsHTTP = "svc/prod/reviews.prod.svc.cluster.local/80"

func TestServiceBecomesHostClustersAndEndpoints(t *testing.T) {
	d := newDestinations(t, reviews, reviewsSlice, reviewsPods)
	h, ok := d.hosts.Get(d.engine.Snapshot(), "prod/reviews.prod.svc.cluster.local")
	if !ok || len(h.Addresses) != 1 || h.Addresses[0].String() != "10.0.0.1/32" {
		t.Fatalf("host: %+v", h)
	}
	want := []model.Protocol{model.ProtoHTTP, model.ProtoHTTP2, model.ProtoHTTP2, model.ProtoTCP}
	for i, p := range h.Ports {
		if i >= len(want) || p.Protocol != want[i] {
			t.Errorf("port %d speaks %s", p.Number, p.Protocol)
		}
	}
	if c := d.cluster(reviewsHTTP); c.Resolution != model.ResolveEDS || c.Protocol != model.ProtoHTTP {
		t.Errorf("cluster: %+v", c)
	}
	if got := d.addresses(reviewsHTTP); got != "10.1.0.1:8080 10.1.0.2:8080 !10.1.0.3:8080" {
		t.Errorf("endpoints: %s", got)
	}
	if got := d.addresses("svc/prod/reviews.prod.svc.cluster.local/83"); got != "" {
		t.Errorf("a port that no slice has must have an empty set, not %q", got)
	}
	e, _ := d.endpoints.Get(d.engine.Snapshot(), reviewsHTTP)
	if got := e.Endpoints[0].Locality; got != (model.Locality{Region: "r", Zone: "z1"}) {
		t.Errorf("region comes from the node, zone from the slice: %+v", got)
	}
}

func TestTerminatingServeWhereThereIsNothingElse(t *testing.T) {
	d := newDestinations(t, reviews, strings.Replace(reviewsSlice, "{ready: true}", "{ready: false, serving: true, terminating: true}", 2))
	if got := d.addresses(reviewsHTTP); got != "10.1.0.1:8080 10.1.0.2:8080 10.1.0.3:8080" {
		t.Errorf("endpoints: %s", got)
	}
}

func TestPublishNotReadyAndHeadless(t *testing.T) {
	s := strings.NewReplacer("clusterIP: 10.0.0.1", "clusterIP: None\n  publishNotReadyAddresses: true").Replace(reviews)
	d := newDestinations(t, s, reviewsSlice)
	if got := d.addresses(reviewsHTTP); !strings.Contains(got, "10.1.0.4:8080") {
		t.Errorf("endpoints: %s", got)
	}
	if h, _ := d.hosts.Get(d.engine.Snapshot(), "prod/reviews.prod.svc.cluster.local"); !h.Headless || len(h.Addresses) > 0 {
		t.Errorf("host: %+v", h)
	}
}

func TestExternalNameIsResolved(t *testing.T) {
	d := newDestinations(t, `
apiVersion: v1
kind: Service
metadata: {name: out, namespace: prod}
spec: {type: ExternalName, externalName: api.example.com, ports: [{name: http, port: 80}]}
`)
	c := d.cluster("svc/prod/out.prod.svc.cluster.local/80")
	if c.Resolution != model.ResolveDNS || list(c.DNS) != "api.example.com:80" {
		t.Errorf("cluster: %+v", c)
	}
	if got := d.addresses(c.ID.String()); got != "none" {
		t.Errorf("a DNS cluster has no EDS, got %q", got)
	}
}

func TestServiceSelectsWorkloadEntries(t *testing.T) {
	d := newDestinations(t, reviews, reviewsSlice, `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: vm, namespace: prod}
spec: {address: 192.0.2.1, labels: {app: reviews}, ports: {db: 9081, named: 9082}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: elsewhere, namespace: test}
spec: {address: 192.0.2.2, labels: {app: reviews}}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: other, namespace: prod}
spec: {address: 192.0.2.3, labels: {app: ratings}}
`)
	for port, want := range map[string]string{
		"80": "10.1.0.1:8080 10.1.0.2:8080 !10.1.0.3:8080 192.0.2.1:8080", // the number of the targetPort
		"81": "10.1.0.1:81 10.1.0.2:81 !10.1.0.3:81 192.0.2.1:9081",       // the name of the port
		"82": "192.0.2.1:9082",                                            // the name of the targetPort
		"83": "192.0.2.1:83",
	} {
		if got := d.addresses(strings.TrimSuffix(reviewsHTTP, "80") + port); got != want {
			t.Errorf("port %s: %s, want %s", port, got, want)
		}
	}
}

// probe reads through Hosts as routes do.
func probe(t *testing.T, fn func(r *table.Reader, h *resolve.Hosts) string, manifests ...string) string {
	t.Helper()
	d := newDestinationsWith(t, func(e *table.Engine, res *resolve.Resolved) *table.Output[string] {
		return table.Publish(table.NewDerived(e, "probe", func(r *table.Reader, _ string) (string, bool) {
			return fn(r, res.Hosts), true
		}, []table.Trigger{table.NewIndex(res.Inputs.Namespaces, "all namespaces", func(string, *model.Namespace) []string { return []string{"x"} })}))
	}, append(manifests, "apiVersion: v1\nkind: Namespace\nmetadata: {name: any}")...)
	got, _ := d.probe.Get(d.engine.Snapshot(), "x")
	return got
}

func TestLookup(t *testing.T) {
	world := []string{`
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: wide, namespace: a}
spec: {hosts: ["*.example.com", "*.com"], ports: [{number: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: shared, namespace: b}
spec: {hosts: [api.example.com], ports: [{number: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: younger, namespace: a2}
spec: {hosts: [api.example.com], ports: [{number: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: own, namespace: c}
spec: {hosts: [api.example.com], exportTo: ["."], ports: [{number: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: none, namespace: d}
spec: {hosts: [hidden.test], exportTo: ["~"], ports: [{number: 80, name: http}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: fake, namespace: aa}
spec: {hosts: [reviews.prod.svc.cluster.local], ports: [{number: 80, name: http}]}
`, reviews}
	for _, c := range []struct{ from, name, want string }{
		{"x", "api.example.com", "b/api.example.com"},
		{"x", "API.example.com.", "b/api.example.com"},
		{"c", "api.example.com", "c/api.example.com"},
		{"x", "other.example.com", "a/*.example.com"},
		{"x", "a.b.example.com", "a/*.example.com"},
		{"x", "example.com", "a/*.com"},
		{"x", "*.example.com", "a/*.example.com"},
		{"x", "*.sub.example.com", "a/*.example.com"},
		{"x", "example.org", "none"},
		{"x", "hidden.test", "none"},
		{"x", "reviews.prod.svc.cluster.local", "prod/reviews.prod.svc.cluster.local"},
		{"aa", "reviews.prod.svc.cluster.local", "aa/reviews.prod.svc.cluster.local"},
	} {
		got := probe(t, func(r *table.Reader, h *resolve.Hosts) string {
			v, ok := h.Lookup(r, c.from, c.name)
			if !ok {
				return "none"
			}
			return v.Key()
		}, world...)
		if got != c.want {
			t.Errorf("%s means by %s: %s, want %s", c.from, c.name, got, c.want)
		}
	}
}

func TestFQDN(t *testing.T) {
	for name, want := range map[string]string{
		"reviews": "reviews.x.svc.cluster.local", "reviews.prod": "reviews.prod.svc.cluster.local",
		"reviews.prod.svc": "reviews.prod.svc.cluster.local", "Reviews.prod.svc.cluster.local.": "reviews.prod.svc.cluster.local",
		"ratings.prod": "ratings.prod", "example.com": "example.com", "*": "*", "*.prod": "*.prod",
	} {
		if got := probe(t, func(r *table.Reader, h *resolve.Hosts) string { return h.FQDN(r, name, "x") }, reviews); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestOldestDefinitionOfAHostWins(t *testing.T) {
	se := func(name, address string) string {
		return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " + name + ", namespace: prod}\n" +
			"spec: {hosts: [x.test], resolution: STATIC, ports: [{number: 80, name: http}], endpoints: [{address: " + address + "}]}\n"
	}
	d := newDestinations(t, se("older", "192.0.2.1"), se("a-younger", "192.0.2.2"))
	if got := d.addresses("svc/prod/x.test/80"); got != "192.0.2.1:80" {
		t.Errorf("endpoints: %s", got)
	}
	d.accepted(d.entries, "prod/older@istio")
	if c := d.said(d.entries, "prod/a-younger@istio", "spec.hosts[0]", "ServiceEntry prod/older"); c.Status || c.Reason != "Conflict" {
		t.Errorf("condition: %+v", c)
	}
	d.remove(model.Ref{Group: model.IstioGroup, Kind: "ServiceEntry", Namespace: "prod", Name: "older"})
	if got := d.addresses("svc/prod/x.test/80"); got != "192.0.2.2:80" {
		t.Errorf("endpoints after the older is gone: %s", got)
	}
	d.accepted(d.entries, "prod/a-younger@istio")
}

func TestSubsetsFollowPodLabels(t *testing.T) {
	rule := `
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: r, namespace: prod}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}
`
	d := newDestinations(t, reviews, reviewsSlice, reviewsPods, rule)
	if got := d.addresses(reviewsHTTP + "/v1"); got != "10.1.0.1:8080" {
		t.Errorf("v1: %s", got)
	}
	d.apply(strings.Replace(strings.SplitN(reviewsPods, "---", 2)[0], "version: v1", "version: v2", 1))
	if got := d.addresses(reviewsHTTP + "/v1"); got != "" {
		t.Errorf("v1 after the pod's label changed: %s", got)
	}
	if got := d.addresses(reviewsHTTP + "/v2"); got != "10.1.0.1:8080 10.1.0.2:8080" {
		t.Errorf("v2: %s", got)
	}
	d.remove(model.Ref{Group: model.IstioGroup, Kind: "DestinationRule", Namespace: "prod", Name: "r"})
	if got := d.addresses(reviewsHTTP + "/v2"); got != "none" {
		t.Errorf("v2 without the rule: %s", got)
	}
	names := []string{}
	d.clusters.Range(d.engine.Snapshot(), func(k string, _ *model.Cluster) bool { names = append(names, k); return true })
	if slices.ContainsFunc(names, func(n string) bool { return strings.HasSuffix(n, "/v2") }) {
		t.Errorf("clusters: %v", names)
	}
}
