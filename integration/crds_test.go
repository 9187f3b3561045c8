// Package integration_test holds the tests that need real parts and no package of
// the line to live in: here, that a kube-apiserver takes the generated CRDs.
package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/api/v1alpha1"
	"fairlead.io/fairlead/integration/kube"
)

const testdata = "../api/v1alpha1/testdata/"

var plurals = map[string]string{
	"DestinationRule": "destinationrules", "Gateway": "gateways", "ServiceEntry": "serviceentries", "Sidecar": "sidecars",
	"VirtualService": "virtualservices", "WorkloadEntry": "workloadentries", "AuthorizationPolicy": "authorizationpolicies",
}

// istioGroupVersions are those of a kind in Istio's groups.
func istioGroupVersions(kind string) []schema.GroupVersion {
	if kind == "AuthorizationPolicy" {
		return v1alpha1.IstioSecurityGroupVersions()
	}
	return v1alpha1.IstioGroupVersions()
}

// One API server with the CRDs of both groups, as on a cluster without Istio.
func TestCRDs(t *testing.T) {
	server := kube.Start(t, kube.Options{})
	if err := server.InstallCRDs(t.Context(), "../crds", "../crds/compat"); err != nil {
		t.Fatal(err)
	}
	c, err := dynamic.NewForConfig(server.Config())
	if err != nil {
		t.Fatal(err)
	}
	for _, ns := range []string{"shop", "edge"} {
		u := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": ns},
		}}
		res := c.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
		if _, err := res.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("accepted", func(t *testing.T) { testAccepted(t, c) })
	t.Run("Cilium's", func(t *testing.T) { testCilium(t, c) })
	t.Run("refused", func(t *testing.T) { testRefused(t, c) })
	t.Run("unknown fields are kept", func(t *testing.T) { testUnknownKept(t, c) })
	t.Run("status and columns", func(t *testing.T) { testStatus(t, c, server.Config()) })
}

func testAccepted(t *testing.T, c dynamic.Interface) {
	files, err := filepath.Glob(testdata + "accepted/*.yaml")
	if err != nil || len(files) != len(plurals) {
		t.Fatalf("want a file per kind, got %v, %v", files, err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range bytes.Split(raw, []byte("\n---\n")) {
			o := parse(t, doc)
			spec, istio := o.Object["spec"], istioGroupVersions(o.GetKind())
			create(t, c, v1alpha1.GroupVersion(), o)
			// Stored once, in the oldest version; read the same in each.
			create(t, c, istio[len(istio)-1], o)
			for _, gv := range istio {
				got, err := resource(c, gv, o).Get(t.Context(), o.GetName(), metav1.GetOptions{})
				if err != nil {
					t.Errorf("get %s as %s: %v", o.GetName(), gv, err)
					continue
				}
				if diff := cmp.Diff(spec, got.Object["spec"]); diff != "" {
					t.Errorf("%s %s as %s (-written +read):\n%s", o.GetKind(), o.GetName(), gv, diff)
				}
			}
		}
	}
}

// testCilium has an API server keep what Cilium's kinds say, lists that are empty included: they are not absent ones.
func testCilium(t *testing.T, c dynamic.Interface) {
	raw, err := os.ReadFile("../api/cilium/v2/testdata/accepted.yaml")
	if err != nil {
		t.Fatal(err)
	}
	gv := schema.GroupVersion{Group: "cilium.io", Version: "v2"}
	plural := map[string]string{"CiliumNetworkPolicy": "ciliumnetworkpolicies", "CiliumClusterwideNetworkPolicy": "ciliumclusterwidenetworkpolicies"}
	for _, doc := range bytes.Split(raw, []byte("\n---\n")) {
		o := parse(t, doc)
		if o.Object["spec"] != nil {
			if err := unstructured.SetNestedSlice(o.Object, []any{int64(1)}, "spec", "fromTheFuture"); err != nil {
				t.Fatal(err)
			}
		}
		got, err := c.Resource(gv.WithResource(plural[o.GetKind()])).Namespace(o.GetNamespace()).Create(t.Context(), o, metav1.CreateOptions{})
		if err != nil {
			t.Errorf("create %s: %v", o.GetName(), err)
			continue
		}
		for _, field := range []string{"spec", "specs"} {
			if diff := cmp.Diff(o.Object[field], got.Object[field]); diff != "" {
				t.Errorf("%s of %s (-written +read):\n%s", field, o.GetName(), diff)
			}
		}
	}
	neither := parse(t, []byte("apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy\nmetadata: {name: neither, namespace: shop}"))
	if _, err := c.Resource(gv.WithResource("ciliumnetworkpolicies")).Namespace("shop").Create(t.Context(), neither, metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), "spec or specs must be set") {
		t.Errorf("a policy that says nothing: %v", err)
	}
}

