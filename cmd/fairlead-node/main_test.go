package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"

	"fairlead.io/fairlead/pkg/node/agent"
	"fairlead.io/fairlead/pkg/node/control"
	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/node/nodetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// output may be written while it is read.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func call(args ...string) (code int, out, errs string) {
	var o, e output
	code = execute(context.Background(), &o, &e, args)
	return code, o.String(), e.String()
}

// Help shows an example that works, and docs/node.md has every flag.
func TestHelp(t *testing.T) {
	code, out, _ := call("--help")
	if code != 0 || !strings.Contains(out, "fairlead-node --server fairlead.fairlead-system.svc:15012 --node-name node-a --trust-bundle") || !strings.Contains(out, "status") {
		t.Errorf("%d: %s", code, out)
	}
	docs, err := os.ReadFile(filepath.Join("..", "..", "docs", "node.md"))
	if err != nil {
		t.Fatal(err)
	}
	root := newRoot(&output{})
	root.Flags().VisitAll(func(f *pflag.Flag) {
		if f.Name != "help" && f.Name != "version" && !bytes.Contains(docs, []byte("`--"+f.Name)) {
			t.Errorf("docs/node.md does not tell of --%s", f.Name)
		}
		if f.Usage == "" {
			t.Errorf("--%s does not say what it is", f.Name)
		}
	})
}

// All that is wrong is named at once, each with what to do.
func TestFlags(t *testing.T) {
	file := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := []string{"--server=127.0.0.1:1", "--node-name=a", "--trust-hash=sha256:" + strings.Repeat("ab", 32)}
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"nothing":           {nil, []string{"--server is missing", "--node-name is missing", "--trust-bundle=FILE"}},
		"no port":           {append(good, "--server=host"), []string{"--server=host: use HOST:PORT"}},
		"no host":           {append(good, "--server=:15012"), []string{"--server=:15012: use HOST:PORT"}},
		"server ID":         {append(good, "--server-id=fairlead"), []string{"--server-id=fairlead"}},
		"TTL":               {append(good, "--svid-ttl=5ms"), []string{"--svid-ttl=5ms: use a duration of at least 1s"}},
		"negative TTL":      {append(good, "--svid-ttl=-1h"), []string{"--svid-ttl=-1h"}},
		"log level":         {append(good, "--log-level=loud"), []string{"use debug, info, warn or error"}},
		"log format":        {append(good, "--log-format=xml"), []string{"use text or json"}},
		"group":             {append(good, "--sds-group=no-such-group"), []string{"--sds-group=no-such-group"}},
		"an empty bundle":   {append(good, "--trust-bundle="+file), []string{"no PEM certificate"}},
		"a hash of nothing": {[]string{"--server=a:1", "--node-name=a", "--trust-hash=sha256:"}, []string{"openssl"}},
		"admin everywhere":  {append(good, "--admin=0.0.0.0:0", "--sds-socket=", "--workload-socket="), []string{"not on loopback: use"}},
		"no flag":           {append(good, "--serve"), []string{"unknown flag"}},
		"an argument":       {append(good, "more"), []string{"unknown command"}},
		"output":            {[]string{"status", "-o", "yaml"}, []string{"use table or json"}},
		"nobody answers":    {[]string{"status", "--admin=unix:" + file + "-none"}, []string{"see --admin", "no such file"}},
	} {
		code, _, errs := call(c.args...)
		if code != 1 {
			t.Errorf("%s: exit code %d", name, code)
		}
		for _, w := range c.want {
			if !strings.Contains(errs, w) {
				t.Errorf("%s: %q does not say %q", name, errs, w)
			}
		}
	}
}

// answer serves a status at a socket.
func answer(t *testing.T, s *agent.Status) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "node-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(s) })}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return "unix:" + filepath.Join(dir, "s")
}

