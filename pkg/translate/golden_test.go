package translate_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/files"
	"fairlead.io/fairlead/pkg/source/schema"
	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/translate"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden reads testdata/<feature>/in.yaml and compares what Envoy would be served (xds.yaml) and what the authors of
// the objects would be told (status.yaml). integration/ loads the same folders into a real Envoy.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*/in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no golden inputs: %v", err)
	}
	for _, in := range inputs {
		dir := filepath.Dir(in)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			res, snap := load(t, in)
			compare(t, filepath.Join(dir, "xds.yaml"), xdsYAML(t, snap))
			compare(t, filepath.Join(dir, "status.yaml"), statusYAML(t, res))
		})
	}
}

type loaded struct {
	engine   *table.Engine
	statuses *table.Output[*model.ObjectStatus]
	problems []source.Problem
}

// load runs one pass over a manifest.
func load(t *testing.T, path string) (loaded, snapshot.Snapshot) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	contents := files.Load(files.Config{Log: log, Schemas: schema.New()}, nil, path)
	e := table.New(table.Options{Strict: true, Logger: log})
	cfg := resolve.DefaultConfig()
	res := resolve.New(e, cfg)
	out := translate.New(e, res)
	statuses := table.Publish(res.Statuses)
	e.Apply(res.Inputs.Batch(contents.Updates, 1))
	return loaded{e, statuses, contents.Problems}, out.Source().Latest()
}

// xdsYAML prints all resources by type and name.
func xdsYAML(t *testing.T, s snapshot.Snapshot) []byte {
	t.Helper()
	var b bytes.Buffer
	types := []string{resource.ClusterType, resource.EndpointType, resource.ListenerType, resource.RouteType, translate.VirtualHostType, translate.ScopeType, resource.SecretType, translate.WorkloadType}
	for _, typeURL := range types {
		s.Range(typeURL, func(r *snapshot.Resource) bool {
			m, err := r.Body.UnmarshalNew()
			if err != nil {
				t.Fatalf("decode %s: %v", r.Name, err)
			}
			if v, ok := m.(interface{ ValidateAll() error }); ok {
				if err := v.ValidateAll(); err != nil {
					t.Errorf("%s %s is not valid: %v", typeURL, r.Name, err)
				}
			}
			if strings.HasPrefix(r.Name, "fairlead/") || strings.HasPrefix(r.Variant, snapshot.GRPCVariant) {
				return true // the fixed clusters are the same everywhere; what gRPC clients are served has a golden of its own
			}
			js, err := protojson.Marshal(m)
			if err != nil {
				t.Fatalf("print %s: %v", r.Name, err)
			}
			if typeURL == resource.SecretType {
				js = []byte(`{"name":"` + r.Name + `"}`)
			}
			y, err := yaml.JSONToYAML(js)
			if err != nil {
				t.Fatal(err)
			}
			b.WriteString("---\n# " + typeURL[strings.LastIndexByte(typeURL, '.')+1:] + " " + r.Name + "\n")
			for _, o := range r.Origins {
				b.WriteString("# from " + o.String() + "\n")
			}
			b.Write(y)
			return true
		})
	}
	return b.Bytes()
}

// statusYAML prints every status and every problem.
func statusYAML(t *testing.T, l loaded) []byte {
	t.Helper()
	var b bytes.Buffer
	l.statuses.Range(l.engine.Snapshot(), func(_ string, s *model.ObjectStatus) bool {
		shown := *s
		shown.UID = ""
		js, err := json.Marshal(shown)
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(js, &fields); err != nil {
			t.Fatal(err)
		}
		y, err := yaml.Marshal(filled(fields))
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("---\n")
		b.Write(y)
		return true
	})
	for _, p := range l.problems {
		b.WriteString("--- # problem\n" + filepath.Base(p.File) + ": " + p.Message + "\n")
	}
	return b.Bytes()
}

// filled leaves out fields without a value, to keep the files short; false and 0 stay.
func filled(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e == nil || e == "" || (k == "Warning" && e == false) {
				delete(v, k)
				continue
			}
			v[k] = filled(e)
		}
	case []any:
		for i := range v {
			v[i] = filled(v[i])
		}
	}
	return v
}

func compare(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with: go test ./pkg/translate -run TestGolden -update)", err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, d)
	}
}
