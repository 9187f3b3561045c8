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

// talks shows that the Service is answered across nodes, by a kube-proxy and a network of the kinds that were asked for.
func talks(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	installWeb(t, c)
	for _, n := range c.Nodes {
		answers(t, c, n, len(c.Nodes))
		rules, mark := []string{"nft", "list", "tables"}, "ip kube-proxy"
		if c.Options.Proxy == "iptables" {
			rules, mark = []string{"iptables-save", "-t", "nat"}, "default/web"
		}
		if out := on(t, n, rules[0], rules[1:]...); !strings.Contains(out, mark) {
			t.Errorf("no rules of kube-proxy in mode %s:\n%s", c.Options.Proxy, out)
		}
		if links := on(t, n, "ip", "link"); strings.Contains(links, "cni0") != (c.Options.CNI == "bridge") {
			t.Errorf("links of CNI %s:\n%s", c.Options.CNI, links)
		}
	}
}

// bothFamilies shows that pods, and Services of both families, are answered at their IPv6 addresses too, from every node's pod.
func bothFamilies(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	_, err := c.Kubectl(t.Context(), "", "patch", "service", "web", "-p", `{"spec":{"ipFamilyPolicy":"RequireDualStack"}}`)
	if err != nil {
		t.Fatal(err)
	}
	addresses := func(kind, path string) []string {
		out, err := c.Kubectl(t.Context(), "", "get", kind, "-o", "jsonpath="+path)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(out)
	}
	pods := addresses("pods", "{range .items[*]}{.metadata.name} {end}")
	all := append(addresses("pods", "{range .items[*]}{.status.podIPs[1].ip} {end}"), addresses("service/web", "{.spec.clusterIPs[1]}")...)
	if len(all) != len(c.Nodes)+1 {
		t.Fatalf("IPv6 addresses are %q", all)
	}
	for _, pod := range pods {
		for i, address := range all {
			port := "8080"
			if i == len(all)-1 {
				port = "80"
			}
			if _, err := c.Exec(t.Context(), "default", pod, "/probe", "get", "http://["+address+"]:"+port, "30"); err != nil {
				t.Errorf("%s calls %s: %v", pod, address, err)
			}
		}
	}
}

// The other two combinations of network and kube-proxy are those of package install.
func TestPodsTalkOverServices(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{CNI: "bridge", Proxy: "iptables", DNS: true, DualStack: true})
	talks(t, c)
	bothFamilies(t, c)
}

func TestNodeLosesItsPowerAndAnotherIsAdded(t *testing.T) {
	t.Parallel()
	c := cluster.Start(t, cluster.Options{CNI: "ptp", Proxy: "nftables", DNS: true})
	ctx := t.Context()
	talks(t, c)
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
