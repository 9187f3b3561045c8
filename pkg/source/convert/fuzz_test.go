package convert_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/source/convert"
	"fairlead.io/fairlead/pkg/source/schema"
)

// FuzzConvert: whatever a file holds, it is read without a panic, and all that is said of it is said of one of its lines.
func FuzzConvert(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*.in.*")
	if err != nil || len(inputs) == 0 {
		f.Fatal("no seeds", err)
	}
	for _, in := range inputs {
		text, err := os.ReadFile(in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		for _, doc := range bytes.Split(text, []byte("\n---\n")) {
			f.Add(doc)
		}
	}
	for _, b := range bombs() {
		if len(b) < 4096 { // the fuzzer works on small inputs
			f.Add([]byte(b))
		}
	}
	files := convert.NewFiles(schema.New())
	f.Fuzz(func(t *testing.T, data []byte) {
		lines := bytes.Count(data, []byte("\n")) + bytes.Count(data, []byte("\r")) +
			3*bytes.Count(data, []byte("\xe2\x80")) + 2*bytes.Count(data, []byte("\xc2\x85")) + 2 // YAML has other line breaks too
		result := files.Convert("f.yaml", data)
		for _, p := range append(result.Problems, result.Notes...) {
			if p.Message == "" || p.File != "f.yaml" || p.Line < 1 || p.Line > lines {
				t.Errorf("problem %+v in %d lines", p, lines)
			}
		}
		for _, o := range result.Objects {
			if o.Ref.Name == "" || o.Meta.Ref != o.Ref || o.Meta.UID == "" || o.Meta.Text.Line < 1 || o.Meta.Text.Line > lines {
				t.Errorf("object %+v in %d lines", o.Meta, lines)
			}
			for path, line := range o.Meta.Text.Lines {
				if line < 1 || line > lines {
					t.Errorf("%s at line %d of %d", path, line, lines)
				}
			}
		}
	})
}

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\n"

func bombs() map[string]string {
	laughs := configMap + "data:\n  a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n"
	for i := range 12 {
		laughs += fmt.Sprintf("  a%d: &a%d [%s*a%d]\n", i+1, i+1, strings.Repeat(fmt.Sprintf("*a%d, ", i), 8), i)
	}
	long := configMap + "x: &x " + strings.Repeat("x", 100_000) + "\ny: [" + strings.Repeat("*x, ", 10_000) + "]\n"
	return map[string]string{
		"aliases of aliases":      laughs,
		"many aliases of a long":  long,
		"an alias within itself":  configMap + "data: &d {k: *d}\n",
		"a merge within itself":   configMap + "data: &d {<<: *d}\n",
		"deep flow":               configMap + "data: " + strings.Repeat("[", 20_000) + "\n",
		"deep but closed":         configMap + "data: " + strings.Repeat("[", 5_000) + strings.Repeat("]", 5_000) + "\n",
		"deep JSON":               `{"apiVersion": "v1", "kind": "ConfigMap", "data": ` + strings.Repeat("[", 100_000),
		"lists in lists":          "kind: List\nitems: &i\n- {kind: List, items: *i}\n",
		"a list of itself":        "&l\nkind: List\nitems: [*l, *l, *l, *l, *l, *l, *l, *l, *l]\n",
		"a large object":          configMap + "data: {k: " + strings.Repeat("x", 2<<20) + "}\n",
		"no end of a JSON string": `{"apiVersion": "` + strings.Repeat("x", 1000),
	}
}

func TestBombsAreRefused(t *testing.T) {
	files := convert.NewFiles(nil)
	for name, text := range bombs() {
		t.Run(name, func(t *testing.T) {
			result := files.Convert("bomb.yaml", []byte(text))
			if len(result.Problems) == 0 || len(result.Problems) > 100 || len(result.Objects) > 0 {
				t.Errorf("%d problems, %d objects; want it refused, and briefly", len(result.Problems), len(result.Objects))
			}
			if strings.Contains(name, "aliases") && !strings.Contains(result.Problems[0].Message, "aliases expand") {
				t.Errorf("refused for %q, and not for its aliases: it has been expanded first", result.Problems[0].Message)
			}
		})
	}
}
