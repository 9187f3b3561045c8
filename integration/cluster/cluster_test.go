package cluster_test

import (
	"context"
	"strings"
	"testing"

	"fairlead.io/fairlead/integration/cluster"
)

// web is a Service with a pod on every node.
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

func installWeb(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	if err := c.Apply(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	if err := c.Rollout(t.Context(), "default", "daemonset/web"); err != nil {
		t.Fatal(err)
	}
}

// answers asks the Service by its name, from the pod on node from, until the pods of as many nodes have answered.
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

func on(t *testing.T, n *cluster.Node, name string, args ...string) string {
	t.Helper()
	cmd, err := n.Command(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args, err, out)
	}
	return string(out)
}

func TestPodsTalkOverServicesInEveryNetwork(t *testing.T) {
	for _, test := range []struct {
		proxy, cni string
		rules      []string // what lists kube-proxy's rules
		mark       string   // what is among them
	}{
		{"nftables", "bridge", []string{"nft", "list", "tables"}, "ip kube-proxy"},
		{"iptables", "ptp", []string{"iptables-save", "-t", "nat"}, "default/web"},
	} {
		t.Run(test.proxy+"-"+test.cni, func(t *testing.T) {
			c := cluster.Start(t, cluster.Options{Proxy: test.proxy, CNI: test.cni, DNS: true})
			installWeb(t, c)
			for _, n := range c.Nodes {
				answers(t, c, n, len(c.Nodes))
			}
			if rules := on(t, c.Nodes[0], test.rules[0], test.rules[1:]...); !strings.Contains(rules, test.mark) {
				t.Errorf("no rules of kube-proxy in mode %s:\n%s", test.proxy, rules)
			}
			if links := on(t, c.Nodes[0], "ip", "link"); strings.Contains(links, "cni0") != (test.cni == "bridge") {
				t.Errorf("links of CNI %s:\n%s", test.cni, links)
			}
		})
	}
}

func TestNodeLosesItsPowerAndAnotherIsAdded(t *testing.T) {
	c := cluster.Start(t, cluster.Options{CNI: "ptp", DNS: true})
	ctx := t.Context()
	installWeb(t, c)
	lost := c.Nodes[1]
	if err := lost.Down(); err != nil {
		t.Fatal(err)
	}
	if _, err := lost.Command(ctx, "true"); err == nil {
		t.Error("a node without power runs commands")
	}
	// Nobody else would find out for 40 seconds.
	_, err := c.Kubectl(ctx, "", "delete", "pods", "-A", "--field-selector", "spec.nodeName="+lost.Name, "--force", "--grace-period=0")
	if err != nil {
		t.Fatal(err)
	}
	answers(t, c, c.Nodes[0], 1)
	if err := lost.Up(ctx); err != nil {
		t.Fatal(err)
	}
	added, err := c.AddNode(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Rollout(ctx, "default", "daemonset/web"); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*cluster.Node{lost, added} {
		answers(t, c, n, 3)
	}
	if err := c.APIServerDown(); err != nil {
		t.Fatal(err)
	}
	if err := c.APIServerUp(ctx); err != nil {
		t.Fatal(err)
	}
	answers(t, c, added, 3)
}
