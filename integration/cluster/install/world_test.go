package install_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/integration/cluster"
)

const (
	socket    = "unix:///run/fairlead/workload/api.sock"
	accounts  = "spiffe://cluster.local/ns/default/sa/"
	serverURL = "https://server.default.svc.cluster.local:8443"
	clientURL = "https://client.default.svc.cluster.local:8443"
)

const account = `
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: NAME}
`

// pod serves over mTLS with its SVID, and is ready when it has it.
const pod = `
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec: {selector: {app: NAME}, ports: [{port: 8443}]}
---
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  serviceAccountName: ACCOUNT
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 1000}
  containers:
  - name: probe
    image: fairlead.test/probe:1
    imagePullPolicy: Never
    args: [tls-serve, "unix:///run/fairlead/workload/api.sock", ":8443", "spiffe://cluster.local/ns/default/sa/CALLER"]
    readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
    volumeMounts:
    - {name: spiffe, mountPath: /run/fairlead/workload, readOnly: true}
    - {name: token, mountPath: /token, readOnly: true}
  volumes:
  - {name: spiffe, hostPath: {path: /run/fairlead/workload, type: Directory}}
  - {name: token, projected: {sources: [{serviceAccountToken: {audience: fairlead, path: token}}]}}
`

// quiet has an identity that it never asks for.
const quiet = `
---
apiVersion: v1
kind: Pod
metadata: {name: quiet}
spec:
  serviceAccountName: quiet
  nodeName: NODE
  terminationGracePeriodSeconds: 1
  containers: [{name: probe, image: "fairlead.test/probe:1", imagePullPolicy: Never, args: [serve]}]
`

// pods of a world: a server on the first node and a client on the second one, which serve each other and nobody else; a neighbour
// of the server, with the client's identity; and a stranger beside the client.
var pods = []struct {
	name, account, caller string
	node                  int
}{
	{"server", "server", "client", 0},
	{"neighbour", "client", "server", 0},
	{"client", "client", "server", 1},
	{"stranger", "stranger", "stranger", 1},
}

func oneOf(name, account, caller string, node *cluster.Node) string {
	return strings.NewReplacer("NAME", name, "ACCOUNT", account, "CALLER", caller, "NODE", node.Name).Replace(pod)
}

// populate makes the world, and waits until all of it serves.
func populate(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	var all strings.Builder
	for _, name := range []string{"server", "client", "stranger", "quiet"} {
		all.WriteString(strings.ReplaceAll(account, "NAME", name))
	}
	for _, p := range pods {
		all.WriteString(oneOf(p.name, p.account, p.caller, c.Nodes[p.node]))
	}
	all.WriteString(strings.ReplaceAll(quiet, "NODE", c.Nodes[1].Name))
	must(t, c, c.Apply(t.Context(), all.String()))
	ready(t, c, "--all")
}

// ready waits for pods: their names, or "--all".
func ready(t *testing.T, c *cluster.Cluster, names ...string) {
	t.Helper()
	_, err := c.Kubectl(t.Context(), "", append([]string{"wait", "--for=condition=Ready", "--timeout=90s", "pod"}, names...)...)
	must(t, c, err)
}

// call has the pod of one node call that of the other by its Service, in both directions. Each tells who the other is.
func call(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, way := range []struct{ from, url, want string }{
		{"client", serverURL, accounts + "server " + accounts + "client <nil>\n"},
		{"server", clientURL, accounts + "client " + accounts + "server <nil>\n"},
	} {
		until(t, c, way.from+" calls", func() error { // a pod that is made again takes no commands for a while
			out, err := c.Exec(t.Context(), "default", way.from, "/probe", "tls-get", socket, way.url, "30")
			if err == nil && out != way.want {
				t.Errorf("%s is told %q by %s, want %q", way.from, out, way.url, way.want)
			}
			return err
		})
	}
}

// calls are made by a pod all the time, until end.
type calls struct {
	cmd   *exec.Cmd
	stdin io.Closer
	out   *bufio.Reader
}

// summary is what the probe prints at the end.
type summary struct {
	Requests, Failures, OwnSVIDs, ServerSVIDs int
	Errors, Authorities                       []string
}

// keepCalling has a pod call the server, and returns when the first call has been answered. It calls the pod and no Service, which
// has no pods for a while when a probe of readiness is answered late.
func keepCalling(t *testing.T, c *cluster.Cluster, from string) *calls {
	t.Helper()
	address, err := c.Kubectl(t.Context(), "", "get", "pod", "server", "-o", "jsonpath={.status.podIP}")
	must(t, c, err)
	url := "https://" + address + ":8443"
	ctx, cancel := context.WithCancel(context.Background())
	cmd := c.KubectlCommand(ctx, "exec", "-i", from, "--", "/probe", "tls-load", socket, url, accounts+"server")
	stdin, err := cmd.StdinPipe()
	must(t, c, err)
	out, err := cmd.StdoutPipe()
	must(t, c, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	must(t, c, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it has ended, or is killed
	})
	l := &calls{cmd: cmd, stdin: stdin, out: bufio.NewReader(out)}
	if line, err := l.out.ReadString('\n'); err != nil || line != "calling\n" {
		t.Fatalf("%s does not call %s: %q, %v, %s", from, url, line, err, stderr.String())
	}
	return l
}

// end fails t when a call has failed.
func (l *calls) end(t *testing.T) summary {
	t.Helper()
	var s summary
	if err := l.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(l.out)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		t.Fatalf("read summary of calls: %v: %q", err, data)
	}
	if s.Failures > 0 || s.Requests < 10 {
		t.Errorf("%d of %d calls have failed: %q", s.Failures, s.Requests, s.Errors)
	}
	t.Logf("calls: %+v", s)
	return s
}

// must ends the test, with what Fairlead's pods have to say.
func must(t *testing.T, c *cluster.Cluster, err error) {
	t.Helper()
	if err != nil {
		showPods(t, c)
		t.Fatal(err)
	}
}

// until asks until it gets no error.
func until(t *testing.T, c *cluster.Cluster, what string, ask func() error) {
	t.Helper()
	deadline := time.Now().Add(cluster.Patience)
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			must(t, c, fmt.Errorf("%s: %w", what, err))
		}
		time.Sleep(100 * time.Millisecond)
	}
}
