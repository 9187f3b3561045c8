package install_test

import (
	"context"
	"os"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"fairlead.io/fairlead/integration/cluster"
	"fairlead.io/fairlead/integration/cluster/install"
	"fairlead.io/fairlead/integration/kube"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world has a server on the first node and a client on the second one, each with an account of its own.
const world = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: server}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: client}
---
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 8443}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  serviceAccountName: server
  nodeName: NODE1
  terminationGracePeriodSeconds: 1
  containers:
  - name: server
    image: fairlead.test/probe:1
    imagePullPolicy: Never
    args: [tls-serve, "unix:///spiffe/api.sock", ":8443"]
    readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
    volumeMounts: [{name: spiffe, mountPath: /spiffe, readOnly: true}]
  volumes: [{name: spiffe, hostPath: {path: /run/fairlead/workload, type: Directory}}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  serviceAccountName: client
  nodeName: NODE2
  terminationGracePeriodSeconds: 1
  containers:
  - name: client
    image: fairlead.test/probe:1
    imagePullPolicy: Never
    args: [serve]
    volumeMounts: [{name: spiffe, mountPath: /spiffe, readOnly: true}]
  volumes: [{name: spiffe, hostPath: {path: /run/fairlead/workload, type: Directory}}]
`

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

const socket = "unix:///spiffe/api.sock"

func TestFairleadOnACluster(t *testing.T) {
	c := cluster.Start(t, cluster.Options{DNS: true})
	ctx := t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			showPods(t, c)
			t.Fatal(err)
		}
	}
	t.Run("every field of the manifests is known and valid", func(t *testing.T) { manifests(t, c) })

	must(install.Run(ctx, c, "first"))
	must(install.Wait(ctx, c))
	nodeIdentities(t, c)

	names := strings.NewReplacer("NODE1", c.Nodes[0].Name, "NODE2", c.Nodes[1].Name)
	must(c.Apply(ctx, names.Replace(world)))
	_, err := c.Kubectl(ctx, "", "wait", "--for=condition=Ready", "--timeout=60s", "pod/server", "pod/client")
	must(err)
	const want = "spiffe://cluster.local/ns/default/sa/server spiffe://cluster.local/ns/default/sa/client <nil>\n"
	call := func() {
		t.Helper()
		out, err := c.Exec(ctx, "default", "client", "/probe", "tls-get", socket, "https://server.default.svc.cluster.local:8443", "30")
		must(err)
		if out != want {
			t.Errorf("mTLS between nodes gives %q, want %q", out, want)
		}
	}
	call()
	must(conditions(t, c))
	for _, w := range install.Workloads() {
		_, err := c.Kubectl(ctx, "", "rollout", "restart", "-n", install.Namespace, w)
		must(err)
		must(c.Rollout(ctx, install.Namespace, w))
		call()
	}
	// A pod that the agents and the servers of before have not known.
	must(c.Apply(ctx, strings.ReplaceAll(names.Replace(world[strings.LastIndex(world, "---"):]), "name: client}", "name: late}")))
	_, err = c.Kubectl(ctx, "", "wait", "--for=condition=Ready", "--timeout=60s", "pod/late")
	must(err)
	out, err := c.Exec(ctx, "default", "late", "/probe", "svid", socket, "30")
	must(err)
	if id, _, _ := strings.Cut(out, " "); id != "spiffe://cluster.local/ns/default/sa/client" {
		t.Errorf("a pod after the restarts is %q", out)
	}
}

// manifests asks the API server, which writes nothing, what it thinks of them.
func manifests(t *testing.T, c *cluster.Cluster) {
	dir, err := install.Overlay(t.Context(), "none")
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

// nodeIdentities asks the agent of each node who it is.
func nodeIdentities(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	for _, n := range c.Nodes {
		pod, err := c.Kubectl(ctx, "", "get", "pod", "-n", install.Namespace, "-l", "app.kubernetes.io/name=fairlead-node",
			"--field-selector", "spec.nodeName="+n.Name, "-o", "name")
		if err != nil {
			t.Fatal(err)
		}
		out, err := c.Exec(ctx, install.Namespace, strings.TrimSpace(pod), "/usr/local/bin/fairlead-node", "status",
			"--admin=unix:/run/fairlead/agent/admin.sock", "-o", "json")
		if err != nil {
			t.Fatal(err)
		}
		uid, err := c.Kubectl(ctx, "", "get", "node", n.Name, "-o", "jsonpath={.metadata.uid}")
		if err != nil {
			t.Fatal(err)
		}
		if want := "spiffe://cluster.local/node/" + n.Name + "/" + uid; !regexp.MustCompile(regexp.QuoteMeta(want) + `\b`).MatchString(out) {
			t.Errorf("the agent of %s does not hold %s:\n%s", n.Name, want, out)
		}
	}
}

// showPods logs what Fairlead's pods have to say, for a test that fails.
func showPods(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	for _, w := range install.Workloads() {
		out, err := c.Kubectl(context.Background(), "", "logs", "-n", install.Namespace, w, "--all-pods", "--all-containers", "--tail=30")
		t.Logf("logs of %s: %v\n%s", w, err, out)
	}
}