func TestStatus(t *testing.T) {
	now := time.Now()
	s := &agent.Status{
		Node: "node-a", Signing: "new", Envoy: 4,
		Control: control.State{Connected: true, Server: "10.0.0.7:15012", Since: now.Add(-time.Hour), Workloads: 3, Bundles: 2, Refused: "workload x: no"},
		Identities: []keeper.Identity{
			{ID: nodetest.NodeID.String(), Node: true, State: keeper.Valid, Authority: "new", Issued: now.Add(-time.Minute), Ends: now.Add(time.Hour), Left: time.Hour},
			{ID: "spiffe://cluster.local/ns/shop/sa/web", Pods: []string{"shop/a", "shop/b"}, State: keeper.Failing, Authority: "old", Issued: now, Ends: now.Add(time.Hour), Left: time.Minute, Error: "a\tb\nc"},
			{ID: "spiffe://cluster.local/ns/shop/sa/db", Pods: []string{"shop/c"}, State: keeper.Pending},
		},
	}
	at := answer(t, s)
	code, out, errs := call("status", "--admin", at)
	for _, line := range []string{
		`^node node-a, connected to 10\.0\.0\.7:15012 for 1h0m0s; 3 workloads, 2 trust bundles, 4 SDS streams$`,
		`^refused what the control plane sent last: workload x: no$`,
		`^IDENTITY +PODS +STATE +AGE +ENDS IN +AUTHORITY +LAST ERROR$`,
		`/node/node-a/n-1 +\(node\) +valid +1m0s +1h0m0s +new +-$`,
		`/sa/web +2 +failing +0s +1m0s +old \(old\) +a b c$`,
		`/sa/db +1 +pending +- +- +- +-$`,
	} {
		if !regexp.MustCompile("(?m)" + line).MatchString(out) {
			t.Errorf("no line %s in\n%s", line, out)
		}
	}
	if code != 0 || errs != "" {
		t.Errorf("exit code %d, %s", code, errs)
	}
	s.NotReady, s.Control.Connected, s.Control.Error = "the node has no SVID", false, "server a:1: refused"
	for _, format := range []string{"table", "json"} {
		code, out, errs := call("status", "--admin", at, "-o", format)
		if code != 1 || !strings.Contains(out, s.NotReady) || !strings.Contains(out, s.Control.Error) || !strings.Contains(errs, "not ready") {
			t.Errorf("%s: exit code %d, %s%s", format, code, out, errs)
		}
		got := &agent.Status{}
		if format == "json" && (json.Unmarshal([]byte(out), got) != nil || len(got.Identities) != 3 || got.Identities[1].Left != time.Minute) {
			t.Errorf("json: %s", out)
		}
	}
}

// The command as it is started in a cluster, with a control plane on the other end.
func TestRun(t *testing.T) {
	server := nodetest.NewServer(t)
	server.Run(nodetest.Pod("a", "web"))
	dir, err := os.MkdirTemp("", "node-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := os.WriteFile(in("token"), []byte("good\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(in("roots"), server.CA.RootsPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var out, log output
	done := make(chan int, 1)
	go func() {
		done <- execute(ctx, &out, &log, []string{
			"--server", server.Address, "--node-name=node-a", "--token", in("token"), "--trust-bundle", in("roots"), "--log-format=json",
			"--sds-socket", in("sds/s"), "--workload-socket", in("workload/s"), "--admin=unix:" + in("admin"),
		})
	}()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		code, text, errs := call("status", "--admin=unix:"+in("admin"))
		if code == 0 && strings.Contains(text, "/ns/shop/sa/web") && strings.Count(text, " valid ") == 2 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d: %s%s\n%s", code, text, errs, log.String())
		}
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, name := range []string{"sds/s", "workload/s", "admin"} {
		if info, err := os.Stat(in(name)); err != nil || info.Mode()&os.ModeSocket == 0 {
			t.Errorf("socket %s: %v", name, err)
		}
	}
	for i, line := range strings.Split(strings.TrimSpace(log.String()), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("line %d of the log is no JSON: %s", i+1, line)
		}
	}
}
