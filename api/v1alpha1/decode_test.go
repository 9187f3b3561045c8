package v1alpha1_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	kjson "k8s.io/apimachinery/pkg/runtime/serializer/json"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/api/v1alpha1"
)

// documents returns the YAML documents of testdata/accepted by "file#index".
func documents(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/accepted/*.yaml")
	if err != nil || len(files) != 7 {
		t.Fatalf("want one file per kind, got %v, %v", files, err)
	}
	docs := map[string][]byte{}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for i, doc := range bytes.Split(raw, []byte("\n---\n")) {
			docs[filepath.Base(f)+"#"+string(rune('0'+i))] = doc
		}
	}
	return docs
}

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	s := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	if err := v1alpha1.AddIstioToScheme(s); err != nil {
		t.Fatal(err)
	}
	return s
}

// apiVersions are those that a document's kind has.
func apiVersions(doc []byte) []string {
	out := []string{v1alpha1.GroupVersion().String()}
	istio := v1alpha1.IstioGroupVersions()
	if bytes.Contains(doc, []byte("kind: AuthorizationPolicy")) {
		istio = v1alpha1.IstioSecurityGroupVersions()
	}
	for _, gv := range istio {
		out = append(out, gv.String())
	}
	return out
}

// A manifest of any of the groups and versions decodes strictly into the same Go
// type and comes back as it was written.
func TestRoundTrip(t *testing.T) {
	s := newScheme(t)
	strict := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, s, s, kjson.SerializerOptions{Yaml: true, Strict: true})
	for name, doc := range documents(t) {
		for _, version := range apiVersions(doc) {
			doc := bytes.Replace(doc, []byte("fairlead.io/v1alpha1"), []byte(version), 1)
			obj, gvk, err := strict.Decode(doc, nil, nil)
			if err != nil {
				t.Errorf("%s as %s: %v", name, version, err)
				continue
			}
			if gvk.GroupVersion().String() != version {
				t.Errorf("%s: got %s, want %s", name, gvk, version)
			}
			back, err := json.Marshal(obj)
			if err != nil {
				t.Fatal(err)
			}
			var got, want any
			if err := json.Unmarshal(back, &got); err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal(doc, &want); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s as %s (-written +back):\n%s", name, version, diff)
			}
			if copied := obj.DeepCopyObject(); !reflect.DeepEqual(obj, copied) {
				t.Errorf("%s: deep copy differs", name)
			}
		}
	}
}

// Every field of every type is used by some manifest, so that TestRoundTrip
// speaks for all of them.
func TestManifestsCoverEveryField(t *testing.T) {
	s := newScheme(t)
	decoder := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, s, s, kjson.SerializerOptions{Yaml: true})
	seen := map[string]bool{}
	for name, doc := range documents(t) {
		obj, _, err := decoder.Decode(doc, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		visit(reflect.ValueOf(obj), seen)
	}
	var missing []string
	for field, set := range seen {
		if !set {
			missing = append(missing, field)
		}
	}
	if len(missing) > 0 || len(seen) < 150 {
		t.Errorf("%d fields seen, not in any manifest: %s", len(seen), strings.Join(missing, ", "))
	}
}

// visit records for each field of this package's structs whether it is set.
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
	case reflect.Map:
		for _, k := range v.MapKeys() {
			visit(v.MapIndex(k), seen)
		}
	case reflect.Struct:
		if !strings.HasSuffix(v.Type().PkgPath(), "api/v1alpha1") {
			return
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if f.Name == "Status" && f.Type.Name() == "Status" && v.Field(i).IsZero() {
				continue // one type in six kinds; one manifest has it
			}
			key := v.Type().Name() + "." + f.Name
			seen[key] = seen[key] || !v.Field(i).IsZero()
			visit(v.Field(i), seen)
		}
	}
}

// A field that the types do not have is refused by strict decoding, at any depth.
func TestStrictDecodeNamesUnknownFields(t *testing.T) {
	s := newScheme(t)
	strict := kjson.NewSerializerWithOptions(kjson.DefaultMetaFactory, s, s, kjson.SerializerOptions{Yaml: true, Strict: true})
	_, _, err := strict.Decode([]byte(`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a]
  http: [{route: [{destination: {host: a, sbuset: v1}}]}]
`), nil, nil)
	if err == nil || !strings.Contains(err.Error(), `spec.http[0].route[0].destination.sbuset`) {
		t.Errorf("want the path of the unknown field, got %v", err)
	}
}
