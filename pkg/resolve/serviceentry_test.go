package resolve_test

import (
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/model"
)

func entry(name, spec string) string {
	return "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: " + name + ", namespace: prod}\nspec: " + spec
}

func workload(namespace, name, spec string) string {
	return "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: " + name + ", namespace: " + namespace + "}\nspec: " + spec
}

const (
	webPort  = "ports: [{number: 80, name: http, targetPort: 8080}]"
	xCluster = "svc/prod/x.test/80"
)

func TestResolutions(t *testing.T) {
	for name, c := range map[string]struct {
		spec      string
		want      model.Resolution
		names     string // that the cluster resolves
		endpoints string
	}{
		"absent is none":   {"{hosts: [x.test], " + webPort + "}", model.ResolveNone, "", "none"},
		"static":           {"{hosts: [x.test], resolution: STATIC, " + webPort + ", endpoints: [{address: 192.0.2.2}, {address: 192.0.2.1, ports: {http: 9}}, {address: '2001:DB8::1'}]}", model.ResolveEDS, "", "192.0.2.1:9 192.0.2.2:8080 2001:db8::1:8080"},
		"static, no names": {"{hosts: [x.test], resolution: STATIC, " + webPort + ", endpoints: [{address: a.test}]}", model.ResolveEDS, "", ""},
		"the host itself":  {"{hosts: [x.test], resolution: DNS, " + webPort + "}", model.ResolveDNS, "x.test:8080", "none"},
		"endpoints":        {"{hosts: [x.test], resolution: DNS, " + webPort + ", endpoints: [{address: b.test}, {address: a.test, ports: {http: 9}}]}", model.ResolveDNS, "a.test:9 b.test:8080", "none"},
		"round robin":      {"{hosts: [x.test], resolution: DNS_ROUND_ROBIN, " + webPort + "}", model.ResolveDNSRoundRobin, "x.test:8080", "none"},
		"selected by DNS":  {"{hosts: [x.test], resolution: DNS, " + webPort + ", workloadSelector: {labels: {app: vm}}}", model.ResolveDNS, "vm.test:8080", "none"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDestinations(t, entry("x", c.spec), workload("prod", "named", "{address: vm.test, labels: {app: vm}}"))
			got := d.cluster(xCluster)
			if got.Resolution != c.want || list(got.DNS) != c.names || d.addresses(xCluster) != c.endpoints {
				t.Errorf("%s, names %q, endpoints %q", got.Resolution, list(got.DNS), d.addresses(xCluster))
			}
		})
	}
}

func TestNoneKeepsTheAddressAndMayChangeThePort(t *testing.T) {
	d := newDestinations(t, entry("x", "{hosts: ['*.x.test'], "+webPort+", addresses: [10.0.0.7/8]}"))
	c := d.cluster("svc/prod/*.x.test/80")
	if c.UpstreamPort != 8080 || c.Resolution != model.ResolveNone {
		t.Errorf("cluster: %+v", c)
	}
	h, _ := d.hosts.Get(d.engine.Snapshot(), "prod/*.x.test")
	if h.Addresses[0].String() != "10.0.0.0/8" || !h.External {
		t.Errorf("host: %+v", h)
	}
}

func TestSelectorTakesPodsAndWorkloadsOfItsNamespace(t *testing.T) {
	pod := func(namespace, name, ip, more string) string {
		return "apiVersion: v1\nkind: Pod\nmetadata: {name: " + name + ", namespace: " + namespace + ", labels: {app: vm, tier: db}}\n" + more + "status: {podIP: " + ip + "}"
	}
	d := newDestinations(t,
		entry("x", "{hosts: [x.test], resolution: STATIC, "+webPort+", workloadSelector: {labels: {app: vm, tier: db}}}"),
		pod("prod", "p1", "10.1.0.1", ""),
		pod("prod", "p2", "10.1.0.2", "spec: {containers: [{name: c, ports: [{name: http, containerPort: 7070}]}]}\n"),
		pod("test", "p3", "10.1.0.3", ""),
		"apiVersion: v1\nkind: Pod\nmetadata: {name: p4, namespace: prod, labels: {app: vm, tier: db}}\nstatus: {podIP: 10.1.0.4, conditions: [{type: Ready, status: 'False'}]}",
		workload("prod", "w1", "{address: 192.0.2.1, labels: {app: vm, tier: db, more: x}, ports: {http: 6060}, weight: 4, locality: r/z/s}"),
		workload("prod", "w2", "{address: 192.0.2.2, labels: {app: vm}}"),
		workload("test", "w3", "{address: 192.0.2.3, labels: {app: vm, tier: db}}"),
		workload("prod", "w4", "{address: name.test, labels: {app: vm, tier: db}}"))
	if got := d.addresses(xCluster); got != "10.1.0.1:8080 10.1.0.2:7070 192.0.2.1:6060" {
		t.Errorf("endpoints: %s", got)
	}
	e, _ := d.endpoints.Get(d.engine.Snapshot(), xCluster)
	if w := e.Endpoints[2]; w.Weight != 4 || w.Locality != (model.Locality{Region: "r", Zone: "z", SubZone: "s"}) {
		t.Errorf("workload: %+v", w)
	}
	d.said(d.workloads, "prod/w4@istio", "spec.address", "only ServiceEntries with resolution DNS")
	d.accepted(d.workloads, "prod/w1@istio")
	d.remove(model.Ref{Group: model.IstioGroup, Kind: "WorkloadEntry", Namespace: "prod", Name: "w1"})
	d.remove(model.Ref{Kind: "Pod", Namespace: "prod", Name: "p1"})
	if got := d.addresses(xCluster); got != "10.1.0.2:7070" {
		t.Errorf("after two are gone: %s", got)
	}
}

