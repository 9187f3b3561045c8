package install_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/integration/cluster"
)

// shop is a database on the first node, and two clients that differ in nothing but their node and a label.
const shop = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: database, namespace: shop}
spec: {ipFamilyPolicy: PreferDualStack, selector: {app: database}, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Pod
metadata: {name: database, namespace: shop, labels: {app: database}}
spec:
  nodeName: FIRST
  terminationGracePeriodSeconds: 1
  containers:
  - name: probe
    image: fairlead.test/probe:1
    imagePullPolicy: Never
    args: [serve, ":5432"]
    readinessProbe: {tcpSocket: {port: 5432}, periodSeconds: 1}
---
apiVersion: v1
kind: Pod
metadata: {name: near, namespace: shop, labels: {app: client}}
spec:
  nodeName: FIRST
  terminationGracePeriodSeconds: 1
  containers: [{name: probe, image: "fairlead.test/probe:1", imagePullPolicy: Never, args: [serve]}]
---
apiVersion: v1
kind: Pod
metadata: {name: far, namespace: shop, labels: {app: client}}
spec:
  nodeName: SECOND
  terminationGracePeriodSeconds: 1
  containers: [{name: probe, image: "fairlead.test/probe:1", imagePullPolicy: Never, args: [serve]}]
---
apiVersion: v1
kind: Pod
metadata: {name: clerk, namespace: shop, labels: {app: clerk}}
spec:
  nodeName: SECOND
  terminationGracePeriodSeconds: 1
  containers: [{name: probe, image: "fairlead.test/probe:1", imagePullPolicy: Never, args: [serve]}]
`

// onlyFrom lets pods with one of these labels reach the database.
func onlyFrom(apps ...string) string {
	return `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: database, namespace: shop}
spec:
  podSelector: {matchLabels: {app: database}}
  policyTypes: [Ingress]
  ingress:
  - from: [{podSelector: {matchExpressions: [{key: app, operator: In, values: [` + strings.Join(apps, ", ") + `]}]}}]
    ports: [{port: 5432}]