func testRefused(t *testing.T, c dynamic.Interface) {
	raw, err := os.ReadFile(testdata + "refused/refused.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Want string         `json:"want"`
		Kind string         `json:"kind"`
		Spec map[string]any `json:"spec"`
	}
	if err := yaml.UnmarshalStrict(raw, &cases); err != nil || len(cases) < 40 {
		t.Fatalf("got %d cases, %v", len(cases), err)
	}
	for i, tc := range cases {
		for _, gv := range append(istioGroupVersions(tc.Kind), v1alpha1.GroupVersion()) {
			o := &unstructured.Unstructured{Object: map[string]any{"kind": tc.Kind, "spec": tc.Spec}}
			o.SetAPIVersion(gv.String())
			o.SetNamespace("shop")
			o.SetName("refused-" + strconv.Itoa(i))
			_, err := resource(c, gv, o).Create(t.Context(), o, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
			if err == nil || !strings.Contains(err.Error(), tc.Want) {
				t.Errorf("%s %v as %s:\n got %v\nwant %s", tc.Kind, tc.Spec, gv, err, tc.Want)
			}
		}
	}
}

// The server names unknown fields in a condition, so the API server must not drop
// them, neither at the top nor within lists and maps.
func testUnknownKept(t *testing.T, c dynamic.Interface) {
	doc := []byte(`
kind: VirtualService
metadata: {name: unknown, namespace: shop}
spec:
  hosts: [a]
  hots: [b]
  http:
  - match: [{headers: {x: {exact: a}}, mathc: 1}]
    route: [{destination: {host: a, sbuset: v1}}]
`)
	for _, gv := range append(v1alpha1.IstioGroupVersions()[:1], v1alpha1.GroupVersion()) {
		o := parse(t, doc)
		spec := o.Object["spec"]
		got := create(t, c, gv, o)
		if diff := cmp.Diff(spec, got.Object["spec"]); diff != "" {
			t.Errorf("%s (-written +read):\n%s", gv, diff)
		}
	}
}

// Status is written by server-side apply and does not touch the spec's
// generation; kubectl get shows it.
func testStatus(t *testing.T, c dynamic.Interface, config *rest.Config) {
	gv := v1alpha1.GroupVersion()
	o := parse(t, []byte("kind: VirtualService\nmetadata: {name: columns, namespace: shop}\n"+
		"spec: {hosts: [a.com], gateways: [edge/gw], http: [{route: [{destination: {host: a}}]}]}"))
	made := create(t, c, gv, o)
	status := parse(t, []byte("metadata: {name: columns, namespace: shop}\nstatus: {observedGeneration: 1, conditions: [{type: Programmed,"+
		" status: 'False', reason: Refused, message: m, observedGeneration: 1, lastTransitionTime: '2026-01-02T03:04:05Z'}]}"))
	status.SetAPIVersion(gv.String())
	status.SetKind(made.GetKind())
	after, err := resource(c, gv, made).ApplyStatus(t.Context(), "columns", status, metav1.ApplyOptions{FieldManager: "fairlead"})
	if err != nil {
		t.Fatal(err)
	}
	if after.GetGeneration() != made.GetGeneration() {
		t.Errorf("status changed the generation: %d to %d", made.GetGeneration(), after.GetGeneration())
	}
	row := tableRow(t, config, "/apis/"+gv.String()+"/namespaces/shop/virtualservices/columns")
	want := map[string]any{"Name": "columns", "Hosts": `["a.com"]`, "Gateways": `["edge/gw"]`, "Programmed": "False", "Reason": "Refused"}
	for column, cell := range want {
		if row[column] != cell {
			t.Errorf("column %s: got %v, want %v", column, row[column], cell)
		}
	}
}

// tableRow returns what kubectl get prints of one object, by column.
func tableRow(t *testing.T, config *rest.Config, path string) map[string]any {
	t.Helper()
	client, err := rest.UnversionedRESTClientFor(unversioned(config))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := client.Get().AbsPath(path).SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil || len(table.Rows) != 1 {
		t.Fatalf("got %s, %v", raw, err)
	}
	row := map[string]any{}
	for i, column := range table.ColumnDefinitions {
		row[column.Name] = table.Rows[0].Cells[i]
	}
	return row
}

func unversioned(config *rest.Config) *rest.Config {
	config = dynamic.ConfigFor(config)
	config.GroupVersion = &schema.GroupVersion{}
	return config
}

// parse reads a manifest with the numbers as the API's own decoder has them, so
// that specs compare. Without a kind it is one that the test completes.
func parse(t *testing.T, doc []byte) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.YAMLToJSON(doc)
	if err != nil {
		t.Fatal(err)
	}
	o := &unstructured.Unstructured{}
	if err := utiljson.Unmarshal(raw, &o.Object); err != nil {
		t.Fatal(err)
	}
	return o
}

func resource(c dynamic.Interface, gv schema.GroupVersion, o *unstructured.Unstructured) dynamic.ResourceInterface {
	return c.Resource(gv.WithResource(plurals[o.GetKind()])).Namespace(o.GetNamespace())
}

func create(t *testing.T, c dynamic.Interface, gv schema.GroupVersion, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	o = o.DeepCopy()
	o.SetAPIVersion(gv.String())
	got, err := resource(c, gv, o).Create(t.Context(), o, metav1.CreateOptions{})
	if err != nil {
		t.Fatalf("create %s %s as %s: %v", o.GetKind(), o.GetName(), gv, err)
	}
	return got
}
