package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"

	"fairlead.io/fairlead/integration/kube"
	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	sourcekube "fairlead.io/fairlead/pkg/source/kube"
)

// cluster is a real API server, as kubectl sees it.
type cluster struct {
	*kube.Server
	t       *testing.T
	dynamic dynamic.Interface
	mapper  meta.RESTMapper
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{Server: kube.Start(t, kube.Options{}), t: t}
	gateways, err := kube.GatewayAPICRDs("standard")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.InstallCRDs(t.Context(), "../crds", "../crds/compat", gateways); err != nil {
		t.Fatal(err)
	}
	if c.dynamic, err = dynamic.NewForConfig(c.Config()); err != nil {
		t.Fatal(err)
	}
	disco, err := discovery.NewDiscoveryClientForConfig(c.Config())
	if err != nil {
		t.Fatal(err)
	}
	groups, err := restmapper.GetAPIGroupResources(disco)
	if err != nil {
		t.Fatal(err)
	}
	c.mapper = restmapper.NewDiscoveryRESTMapper(groups)
	return c
}

// each calls fn with every object of manifests and its place in the API.
func (c *cluster) each(manifests string, fn func(dynamic.ResourceInterface, *unstructured.Unstructured) error) {
	c.t.Helper()
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader([]byte(manifests)), 4096)
	for {
		u := &unstructured.Unstructured{}
		if err := documents.Decode(&u.Object); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			c.t.Fatal(err)
		}
		if len(u.Object) == 0 {
			continue
		}
		kind := u.GroupVersionKind()
		mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			c.t.Fatal(err)
		}
		var place dynamic.ResourceInterface = c.dynamic.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			place = c.dynamic.Resource(mapping.Resource).Namespace(u.GetNamespace())
		}
		if err := fn(place, u); err != nil {
			c.t.Fatal(err)
		}
	}
}

func (c *cluster) apply(manifests string) {
	c.t.Helper()
	c.each(manifests, func(place dynamic.ResourceInterface, u *unstructured.Unstructured) error {
		_, err := place.Apply(c.t.Context(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "kubectl", Force: true})
		return err
	})
}

func (c *cluster) delete(manifests string) {
	c.t.Helper()
	c.each(manifests, func(place dynamic.ResourceInterface, u *unstructured.Unstructured) error {
		return place.Delete(c.t.Context(), u.GetName(), metav1.DeleteOptions{})
	})
}

// podAddress is an address of this machine that an EndpointSlice may hold, which is none of 127.0.0.0/8.
func podAddress(t *testing.T) netip.Addr {
	t.Helper()
	address := fmt.Sprintf("198.51.100.%d", 1+rand.IntN(254)) // TEST-NET-2, on the loopback interface
	if out, err := exec.Command("ip", "address", "replace", address+"/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("add an address: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "address", "delete", address+"/32", "dev", "lo").CombinedOutput(); err != nil {
			t.Errorf("remove the address: %v: %s", err, out)
		}
	})
	return netip.MustParseAddr(address)
}

