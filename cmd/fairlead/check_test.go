package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"fairlead.io/fairlead/pkg/report"
)

const mistakes = "../../config/demo/mistakes"

// checkJSON runs check with a real Envoy and reads its answer.
func checkJSON(t *testing.T, wantCode int, args ...string) checked {
	t.Helper()
	code, out, errs := fairlead(t, "", append([]string{"check", "-o", "json"}, args...)...)
	if code != wantCode {
		t.Fatalf("exit code %d, want %d\n%s%s", code, wantCode, out, errs)
	}
	var c checked
	if err := json.Unmarshal([]byte(out), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCheckNamesEveryMistake(t *testing.T) {
	c := checkJSON(t, 1, "-f", mistakes)
	if !strings.Contains(c.Envoy, "envoy") || strings.Contains(c.Envoy, "not asked") {
		t.Errorf("envoy: %s: run `make tools`", c.Envoy)
	}
	var got strings.Builder
	for _, f := range c.Findings {
		if f.Type == "Programmed" && f.Reason == "Rejected" {
			t.Errorf("only Envoy noticed this: %s:%d %s", f.File, f.Line, f.Message)
		}
		fmt.Fprintf(&got, "%s:%d %s %s %s\n", filepath.Base(f.File), f.Line, f.Severity, f.Object, f.Path)
		if f.Line == 0 || f.Message == "" {
			t.Errorf("no line or no message: %+v", f)
		}
	}
	compare(t, "testdata/mistakes.golden", got.String())
}

// Every comment in the folder announces a mistake, and some finding stands between it and the next comment.
func TestEveryAnnouncedMistakeIsFound(t *testing.T) {
	c := checkJSON(t, 1, "-f", mistakes, "--envoy", "off")
	files, err := filepath.Glob(mistakes + "/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	n := 0
	for _, file := range files {
		comments, last := commentLines(t, file)
		for i, from := range comments {
			to := last
			if i+1 < len(comments) {
				to = comments[i+1]
			}
			n++
			if !found(c.Findings, file, from, to) {
				t.Errorf("%s:%d announces a mistake that check does not name before line %d", file, from, to)
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d mistakes are announced", n)
	}
}

func found(list []report.Finding, file string, from, to int) bool {
	for _, f := range list {
		if f.File == file && f.Line >= from && f.Line <= to {
			return true
		}
	}
	return false
}

// commentLines gives the first line of each run of comments, and the number of lines.
func commentLines(t *testing.T, file string) (comments []int, last int) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	before := false
	for s := bufio.NewScanner(f); s.Scan(); {
		last++
		is := strings.HasPrefix(strings.TrimSpace(s.Text()), "#")
		if is && !before {
			comments = append(comments, last)
		}
		before = is
	}
	return comments, last
}

func TestCheckPassesTheDemo(t *testing.T) {
	c := checkJSON(t, 0, "-f", "../../config/demo/manifests")
	if c.Errors+c.Warnings != 0 || c.Objects < 20 {
		t.Errorf("%d objects, findings %+v", c.Objects, c.Findings)
	}
}

func TestCheckReadsStdinAndExitsZeroOnWarnings(t *testing.T) {
	manifest := "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n  ports: [{name: http, port: 80, prot: 1}]\n"
	code, out, _ := fairlead(t, manifest, "check", "-f", "-", "--envoy", "off")
	if code != 0 || !strings.Contains(out, "stdin\n") || !strings.Contains(out, "   5  warning  Service default/a  spec.ports[0].prot") {
		t.Errorf("code %d\n%s", code, out)
	}
	if !strings.Contains(out, "1 objects: 0 errors, 1 warning") {
		t.Errorf("no summary:\n%s", out)
	}
}

func TestCheckRefusesHugeObjects(t *testing.T) {
	dir := t.TempDir()
	object := func(size int) string {
		return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: big}\ndata:\n  ca.crt: " + strings.Repeat("x", size) + "\n"
	}
	for name, size := range map[string]int{"object.yaml": 4 << 20, "file.yaml": 10 << 20} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(object(size)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := checkJSON(t, 1, "-f", dir, "--envoy", "off")
	if len(c.Findings) != 2 || !strings.Contains(c.Findings[0].Message, "larger than 10.0 MiB") || !strings.Contains(c.Findings[1].Message, "the object has 4.2 MB") {
		t.Errorf("findings %+v", c.Findings)
	}
}

func TestCheckSaysWhatIsMissing(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"", "name files or folders"},
		{"-f x --envoy /no/such/envoy", "no such program"},
		{"-f x -o xml", "none of table, json and yaml"},
		{"-f x --gateway-address here", "is not an IP address"},
	} {
		code, _, errs := fairlead(t, "", append([]string{"check"}, strings.Fields(test.args)...)...)
		if code != 1 || !strings.Contains(errs, test.want) {
			t.Errorf("check %s: code %d, %q; want %q", test.args, code, errs, test.want)
		}
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v; run this test with -update", err)
	}
	if string(want) != got {
		t.Errorf("%s differs; -update rewrites it. Got:\n%s", file, got)
	}
}
