package install_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"fairlead.io/fairlead/integration/cluster"
	"fairlead.io/fairlead/integration/cluster/install"
	"fairlead.io/fairlead/integration/kube"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rules are of both kinds that Fairlead writes conditions to.
const rules = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: fairlead}
spec: {controllerName: fairlead.io/gateway-controller}
---
apiVersion: fairlead.io/v1alpha1
kind: VirtualService
metadata: {name: server}
spec:
  hosts: [server.default.svc.cluster.local]
  http: [{route: [{destination: {host: server.default.svc.cluster.local, port: {number: 8443}}}]}]
`

// TestFairleadOnACluster runs two clusters at once, which differ in what a node may differ in: their other two combinations are
// those of package cluster's own tests.
func TestFairleadOnACluster(t *testing.T) {
	bin := t.TempDir()
	if err := install.Build(t.Context(), bin); err != nil {
		t.Fatal(err)
	}
	t.Run("as it is, bridge and nftables", func(t *testing.T) {
		t.Parallel()
		asItIs(t, bin)
	})
	t.Run("with certificates of a minute, routed links and iptables", func(t *testing.T) {
		t.Parallel()
		brief(t, bin)
	})
}

// asItIs installs config/install with its flags.
func asItIs(t *testing.T, bin string) {
	c := cluster.Start(t, cluster.Options{DNS: true, CNI: "bridge", Proxy: "nftables", DualStack: true})
	manifests(t, c)
	must(t, c, install.Run(t.Context(), c, install.Config{Tag: "first", Bin: bin}))
	must(t, c, install.Wait(t.Context(), c))
	replicas(t, c)
	for i, n := range c.Nodes {
		holds(t, c, i, "spiffe://cluster.local/node/"+n.Name+"/"+uid(t, c, "node", n.Name), "")
		envoyIsTheNode(t, c, n)
	}
	commands(t, c)
	rights(t, c)

	populate(t, c)
	holds(t, c, 1, accounts+"quiet", "default/quiet") // it has no socket, so it cannot have asked
	call(t, c)
	strangers(t, c)
	specials(t, c)
	deletedPodsToken(t, c, bin)
	must(t, c, conditions(t, c))
	unguard := policy(t, c).guard()

	across := keepCalling(t, c, "client")
	for _, w := range install.Workloads() {
		_, err := c.Kubectl(t.Context(), "", "rollout", "restart", "-n", install.Namespace, w)
		must(t, c, err)
		must(t, c, c.Rollout(t.Context(), install.Namespace, w))
	}
	rotate(t, c)
	call(t, c)
	across.end(t)
	unguard()
	// A pod that the agents and the servers of before have not known.
	must(t, c, c.Apply(t.Context(), oneOf("late", "client", "server", c.Nodes[1])))
	ready(t, c, "late")
	call(t, c)
}

// replicas are two, on two nodes.
func replicas(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	out, err := c.Kubectl(t.Context(), "", "get", "pods", "-n", install.Namespace, "-l", "app.kubernetes.io/name=fairlead",
		"-o", `jsonpath={range .items[*]}{.spec.nodeName}={.status.containerStatuses[0].ready} {end}`)
	must(t, c, err)
	for _, n := range c.Nodes {
		if !strings.Contains(out, n.Name+"=true ") {
			t.Errorf("replicas are %q, want one on each node", out)
		}
	}
}

// rotate replaces the authority through the installed server.
func rotate(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	out, err := c.Exec(t.Context(), install.Namespace, "deployment/fairlead", "fairlead", "ca", "rotate", "--wait", "--timeout=2m")
	must(t, c, err)
	if !strings.Contains(out, "signs") {
		t.Errorf("after a rotation: %s", out)
	}
}

// servers are the pods of the replicas.
func servers(t *testing.T, c *cluster.Cluster) []string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), "", "get", "pods", "-n", install.Namespace, "-l", "app.kubernetes.io/name=fairlead", "-o", "name")
	must(t, c, err)
	return strings.Fields(out)
}

// commands shows that people can look at an installed server.
func commands(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"ca", "status"}, []string{"trust domain: cluster.local", "Stable", "signs"}},
		{[]string{"cert", "list"}, []string{"IDENTITY", "spiffe://cluster.local/"}},
		{[]string{"proxy-status"}, []string{c.Nodes[0].Name, c.Nodes[1].Name}},
	} {
		until(t, c, strings.Join(test.args, " "), func() error {
			var out string
			for _, r := range servers(t, c) { // each knows its own clients, and what it has signed
				o, err := c.Exec(t.Context(), install.Namespace, r, append([]string{"fairlead"}, test.args...)...)
				if err != nil {
					return err
				}
				out += o
			}
			var err error
			for _, w := range test.want {
				if err == nil && !strings.Contains(out, w) {
					err = fmt.Errorf("there is no %q in %q", w, out)
				}
			}
			return err
		})
	}
}

// manifests asks the API server, which writes nothing, what it thinks of them.
func manifests(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	dir, err := install.Overlay(t.Context(), install.Config{Tag: "none"})
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	// The others are refused without it.
	if err := c.Apply(t.Context(), "{apiVersion: v1, kind: Namespace, metadata: {name: "+install.Namespace+"}}"); err != nil {
		t.Fatal(err)
	}
	out, err := c.Kubectl(t.Context(), "", "apply", "--dry-run=server", "--server-side", "--force-conflicts", "--validate=strict", "-k", dir)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out, "Warning") || !strings.Contains(out, "daemonset.apps/fairlead-node") {
		t.Error(out)
	}
}

// conditions shows that the server may read and judge.
func conditions(t *testing.T, c *cluster.Cluster) error {
	t.Helper()
	crds, err := kube.GatewayAPICRDs("standard")
	if err != nil {
		return err
	}
	if _, err := c.Kubectl(t.Context(), "", "apply", "--server-side", "-f", crds); err != nil {
		return err
	}
	if err := c.Apply(t.Context(), rules); err != nil {
		return err
	}
	_, err = c.Kubectl(t.Context(), "", "wait", "--for=condition=Accepted", "--timeout=60s", "gatewayclass/fairlead", "virtualservices.fairlead.io/server")
	return err
}

// agentOf is the pod of a node's agent ("fairlead-node"), or of its Envoy.
func agentOf(t *testing.T, c *cluster.Cluster, n *cluster.Node, name string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), "", "get", "pod", "-n", install.Namespace, "-l", "app.kubernetes.io/name="+name,
		"--field-selector", "spec.nodeName="+n.Name, "-o", "name")
	must(t, c, err)
	return strings.TrimSpace(out)
}

func uid(t *testing.T, c *cluster.Cluster, kind, name string) string {
	t.Helper()
	out, err := c.Kubectl(t.Context(), "", "get", kind, name, "-o", "jsonpath={.metadata.uid}")
	must(t, c, err)
	return out
}

// held asks the agent of a node for a valid SVID of an identity, for a pod unless that is empty.
func held(t *testing.T, c *cluster.Cluster, node int, id, pod string) (serial, authority string, err error) {
	t.Helper()
	out, err := c.Exec(t.Context(), install.Namespace, agentOf(t, c, c.Nodes[node], "fairlead-node"), "/usr/local/bin/fairlead-node",
		"status", "--admin=unix:/run/fairlead/agent/admin.sock", "-o", "json")
	if err != nil {
		return "", "", err
	}
	var status struct {
		Identities []struct {
			ID, State, Serial, Authority string
			Pods                         []string
		}
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return "", "", err
	}
	for _, i := range status.Identities {
		if i.ID == id && i.State == "valid" && (pod == "" || slices.Contains(i.Pods, pod)) {
			return i.Serial, i.Authority, nil
		}
	}
	return "", "", fmt.Errorf("the agent of %s does not hold %s (%s): %s", c.Nodes[node].Name, id, pod, out)
}

func holds(t *testing.T, c *cluster.Cluster, node int, id, pod string) {
	t.Helper()
	until(t, c, "find an SVID", func() error { _, _, err := held(t, c, node, id, pod); return err })
}

// showPods logs what Fairlead's pods have to say, for a test that fails.
func showPods(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, w := range install.Workloads() {
		out, err := c.Kubectl(context.Background(), "", "logs", "-n", install.Namespace, w, "--all-pods", "--all-containers", "--tail=30")
		t.Logf("logs of %s: %v\n%s", w, err, out)
	}
}
