package cluster_test

import (
	"context"
	"strings"
	"testing"

	"fairlead.io/fairlead/integration/cluster"
)

// web is a Service with a pod on every node, and a client.
const web = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: fairlead.test/probe:1
        imagePullPolicy: Never
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
`

// answers asks the Service by its name from a pod on a node, until pods on all nodes have answered.
func answers(t *testing.T, c *cluster.Cluster, from *cluster.Node, want int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	pod, err := c.Kubectl(ctx, "", "get", "pod", "-l", "app=web", "--field-selector", "spec.nodeName="+from.Name, "-o", "name")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for len(seen) < want {
		out, err := c.Exec(ctx, "default", strings.TrimSpace(pod), "/probe", "get", "http://web.default.svc.cluster.local", "30")
		if err != nil {
			t.Fatalf("%v; %d of %d pods have answered", err, len(seen), want)
		}
		host, _, _ := strings.Cut(out, " ")
		seen[host] = true
	}
}

func TestPodsOfTwoNodesTalkOverAService(t *testing.T) {
	c := cluster.Start(t, cluster.Options{DNS: true})
	ctx := t.Context()
	if err := c.Apply(ctx, web); err != nil {
		t.Fatal(err)
	}
	if err := c.Rollout(ctx, "default", "daemonset/web"); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.Nodes {
		answers(t, c, n, len(c.Nodes))
	}
}
