package v2_test

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
)

// Manifests decode strictly, and set every field of every type; what of them is a list stays one that is empty, or absent.
func TestManifests(t *testing.T) {
	text, err := os.ReadFile("testdata/accepted.yaml")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, doc := range bytes.Split(text, []byte("\n---\n")) {
		var o runtime.Object = &ciliumv2.CiliumNetworkPolicy{}
		if bytes.Contains(doc, []byte("kind: CiliumClusterwide")) {
			o = &ciliumv2.CiliumClusterwideNetworkPolicy{}
		}
		if err := yaml.UnmarshalStrict(doc, o); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(o, o.DeepCopyObject()); diff != "" {
			t.Errorf("a deep copy differs:\n%s", diff)
		}
		visit(reflect.ValueOf(o), seen)
		if e, ok := o.(*ciliumv2.CiliumNetworkPolicy); ok && e.Name == "empty" {
			in := e.Specs[0].Ingress
			if in[0].FromEndpoints != nil || in[1].FromEndpoints == nil || len(in[1].FromEndpoints) != 0 || len(in[2].FromEndpoints) != 1 {
				t.Errorf("empty and absent are mixed up: %+v", in)
			}
		}
	}
	for field, set := range seen {
		if !set {
			t.Errorf("no manifest sets %s", field)
		}
	}
	if len(seen) < 80 {
		t.Errorf("%d fields seen", len(seen))
	}
}

// visit notes of each field of our types whether a manifest sets it.
func visit(v reflect.Value, seen map[string]bool) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			visit(v.Elem(), seen)
		}
	case reflect.Slice:
		for i := range v.Len() {
			visit(v.Index(i), seen)
		}
	case reflect.Struct:
		if !strings.HasSuffix(v.Type().PkgPath(), "api/cilium/v2") || v.Type() == reflect.TypeFor[ciliumv2.Status]() {
			return
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Name == "Status" || f.Anonymous && f.Type.PkgPath() != v.Type().PkgPath() {
				continue
			}
			name := v.Type().Name() + "." + f.Name
			seen[name] = seen[name] || !v.Field(i).IsZero()
			visit(v.Field(i), seen)
		}
	}
}
