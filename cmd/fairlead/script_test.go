package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// deadline is how long a script waits for what must come; a busy machine is slow.
const deadline = 30 * time.Second

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// A socket's path must be short, and $WORK is not.
			dir, err := os.MkdirTemp("", "fl")
			if err != nil {
				return err
			}
			env.Defer(func() { _ = os.RemoveAll(dir) })
			env.Setenv("XDS", filepath.Join(dir, "xds"))
			env.Setenv("ADMIN", "unix:"+filepath.Join(dir, "admin"))
			env.Setenv("NODE", filepath.Join(dir, "node"))
			env.Setenv("XDS_B", filepath.Join(dir, "xds-b"))
			env.Setenv("ADMIN_B", "unix:"+filepath.Join(dir, "admin-b"))
			env.Setenv("NODE_B", filepath.Join(dir, "node-b"))
			return os.Mkdir(filepath.Join(env.WorkDir, "live"), 0o755)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"apply": applyFile, "delete": deleteFile, "until": until, "get": get, "term": term,
		},
	})
}

// applyFile puts files into the folder that the server watches: whole, by rename. `apply FILE...`
func applyFile(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		data := ts.ReadFile(name)
		half := ts.MkAbs(name) + ".half"
		ts.Check(os.WriteFile(half, []byte(data), 0o600))
		ts.Check(os.Rename(half, filepath.Join(ts.MkAbs("live"), filepath.Base(name))))
	}
}

// deleteFile takes a file out of the folder. `delete FILE`
func deleteFile(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(os.Remove(filepath.Join(ts.MkAbs("live"), args[0])))
}

// term sends SIGTERM to every background process of a command. `term COMMAND`
func term(ts *testscript.TestScript, _ bool, args []string) {
	for _, cmd := range ts.BackgroundCmds() {
		if filepath.Base(cmd.Path) == args[0] {
			if err := cmd.Process.Signal(syscall.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
				ts.Check(err)
			}
		}
	}
}

// until runs a command again and again until its output matches. `until REGEXP COMMAND...`; with ! until it does not match.
func until(ts *testscript.TestScript, not bool, args []string) {
	want, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	var last string
	for end := time.Now().Add(deadline); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		last = outputOf(ts, args[1:])
		if want.MatchString(last) != not {
			return
		}
	}
	ts.Fatalf("%s: never so (not: %v) in %v; the last output was:\n%s", want, not, deadline, last)
}

// outputOf is what a command prints; its failure is part of it, as the server may not be up yet.
func outputOf(ts *testscript.TestScript, args []string) string {
	if args[0] == "get" {
		body, err := ask(args[1], args[2])
		if err != nil {
			return "error: " + err.Error()
		}
		return body
	}
	err := ts.Exec(args[0], args[1:]...)
	out := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	if err != nil {
		out += err.Error()
	}
	return out
}

// get prints a page of a Unix socket. `get SOCKET PATH`
func get(ts *testscript.TestScript, _ bool, args []string) {
	body, err := ask(args[0], args[1])
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), body)
}

func ask(socket, path string) (string, error) {
	socket = strings.TrimPrefix(socket, "unix:")
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", socket)
		},
	}}
	res, err := client.Get("http://fairlead" + path)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), err
}
