package convert_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"fairlead.io/fairlead/pkg/source/convert"
	"fairlead.io/fairlead/pkg/source/schema"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Each testdata/<name>.in.* is read as a file; what comes out is testdata/<name>.out.json.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.*")
	if err != nil || len(inputs) == 0 {
		t.Fatal("no inputs", err)
	}
	files := convert.NewFiles(schema.New())
	for _, in := range inputs {
		name, _, _ := strings.Cut(filepath.Base(in), ".")
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(in)
			if err != nil {
				t.Fatal(err)
			}
			got := dump(t, files.Convert(filepath.Base(in), text))
			out := filepath.Join("testdata", name+".out.json")
			if *update {
				if err := os.WriteFile(out, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), string(got)); d != "" {
				t.Errorf("other than %s (rewrite with -update):\n%s", out, d)
			}
		})
	}
}

func dump(t *testing.T, r convert.Result) []byte {
	t.Helper()
	out := struct{ Objects, Problems, Notes []any }{}
	for _, o := range r.Objects {
		var v map[string]any
		data, err := json.Marshal(o.Object)
		if err == nil {
			err = json.Unmarshal(data, &v)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []string{"UID", "ResourceVersion", "Text", "Group", "Kind", "Namespace", "Name"} {
			delete(v, k)
		}
		for k, f := range v { // what is not set says nothing
			if f == nil || f == false || f == "" {
				delete(v, k)
			}
		}
		v["_"] = fmt.Sprintf("%s %s, %s", o.Ref, o.Ref.Group, o.Meta.Text.At(""))
		for i, issue := range o.Meta.Issues {
			v["Issues"].([]any)[i].(map[string]any)["At"] = o.Meta.Text.At(issue.Path)
		}
		out.Objects = append(out.Objects, v)
	}
	for _, p := range r.Problems {
		out.Problems = append(out.Problems, fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Ref, p.Message))
	}
	for _, p := range r.Notes {
		out.Notes = append(out.Notes, fmt.Sprintf("%s:%d: %s: %s", p.File, p.Line, p.Ref, p.Message))
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", " ")
	if err := e.Encode(out); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
