package cluster

import (
	"context"
	_ "embed" // the manifest of CoreDNS
	"fmt"
	"strings"
	"time"
)

//go:embed node/coredns.yaml
var coreDNSManifest string

// installDNS installs CoreDNS, and waits until it answers for Services. kube-proxy follows within its own time.
func (c *Cluster) installDNS(ctx context.Context) error {
	if !c.Options.DNS {
		return nil
	}
	manifest := strings.NewReplacer("IMAGE", coreDNSImage, "CLUSTER_IP", dnsIP).Replace(coreDNSManifest)
	if err := c.Apply(ctx, manifest); err != nil {
		return fmt.Errorf("install CoreDNS: %w", err)
	}
	return c.Rollout(ctx, "kube-system", "deployment/coredns")
}

// Rollout waits until a Deployment or a DaemonSet is there as a whole.
func (c *Cluster) Rollout(ctx context.Context, namespace, object string) error {
	_, err := c.Kubectl(ctx, "", "rollout", "status", "-n", namespace, object, "--timeout="+Patience.String())
	return err
}

// describe is what a person wants to see of a cluster in which a test has failed.
func (c *Cluster) describe() string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var b strings.Builder
	for _, args := range [][]string{
		{"get", "nodes", "-o", "wide"}, {"get", "pods", "-A", "-o", "wide"}, {"get", "events", "-A", "--sort-by=.lastTimestamp"},
	} {
		out, err := c.Kubectl(ctx, "", args...)
		fmt.Fprintf(&b, "%s%v\n", out, err)
	}
	return b.String()
}
