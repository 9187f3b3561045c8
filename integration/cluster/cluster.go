// Package cluster runs a real Kubernetes cluster of several nodes on one machine: etcd, API server, controller manager and
// scheduler in one network namespace, and a network namespace for each node, with a containerd, a kubelet, a kube-proxy, CNI
// plugins, mounts, cgroups, hostname and bpffs of its own. Nothing leads out of it. Several clusters may run at once.
//
// It is the world that Fairlead is installed in, before and behind the line source → table → resolve → {translate, verdict} →
// snapshot → push → {Envoy, shim} → ACK/NACK. It needs Linux, root, and what `hack/tools/install.sh cluster` installs.
//
//	<name>-cp  10.60.0.1:6443, bridge fl0 ──┬── <name>-n1  10.60.0.11, pods 10.244.1.0/24
//	                                        └── <name>-n2  10.60.0.12, pods 10.244.2.0/24     Services 10.96.0.0/16
package cluster

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Patience is how long a cluster may take for one step. An idle machine needs a tenth of it.
const Patience = 2 * time.Minute

// Options are what may be chosen; the zero value is two nodes with kube-proxy in nftables mode, a bridge, and no DNS.
type Options struct {
	Name          string   `json:"name"`                // prefix of namespaces and cgroups; a test gets one of its own
	Nodes         int      `json:"nodes"`               // default 2, at most 9
	Proxy         string   `json:"proxy"`               // mode of kube-proxy: "nftables" (default), "iptables", or "none"
	CNI           string   `json:"cni"`                 // "bridge" (default), or "ptp": routed links without a bridge
	DNS           bool     `json:"dns"`                 // CoreDNS at 10.96.0.10
	DualStack     bool     `json:"dualStack,omitempty"` // nodes, pods and Services have IPv6 addresses too
	APIServerArgs []string `json:"apiServerArgs,omitempty"`
}

func (o *Options) complete() error {
	set := func(s *string, value string, others ...string) error {
		if *s == "" {
			*s = value
		}
		if *s != value && !slices.Contains(others, *s) {
			return fmt.Errorf("%q is none of %q", *s, append(others, value))
		}
		return nil
	}
	if o.Nodes == 0 {
		o.Nodes = 2
	}
	if o.Nodes < 0 || o.Nodes > maxNodes {
		return fmt.Errorf("%d nodes: use 1 to %d", o.Nodes, maxNodes)
	}
	return errors.Join(checkName(o.Name), set(&o.Proxy, "nftables", "iptables", "none"), set(&o.CNI, "bridge", "ptp"))
}

// checkName keeps the names of interfaces and cgroups legal, and those of a cluster from being another's beginning.
func checkName(name string) error {
	if !regexp.MustCompile(`^[a-z][a-z0-9]{0,9}$`).MatchString(name) {
		return fmt.Errorf("name %q of a cluster: use up to ten letters and digits, a letter first", name)
	}
	return nil
}

// Cluster is a running cluster. Its methods may be called from any goroutine, but for those that change nodes.
type Cluster struct {
	Options Options
	Nodes   []*Node // node 1 first

	dir   string // all state; no other cluster's
	tools tools
	reap  sync.WaitGroup // waits for the children of this process
}

// Start runs a cluster until the end of t. When t fails, its log folder is kept and named. Whatever it leaves on the machine fails t.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("a cluster needs root")
		}
		t.Skip("a cluster needs root")
	}
	if o.Name == "" {
		o.Name = "t" + randomName()
	}
	before, err := traces(o.Name)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	c, err := up(t.Context(), o, os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("cluster %s is up after %v", o.Name, time.Since(begin).Round(10*time.Millisecond))
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.describe())
			t.Logf("logs are kept in %s", logsDir(c.dir))
		}
		if err := c.Down(t.Failed()); err != nil {
			t.Error(err)
		}
		if left, err := leftSince(before, o.Name); err != nil || len(left) > 0 {
			t.Errorf("cluster %s has left on the machine: %q (error %v)", o.Name, left, err)
		}
	})
	return c
}

func randomName() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// Up runs a cluster that stays until somebody calls Down, in this process or in another.
func Up(ctx context.Context, o Options) (*Cluster, error) { return up(ctx, o, 0) }

// up starts a cluster that belongs to process owner, or to nobody.
func up(ctx context.Context, o Options, owner int) (*Cluster, error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	if os.Getuid() != 0 {
		return nil, errors.New("start cluster: it makes namespaces and mounts: run as root")
	}
	if err := Reap(); err != nil {
		return nil, fmt.Errorf("start cluster: remove what a killed test run left: %w", err)
	}
	tools, err := findTools()
	if err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	dir, err := create(o, owner)
	if err != nil {
		return nil, fmt.Errorf("start cluster: %w", err)
	}
	c := &Cluster{Options: o, dir: dir, tools: tools}
	for i := range o.Nodes {
		c.Nodes = append(c.Nodes, c.node(i+1))
	}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start cluster %s (logs: %s): %w", o.Name, logsDir(dir), err), c.Down(true))
	}
	return c, nil
}

// start brings up all parts at once: what needs another part waits for it by itself.
func (c *Cluster) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	if err := c.network(); err != nil {
		return err
	}
	var images string
	err := together(
		func() error { return c.startControlPlane(ctx) },
		func() (err error) { images, err = c.baseImages(ctx); return err },
		func() error { return each(c.Nodes, func(n *Node) error { return n.boot(ctx) }) },
	)
	if err != nil {
		return err
	}
	if err := each(c.Nodes, func(n *Node) error { return n.join(ctx, images) }); err != nil {
		return err
	}
	if err := c.waitNodes(ctx, c.Nodes...); err != nil {
		return err
	}
	if err := c.installDNS(ctx); err != nil {
		return err
	}
	return c.waitDefaultAccount(ctx)
}

// Open finds a cluster that another process has started.
func Open(name string) (*Cluster, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	root, err := stateRoot()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(root, name)
	s, err := readState(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no cluster %s: start it with `make cluster`", name)
	}
	if err != nil {
		return nil, err
	}
	tools, err := findTools()
	if err != nil {
		return nil, err
	}
	c := &Cluster{Options: s.Options, dir: dir, tools: tools}
	for i := range s.Options.Nodes {
		c.Nodes = append(c.Nodes, c.node(i+1))
	}
	return c, nil
}

// Kubeconfig is the path of the administrator's kubeconfig. It names 10.60.0.1, which only the namespaces of the cluster reach:
// programs run by Command, and clients by Config.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.dir, "admin.kubeconfig") }

// Config returns a client configuration for an administrator, without client-side rate limits, whose connections are opened
// inside the cluster. Each call makes a new one.
func (c *Cluster) Config() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	config.QPS, config.Dial = -1, c.Dial
	return config, nil
}

// client returns a client of the API server; close ends its connections.
func (c *Cluster) client() (client kubernetes.Interface, close func(), err error) {
	config, err := c.Config()
	if err != nil {
		return nil, nil, err
	}
	transport, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, nil, err
	}
	client, err = kubernetes.NewForConfigAndClient(config, transport)
	return client, transport.CloseIdleConnections, err
}

// together runs all at once and returns all their errors.
func together(all ...func() error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, f := range all {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}

func each[T any](all []T, f func(T) error) error {
	var fs []func() error
	for _, v := range all {
		fs = append(fs, func() error { return f(v) })
	}
	return together(fs...)
}
