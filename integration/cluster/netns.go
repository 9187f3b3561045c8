package cluster

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxNodes       = 9
	controlPlaneIP = "10.60.0.1"
	serviceRange   = "10.96.0.0/16"
	firstServiceIP = "10.96.0.1"
	dnsIP          = "10.96.0.10"
	podRange       = "10.244.0.0/16"
	// Of a cluster with both families, in addition.
	controlPlaneIP6 = "fd00:10:60::1"
	serviceRange6   = "fd00:10:96::/112"
	podRange6       = "fd00:10:244::/48"
	bridgeInterface = "fl0"
)

func netnsPath(name string) string { return filepath.Join("/run/netns", name) }

func (c *Cluster) controlPlaneNetns() string { return c.Options.Name + "-cp" }

// onThread runs f on a thread that ends with it, so that f may leave the thread in any namespace.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread dies with the goroutine
		if unix.Gettid() == os.Getpid() {
			// The main thread cannot end, and the process would show its namespaces as its own. Held here, it is not the next.
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}

// inNetns runs f with its thread in a network namespace.
func inNetns(name string, f func() error) error {
	return onThread(func() error {
		if err := enterNetns(name); err != nil {
			return err
		}
		return f()
	})
}

// enterNetns moves the calling thread.
func enterNetns(name string) error {
	ns, err := os.Open(netnsPath(name))
	if err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", name, err)
	}
	return nil
}

// Dial connects from the control plane's namespace, which has routes to nodes and pods, but no kube-proxy. The address is an
// IP:PORT.
func (c *Cluster) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = inNetns(c.controlPlaneNetns(), func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Command is a command in the control plane's network namespace, with the administrator's kubeconfig.
func (c *Cluster) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	// nsenter, not "ip netns exec": that one mounts /sys again and hides the cgroups.
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{"--net=" + netnsPath(c.controlPlaneNetns()), name}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	return cmd
}

// network makes the bridge of the cluster, and connects the nodes to it.
func (c *Cluster) network() error {
	cp := c.controlPlaneNetns()
	if err := addNetns(cp); err != nil {
		return err
	}
	err := ip(cp, "link set lo up", "link add "+bridgeInterface+" type bridge", "addr add "+controlPlaneIP+"/24 dev "+bridgeInterface,
		"link set "+bridgeInterface+" up")
	if err != nil {
		return err
	}
	for _, n := range c.Nodes {
		if err := n.connect(); err != nil {
			return err
		}
	}
	if c.Options.DualStack {
		if err := ip(cp, "addr add "+controlPlaneIP6+"/64 dev "+bridgeInterface+" nodad"); err != nil {
			return err
		}
	}
	return c.routes()
}

// link is the end of the node's link that is on the bridge.
func (n *Node) link() string { return fmt.Sprintf("node%d", n.Index) }

// connect gives the node a network namespace, and a link to the bridge.
func (n *Node) connect() error {
	cp, ns, link := n.cluster.controlPlaneNetns(), n.Netns, n.link()
	if err := addNetns(ns); err != nil {
		return err
	}
	if err := ip(cp, "link add "+link+" type veth peer name eth0 netns "+ns, "link set "+link+" master "+bridgeInterface+" up"); err != nil {
		return err
	}
	commands := []string{"link set lo up", "addr add " + n.IP + "/24 dev eth0", "link set eth0 up", "route add default via " + controlPlaneIP}
	if n.cluster.Options.DualStack {
		commands = append(commands, "addr add "+n.IP6+"/64 dev eth0 nodad", "route add default via "+controlPlaneIP6)
	}
	return ip(ns, commands...)
}

// disconnect removes the link. It would go with the node's namespace, but in the kernel's own time, and the next one has its name.
func (n *Node) disconnect() error {
	cp := n.cluster.controlPlaneNetns()
	if exec.Command("ip", "-netns", cp, "link", "show", n.link()).Run() != nil {
		return nil // there is none
	}
	return ip(cp, "link del "+n.link())
}

// routes tells everybody that is up where the pods of every node are.
func (c *Cluster) routes() error {
	for _, n := range c.Nodes {
		routes := []string{"route replace " + n.PodRange + " via " + n.IP}
		if c.Options.DualStack {
			routes = append(routes, "route replace "+n.PodRange6+" via "+n.IP6)
		}
		if err := ip(c.controlPlaneNetns(), routes...); err != nil {
			return err
		}
		for _, other := range c.Nodes {
			if _, err := os.Lstat(netnsPath(other.Netns)); other == n || err != nil {
				continue
			}
			if err := ip(other.Netns, routes...); err != nil {
				return err
			}
		}
	}
	return nil
}

func addNetns(name string) error {
	if err := run(exec.Command("ip", "netns", "add", name)); err != nil {
		return err
	}
	return inNetns(name, func() error {
		for _, family := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
			if err := os.WriteFile("/proc/sys/net/"+family, []byte("1"), 0o644); err != nil && !os.IsNotExist(err) {
				return err
			}
		}
		return nil
	})
}

// ip runs commands of ip in a network namespace.
func ip(netns string, commands ...string) error {
	cmd := exec.Command("ip", "-netns", netns, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	return run(cmd)
}