// TestKubeEndToEnd serves a cluster: objects go through a real API server, requests through a real Envoy, conditions back.
func TestKubeEndToEnd(t *testing.T) {
	c := newCluster(t)
	pod := podAddress(t)
	a, b := mesh.NewBackendAt(t, "a", pod), mesh.NewBackendAt(t, "b", pod)
	source, err := sourcekube.New(sourcekube.Config{REST: c.Config(), Compat: []string{"istio"}})
	if err != nil {
		t.Fatal(err)
	}
	m := mesh.Start(t, mesh.Options{
		Source: source, Conditions: &server.Conditions{REST: c.Config(), Compat: true},
		Config: func(cfg *resolve.Config) { cfg.RootNamespace = "istio-system" },
	})
	service := func(b *mesh.Backend) string {
		return strings.ReplaceAll(mesh.Service{Name: "web"}.YAML(b.Address), "clusterIP: None", "type: ClusterIP")
	}
	c.apply(gatewayYAML("- {name: http, port: 80, protocol: HTTP}") + service(a) + routeYAML("web", "web.test", "- backendRefs: [{name: web, port: 80}]"))
	edge := mesh.Request{Host: "web.test"}
	inside := mesh.Request{To: m.Stub.String(), Host: "web.default"}
	m.WaitBackend(t, edge, "a")
	m.WaitBackend(t, inside, "a")
	c.conditions("HTTPRoute", "web", "Accepted True", "ResolvedRefs True")
	c.conditions("Gateway", "edge", "Accepted True", "Programmed True")

	split := `
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: web, namespace: default}
spec:
  hosts: [web]
  http:
  - {match: [{uri: {exact: /teapot}}], directResponse: {status: 418}}
  - {route: [{destination: {host: web}}]}
`
	c.apply(split)
	m.WaitStatus(t, mesh.Request{To: m.Stub.String(), Host: "web.default", Path: "/teapot"}, 418)
	c.conditions("VirtualService", "web", "Accepted True", "Programmed True")
	c.apply(strings.Replace(split, "status: 418", "status: 451", 1))
	m.WaitStatus(t, mesh.Request{To: m.Stub.String(), Host: "web.default", Path: "/teapot"}, 451)

	c.apply(service(b))
	m.WaitBackend(t, edge, "b")
	c.apply(routeYAML("web", "web.test", "- backendRefs: [{name: nobody, port: 80}]"))
	m.WaitStatus(t, edge, 500)
	c.conditions("HTTPRoute", "web", "ResolvedRefs False")
	c.apply(routeYAML("web", "web.test", "- backendRefs: [{name: web, port: 80}]"))
	m.WaitBackend(t, edge, "b")

	// While the API server is away everything is served; what was changed meanwhile comes when it is back.
	if err := c.Down(); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		m.WaitBackend(t, edge, "b")
		m.WaitBackend(t, inside, "b")
	}
	if err := c.Up(); err != nil {
		t.Fatal(err)
	}
	c.apply(service(a))
	m.WaitBackend(t, edge, "a")
	c.delete(split)
	m.WaitBackend(t, mesh.Request{To: m.Stub.String(), Host: "web.default", Path: "/teapot"}, "a")
	c.delete(routeYAML("web", "web.test", "- {}"))
	m.WaitStatus(t, edge, 404)
	c.delete(gatewayNamed("edge", "- {}"))
	mesh.Eventually(t, func() error {
		conn, err := net.Dial("tcp", netip.AddrPortFrom(m.Address, 80).String())
		if err == nil {
			_ = conn.Close()
			return errors.New("the port of the deleted Gateway is still open")
		}
		return nil
	})
}

// conditions waits until the API server holds each of want ("Type Status") for an object in namespace default, at its
// present generation.
func (c *cluster) conditions(kind, name string, want ...string) {
	c.t.Helper()
	group := map[string]string{"VirtualService": "networking.istio.io/v1beta1"}[kind]
	if group == "" {
		group = "gateway.networking.k8s.io/v1"
	}
	manifest := fmt.Sprintf("apiVersion: %s\nkind: %s\nmetadata: {name: %s, namespace: default}\n", group, kind, name)
	mesh.Eventually(c.t, func() (err error) {
		c.each(manifest, func(place dynamic.ResourceInterface, u *unstructured.Unstructured) error {
			got, e := place.Get(c.t.Context(), u.GetName(), metav1.GetOptions{})
			if e != nil {
				err = e
				return nil
			}
			have := conditionsIn(got.Object["status"], got.GetGeneration())
			for _, w := range want {
				if !have[w] {
					err = fmt.Errorf("%s %s lacks %q at generation %d: %v", kind, name, w, got.GetGeneration(), got.Object["status"])
				}
			}
			return nil
		})
		return err
	})
}

// conditionsIn gathers "Type Status" of all conditions below a status that were observed at a generation.
func conditionsIn(status any, generation int64) map[string]bool {
	out := map[string]bool{}
	switch v := status.(type) {
	case map[string]any:
		observed, hasObserved := v["observedGeneration"].(int64)
		if kind, ok := v["type"].(string); ok && (!hasObserved || observed == generation) {
			out[kind+" "+fmt.Sprint(v["status"])] = true
		}
		for _, e := range v {
			for k := range conditionsIn(e, generation) {
				out[k] = true
			}
		}
	case []any:
		for _, e := range v {
			for k := range conditionsIn(e, generation) {
				out[k] = true
			}
		}
	}
	return out
}
