package integration_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"

	"fairlead.io/fairlead/integration/loadclient"
	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	sourcekube "fairlead.io/fairlead/pkg/source/kube"
	"fairlead.io/fairlead/pkg/translate"
)

// scopeRig is a cluster in which every namespace sees itself only, its server, an Envoy on node-0, and bare clients on
// load-0 and load-1.
type scopeRig struct {
	*cluster
	mesh  *mesh.Mesh
	fleet *loadclient.Fleet
}

func newScopeRig(t *testing.T, manifests string) *scopeRig {
	t.Helper()
	r := &scopeRig{cluster: newCluster(t)}
	r.apply(manifests)
	for _, node := range []string{"node-0", "load-0", "load-1"} { // what is not Ready has no part in conditions
		m := "apiVersion: v1\nkind: Node\nmetadata: {name: " + node + "}\n"
		r.apply(m)
		r.applyStatus(m + "status: {conditions: [{type: Ready, status: 'True'}]}")
	}
	source, err := sourcekube.New(sourcekube.Config{REST: r.Config(), Compat: []string{"istio"}})
	if err != nil {
		t.Fatal(err)
	}
	r.mesh = mesh.Start(t, mesh.Options{
		Source: source, Conditions: &server.Conditions{REST: r.Config(), Compat: true},
		Config: func(cfg *resolve.Config) { cfg.RootNamespace = "istio-system" },
	})
	r.fleet, err = loadclient.Start(t.Context(), loadclient.Config{Addresses: []string{r.mesh.Server.XDS()}, N: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.fleet.Close)
	return r
}

// holds waits until a client has, or has not, all that leads to a host: cluster, endpoints, scope, routes, and the virtual
// host by name.
func (r *scopeRig) holds(client int, ns, name, vip string, want bool) {
	r.t.Helper()
	host := name + "." + ns + ".svc.cluster.local"
	table := "svc/" + ns + "/" + host + "/80"
	mesh.Eventually(r.t, func() error {
		for typeURL, resource := range map[string]string{
			xds.ClusterType: table, xds.EndpointType: table, translate.ScopeType: vip + ":80", xds.RouteType: table,
			translate.VirtualHostType: model.HostTable + "/" + host + ":80",
		} {
			if _, has := r.fleet.Clients()[client].Resources(typeURL)[resource]; has != want {
				return fmt.Errorf("load-%d has %s %s: %v", client, typeURL, resource, has)
			}
		}
		return nil
	})
}

// hasCluster tells whether a client has a cluster and its endpoints.
func (r *scopeRig) hasCluster(client int, name string) bool {
	c := r.fleet.Clients()[client]
	_, cluster := c.Resources(xds.ClusterType)[name]
	_, endpoints := c.Resources(xds.EndpointType)[name]
	return cluster && endpoints
}

// acknowledged waits until node-0 sees, or does not see, a namespace, and its Envoy has acknowledged all of it.
func (r *scopeRig) acknowledged(ns string, want bool) {
	r.t.Helper()
	mesh.Eventually(r.t, func() error {
		latest := r.mesh.Server.Flow().Source.Latest()
		scope := latest.Scope("node-0")
		if scope == nil {
			return errors.New("node-0 is not known")
		}
		if sees := slices.ContainsFunc(scope.Groups, func(g model.ScopeGroup) bool { return g.Namespace == ns }); sees != want {
			return fmt.Errorf("scope %+v", scope)
		}
		for _, c := range r.mesh.Server.Push().Clients() {
			if c.Node.ID == "node-0" && c.Settled >= latest.Seq() {
				return nil
			}
		}
		return errors.New("node-0 has not acknowledged it")
	})
}

// ask sends one request to a virtual IP through the node's Envoy.
func (r *scopeRig) ask(vip string, header ...string) (status int, body string, err error) {
	d := &dialer{stub: r.mesh.Stub, to: vip + ":80"}
	tr := &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequest(http.MethodGet, "http://"+vip+"/", nil)
	if err != nil {
		return 0, "", err
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	var echo mesh.Echo
	if res.StatusCode == http.StatusOK {
		err = json.NewDecoder(res.Body).Decode(&echo)
	}
	return res.StatusCode, echo.Backend, err
}

func (r *scopeRig) waitAnswer(want string, vip string, header ...string) {
	r.t.Helper()
	mesh.Eventually(r.t, func() error {
		if status, backend, err := r.ask(vip, header...); err != nil || fmt.Sprintf("%d %s", status, backend) != want {
			return fmt.Errorf("%s: %d from %q, %v; want %s", vip, status, backend, err, want)
		}
		return nil
	})
}

// podPhase is what the API server says of a pod.
func (r *scopeRig) podPhase(ns, name string) (phase string) {
	r.t.Helper()
	r.each("apiVersion: v1\nkind: Pod\nmetadata: {name: "+name+", namespace: "+ns+"}", func(place dynamic.ResourceInterface, u *unstructured.Unstructured) error {
		got, err := place.Get(r.t.Context(), u.GetName(), metav1.GetOptions{})
		if err == nil {
			phase, _, err = unstructured.NestedString(got.Object, "status", "phase")
		}
		return err
	})
	return phase
}

// applyStatus writes the status of objects, as a kubelet does.
func (r *scopeRig) applyStatus(manifests string) {
	r.t.Helper()
	r.each(manifests, func(place dynamic.ResourceInterface, u *unstructured.Unstructured) error {
		_, err := place.ApplyStatus(r.t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "kubelet", Force: true})
		return err
	})
}

// boundPod is a pod as the scheduler leaves it: it has a node, and nothing of it runs.
func boundPod(ns, name, node string) string {
	return fmt.Sprintf("---\napiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: %s}\n"+
		"spec: {nodeName: %s, terminationGracePeriodSeconds: 0, containers: [{name: c, image: i}]}\n", name, ns, node)
}

func scopeService(ns, name, vip string, b *mesh.Backend) string {
	return "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: " + ns + "}\n" + mesh.Service{Namespace: ns, Name: name, ClusterIP: vip}.YAML(b.Address)
}

// TestScope: a node is sent what its pods can reach, before they need it, and no more.
func TestScope(t *testing.T) {
	at := podAddress(t)
	a, b, canary := mesh.NewBackendAt(t, "a", at), mesh.NewBackendAt(t, "b", at), mesh.NewBackendAt(t, "canary", at)
	const vipA, vipB, vipCanary = "10.96.70.1", "10.96.70.2", "10.96.70.3"
	r := newScopeRig(t, scopeService("a", "web-a", vipA, a)+scopeService("b", "web-b", vipB, b)+scopeService("far", "canary", vipCanary, canary)+`
---
apiVersion: v1
kind: Namespace
metadata: {name: istio-system}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: istio-system}
spec: {egress: [{hosts: ["./*"]}]}
---
# The stub listener is on every node, for a client of namespace default; it shall add nothing.
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default, namespace: default}
spec: {egress: [{hosts: ["~/*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web-a, namespace: a}
spec:
  hosts: [web-a]
  http:
  - match: [{headers: {x-canary: {exact: "1"}}}]
    route: [{destination: {host: canary.far.svc.cluster.local}}]
  - route: [{destination: {host: web-a}}]
`+boundPod("a", "a-0", "load-0"))

	// An Envoy starts on a node that sees no host: its listeners do not wait for one.
	r.acknowledged("a", false)
	r.waitAnswer("404 ", vipA)
	r.apply(boundPod("a", "a-1", "node-0"))

	// What a's pods reach, also through another namespace's cluster; the empty node has none of it.
	r.holds(0, "a", "web-a", vipA, true)
	r.holds(0, "b", "web-b", vipB, false)
	const far = "svc/far/canary.far.svc.cluster.local/80"
	mesh.Eventually(t, func() error {
		if !r.hasCluster(0, far) {
			return errors.New("load-0 lacks a cluster that it is routed to")
		}
		return nil
	})
	if _, has := r.fleet.Clients()[0].Resources(translate.ScopeType)[vipCanary+":80"]; has {
		t.Error("load-0 has the canary's own address")
	}
	if err := r.fleet.Complete(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.holds(1, "a", "web-a", vipA, false)
	if r.hasCluster(1, far) {
		t.Error("load-1 has no pods, and the canary")
	}
	r.acknowledged("a", true)
	r.waitAnswer("200 a", vipA)
	r.waitAnswer("200 canary", vipA, "x-canary: 1")
	r.waitAnswer("404 ", vipB)

	// A pod of b is bound: everything is there while it is still pending, so that its first request is served.
	r.apply(boundPod("b", "b-0", "load-0") + boundPod("b", "b-1", "node-0"))
	r.holds(0, "b", "web-b", vipB, true)
	r.acknowledged("b", true)
	if phase := r.podPhase("b", "b-1"); phase != "Pending" {
		t.Errorf("the pod is %s, and should not have run yet", phase)
	}
	if status, backend, err := r.ask(vipB); err != nil || status != 200 || backend != "b" {
		t.Errorf("first request of the new pod: %d from %q, %v", status, backend, err)
	}
	r.applyStatus("apiVersion: v1\nkind: Pod\nmetadata: {name: b-1, namespace: b}\n" +
		"status: {phase: Running, podIPs: [{ip: 198.51.100.255}], podIP: 198.51.100.255, conditions: [{type: Ready, status: 'True'}]}")
	r.holds(1, "b", "web-b", vipB, false)

	// It goes, and a node gives up what only it needed.
	r.delete(boundPod("b", "b-0", "load-0") + boundPod("b", "b-1", "node-0"))
	r.holds(0, "b", "web-b", vipB, false)
	r.holds(0, "a", "web-a", vipA, true)
	r.acknowledged("b", false)
	r.waitAnswer("404 ", vipB)
	r.waitAnswer("200 a", vipA)

	// The operator widens a namespace, and is told what counts.
	wider := `
apiVersion: fairlead.io/v1alpha1
kind: Sidecar
metadata: {name: wider, namespace: a}
spec: {egress: [{hosts: ["./*", "b/web-b.b.svc.cluster.local"]}]}
`
	r.apply(wider)
	r.holds(0, "b", "web-b", vipB, true)
	r.said("a", "wider", "Accepted True", "Programmed True")
	r.apply(strings.ReplaceAll(wider, "wider", "zz-younger"))
	r.said("a", "zz-younger", "Accepted False", "Programmed False")
	r.delete(wider)
	r.said("a", "zz-younger", "Accepted True", "Programmed True")
	r.delete(strings.ReplaceAll(wider, "wider", "zz-younger"))
	r.holds(0, "b", "web-b", vipB, false)
}

// said waits until a Sidecar has these conditions.
func (r *scopeRig) said(ns, name string, want ...string) {
	r.t.Helper()
	mesh.Eventually(r.t, func() (err error) {
		r.each("apiVersion: fairlead.io/v1alpha1\nkind: Sidecar\nmetadata: {name: "+name+", namespace: "+ns+"}", func(place dynamic.ResourceInterface, u *unstructured.Unstructured) error {
			got, e := place.Get(r.t.Context(), name, metav1.GetOptions{})
			if e != nil {
				err = e
				return nil
			}
			have := conditionsIn(got.Object["status"], got.GetGeneration())
			for _, w := range want {
				if !have[w] {
					err = fmt.Errorf("sidecar %s lacks %q: %v", name, w, got.Object["status"])
				}
			}
			return nil
		})
		return err
	})
}