func TestEntryMistakesAreNamed(t *testing.T) {
	for _, c := range []struct {
		spec, path, text string
		served           bool // x.test has a cluster for port 80 all the same
	}{
		{"{hosts: [x.test], resolution: MAGIC, " + webPort + "}", "spec.resolution", "MAGIC", false},
		{"{hosts: [x.test], resolution: DYNAMIC_DNS, " + webPort + "}", "spec.resolution", "DYNAMIC_DNS is not supported", false},
		{"{hosts: [x.test, '*'], " + webPort + "}", "spec.hosts[1]", "names no host", true},
		{"{hosts: [x.test, '*x.test'], " + webPort + "}", "spec.hosts[1]", "whole label", true},
		{"{hosts: [x.test, 'a/b'], " + webPort + "}", "spec.hosts[1]", "no host name", true},
		{"{hosts: [x.test, '*.x.test'], resolution: DNS, " + webPort + "}", "spec.hosts[1]", "cannot be resolved", true},
		{"{hosts: [x.test], addresses: [nonsense], " + webPort + "}", "spec.addresses[0]", "no IP address", true},
		{"{hosts: [x.test], addresses: [10.0.0.0/8], resolution: DNS, " + webPort + "}", "spec.addresses[0]", "NONE or STATIC", true},
		{"{hosts: [x.test], ports: [{number: 80, name: http}, {number: 80, name: again}]}", "spec.ports[1].number", "earlier port", true},
		{"{hosts: [x.test], ports: [{number: 80, name: http}, {number: 0, name: zero}]}", "spec.ports[1]", "1 to 65535", true},
		{"{hosts: [x.test], ports: [{number: 80, name: http}, {number: 53, name: dns, protocol: UDP}]}", "spec.ports[1].protocol", "UDP is not proxied", true},
		{"{hosts: [x.test], ports: [{number: 80, name: http}, {number: 81, name: q, protocol: QUIC}]}", "spec.ports[1].protocol", "QUIC", true},
		{"{hosts: [x.test]}", "spec.ports", "no port", false},
		{"{hosts: [x.test], resolution: NONE, endpoints: [{address: 192.0.2.1}], " + webPort + "}", "spec.endpoints", "NONE", false},
		{"{hosts: [x.test], resolution: DNS_ROUND_ROBIN, endpoints: [{address: a.test}, {address: b.test}], " + webPort + "}", "spec.endpoints", "one name", false},
		{"{hosts: [x.test], resolution: STATIC, endpoints: [{address: 192.0.2.1}], workloadSelector: {labels: {a: b}}, " + webPort + "}", "spec.workloadSelector", "exclude each other", false},
		{"{hosts: [x.test], resolution: STATIC, workloadSelector: {labels: {}}, " + webPort + "}", "spec.workloadSelector.labels", "selects nothing", false},
		{"{hosts: [x.test], resolution: STATIC, endpoints: [{address: 'unix:///run/x.sock'}], " + webPort + "}", "spec.endpoints[0].address", "Unix sockets", true},
		{"{hosts: [x.test], resolution: STATIC, endpoints: [{address: a.test}], " + webPort + "}", "spec.endpoints[0].address", "use resolution DNS", true},
		{"{hosts: [x.test], resolution: STATIC, endpoints: [{network: far}], " + webPort + "}", "spec.endpoints[0].address", "an address is needed", true},
		{"{hosts: [x.test], resolution: STATIC, endpoints: [{address: 192.0.2.1, ports: {gone: 1}}], " + webPort + "}", "spec.endpoints[0].ports.gone", "no port of this name", true},
	} {
		d := newDestinations(t, entry("x", c.spec))
		d.said(d.entries, "prod/x@istio", c.path, c.text)
		if _, ok := d.clusters.Get(d.engine.Snapshot(), xCluster); ok != c.served {
			t.Errorf("%s: served %v, want %v", c.spec, ok, c.served)
		}
	}
}

func TestOneBadEntryLeavesOthersAlone(t *testing.T) {
	d := newDestinations(t, entry("bad", "{hosts: [bad.test], resolution: MAGIC, "+webPort+"}"), entry("x", "{hosts: [x.test], "+webPort+"}"))
	d.cluster(xCluster)
	d.accepted(d.entries, "prod/x@istio")
}

func TestServiceBeatsEntryOfItsName(t *testing.T) {
	d := newDestinations(t, entry("x", "{hosts: [reviews.prod.svc.cluster.local], resolution: STATIC, endpoints: [{address: 192.0.2.1}], ports: [{number: 80, name: http}]}"), reviews, reviewsSlice)
	if got := d.addresses(reviewsHTTP); strings.Contains(got, "192.0.2.1") {
		t.Errorf("endpoints: %s", got)
	}
	d.said(d.entries, "prod/x@istio", "spec.hosts[0]", "Service prod/reviews")
}
