package main

import (
	"bytes"
	"context"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestMain makes this test binary the command itself for the scripts.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"fairlead": func() { os.Exit(run()) },
		"xdsnode":  func() { os.Exit(runNode()) },
	})
}

// fairlead runs a command line in this process.
func fairlead(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	env := environment{in: strings.NewReader(stdin), out: &out, err: &errs, getenv: os.Getenv}
	code = execute(context.Background(), env, args)
	return code, out.String(), errs.String()
}