`
}

// policy shows that a database is denied to clients by their identity, whichever node they are on, by its Service and by its own
// address, and that edits are obeyed.
func policy(t *testing.T, c *cluster.Cluster) *seller {
	t.Helper()
	must(t, c, c.Apply(t.Context(), strings.NewReplacer("FIRST", c.Nodes[0].Name, "SECOND", c.Nodes[1].Name).Replace(shop)))
	_, err := c.Kubectl(t.Context(), "", "wait", "-n", "shop", "--for=condition=Ready", "--timeout=90s", "pod", "--all")
	must(t, c, err)
	s := &seller{t: t, c: c}
	for _, ip := range strings.Fields(s.get("pod", "{.status.podIPs[*].ip}") + " " + s.get("service", "{.spec.clusterIPs[*]}")) {
		s.addresses = append(s.addresses, net.JoinHostPort(ip, "5432"))
	}
	if len(s.addresses) != 4 {
		t.Fatalf("the database is at %q, want a pod and a Service, in both families", s.addresses)
	}

	s.everybody("open")
	s.apply(onlyFrom("clerk"))
	s.expect("near", "timeout")
	s.expect("far", "timeout")
	s.expect("clerk", "open")
	s.hosts()
	since := s.get("pod", readySince)
	s.apply(onlyFrom("clerk", "client"))
	s.everybody("open")
	s.apply(onlyFrom("nobody"))
	s.everybody("timeout")
	_, err = c.Kubectl(t.Context(), "", "label", "-n", "shop", "pod", "near", "--overwrite", "app=nobody")
	must(t, c, err)
	s.expect("near", "open")
	s.expect("far", "timeout")
	_, err = c.Kubectl(t.Context(), "", "delete", "-n", "shop", "networkpolicy", "database")
	must(t, c, err)
	s.everybody("open")
	if now := s.get("pod", readySince); now != since {
		t.Errorf("the database was ready since %s, now since %s: its kubelet must reach it whatever the policy says", since, now)
	}
	return s
}

// readySince changes when a probe of readiness fails three times in a row, which with this pod takes three seconds.
const readySince = `{.status.conditions[?(@.type=="Ready")].lastTransitionTime}`

type seller struct {
	t         *testing.T
	c         *cluster.Cluster
	addresses []string // of the database: its own two, and its Service's
}

func (s *seller) get(kind, path string) string {
	s.t.Helper()
	out, err := s.c.Kubectl(s.t.Context(), "", "get", "-n", "shop", kind, "database", "-o", "jsonpath="+path)
	must(s.t, s.c, err)
	return out
}

func (s *seller) apply(manifest string) {
	s.t.Helper()
	must(s.t, s.c, s.c.Apply(s.t.Context(), manifest))
}

func (s *seller) everybody(want string) {
	s.t.Helper()
	for _, pod := range []string{"near", "far", "clerk"} {
		s.expect(pod, want)
	}
}

// expect asks until a pod's connections end as they should, and then again: an answer that comes and goes is none.
func (s *seller) expect(pod, want string) {
	s.t.Helper()
	for _, address := range s.addresses {
		try := func() error {
			out, err := s.c.Exec(s.t.Context(), "shop", pod, "/probe", "connect", address, "500ms")
			if out = strings.TrimSpace(out); err == nil && out != want {
				err = fmt.Errorf("%s is answered %q by %s, want %q", pod, out, address, want)
			}
			return err
		}
		until(s.t, s.c, "connect from "+pod, try)
		if err := try(); err != nil {
			s.t.Errorf("the second time: %v", err)
		}
	}
}

// hosts shows that the database's own node reaches it under a policy that isolates it, and the other node does not.
func (s *seller) hosts() {
	s.t.Helper()
	for _, address := range s.addresses[:2] {
		host, port, err := net.SplitHostPort(address)
		must(s.t, s.c, err)
		for i, n := range s.c.Nodes[:2] {
			ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
			cmd, err := n.Command(ctx, "timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/"+host+"/"+port)
			must(s.t, s.c, err)
			out, err := cmd.CombinedOutput()
			cancel()
			if (err == nil) != (i == 0) {
				s.t.Errorf("%s connects to the database at %s: error %v %s", n.Name, address, err, out)
			}
		}
	}
}

// guard has all three connect to the database all the time, while only the clerk may, until end.
func (s *seller) guard() (end func()) {
	s.t.Helper()
	s.apply(onlyFrom("clerk"))
	var ends []func()
	for pod, sign := range map[string]string{"far": "-", "near": "-", "clerk": "+"} {
		want := "timeout"
		if sign == "+" {
			want = "open"
		}
		s.expect(pod, want)
		args := []string{"exec", "-i", "-n", "shop", pod, "--", "/probe", "keep"}
		for _, a := range s.addresses {
			args = append(args, sign+a)
		}
		ends = append(ends, s.keep(pod, args))
	}
	return func() {
		for _, f := range ends {
			f()
		}
	}
}

func (s *seller) keep(pod string, args []string) (end func()) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := s.c.KubectlCommand(ctx, args...)
	stdin, err := cmd.StdinPipe()
	must(s.t, s.c, err)
	stdout, err := cmd.StdoutPipe()
	must(s.t, s.c, err)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	must(s.t, s.c, cmd.Start())
	s.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it has ended, or is killed
	})
	out := bufio.NewReader(stdout)
	if line, err := out.ReadString('\n'); err != nil || line != "trying\n" {
		s.t.Fatalf("%s does not try: %q, %v, %s", pod, line, err, stderr.String())
	}
	return func() {
		s.t.Helper()
		must(s.t, s.c, stdin.Close())
		var kept []struct {
			Target       string
			Tries, Wrong int
			Errors       []string
		}
		if err := json.NewDecoder(out).Decode(&kept); err != nil || len(kept) != len(s.addresses) {
			s.t.Fatalf("read what came of %s: %v, %v, %s", pod, kept, err, stderr.String())
		}
		for _, k := range kept {
			if k.Wrong > 0 || k.Tries < 10 {
				s.t.Errorf("%d of %d connections from %s to %s were decided against policy: %q", k.Wrong, k.Tries, pod, k.Target, k.Errors)
			}
		}
		s.t.Logf("connections from %s: %+v", pod, kept)
	}
}
