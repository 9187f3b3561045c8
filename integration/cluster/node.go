package cluster

import (
	"bytes"
	"context"
	_ "embed" // the configuration files of a node
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/integration/kube"
)

var (
	//go:embed node/containerd.toml
	containerdConfig string
	//go:embed node/kubelet.yaml
	kubeletConfig string
	//go:embed node/proxy.yaml
	proxyConfig string
	//go:embed node/bridge.conflist
	bridgeConfig string
	//go:embed node/ptp.conflist
	ptpConfig string
)

// ownFolders are those that a node has of its own, beside /etc and /run: a kubelet writes to /var/lib/kubelet, /var/log/pods and
// more whatever its flags say.
var ownFolders = []string{"/var/lib", "/var/log", "/opt"}

// pluginsDir is where Debian puts CNI plugins; nodes have copies of some in /opt/cni/bin, where a pod may add its own.
const pluginsDir = "/usr/lib/cni"

const cniFile = "etc/cni/net.d/10-fairlead-test.conflist"

// Node is one node of a cluster.
type Node struct {
	Index    int
	Name     string // of the Node object, and the hostname
	IP       string
	PodRange string
	// IP6 and PodRange6 are used in a cluster with both families only.
	IP6, PodRange6 string

	Netns  string // its network namespace, a name in /run/netns
	Cgroup string // its cgroup below the root of every hierarchy; pods are in kubepods below it

	cluster *Cluster
	dir     string    // its disk
	booted  time.Time // a heartbeat of before says nothing
}

func (c *Cluster) node(i int) *Node {
	prefix := c.Options.Name + "-n" + strconv.Itoa(i)
	return &Node{
		Index: i, Name: fmt.Sprintf("node-%d.%s.internal", i, c.Options.Name), IP: fmt.Sprintf("10.60.0.1%d", i),
		PodRange: fmt.Sprintf("10.244.%d.0/24", i), IP6: fmt.Sprintf("fd00:10:60::1%d", i), PodRange6: fmt.Sprintf("fd00:10:244:%d::/64", i), Netns: prefix, Cgroup: prefix,
		cluster: c, dir: filepath.Join(c.dir, "n"+strconv.Itoa(i)),
	}
}

// daemon is the name of a daemon of this node.
func (n *Node) daemon(name string) string { return fmt.Sprintf("n%d-%s", n.Index, name) }

// boot starts the node's containerd, in new mount and UTS namespaces, which live as long as it does.
func (n *Node) boot(ctx context.Context) error {
	if err := n.writeDisk(); err != nil {
		return fmt.Errorf("boot %s: %w", n.Name, err)
	}
	if err := makeCgroup(n.Cgroup); err != nil {
		return fmt.Errorf("boot %s: %w", n.Name, err)
	}
	n.booted = time.Now()
	cmd, err := inCgroup(n.Cgroup, "/usr/bin/containerd", "-c", "/etc/containerd/fairlead.toml")
	if err != nil {
		return err
	}
	err = onThread(func() error {
		if err := enterNetns(n.Netns); err != nil {
			return err
		}
		if err := n.enterMounts(); err != nil {
			return err
		}
		return n.cluster.daemon(n.daemon("containerd"), cmd) // a child has the namespaces of the thread that starts it
	})
	if err != nil {
		return fmt.Errorf("boot %s: %w", n.Name, err)
	}
	return poll(ctx, "containerd of "+n.Name, func() error {
		socket, err := n.containerd()
		if err != nil {
			return stopped{err}
		}
		conn, err := net.Dial("unix", socket)
		if err == nil {
			err = conn.Close()
		}
		return err
	})
}

// enterMounts gives the calling thread the node's view of the machine.
func (n *Node) enterMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS); err != nil {
		return fmt.Errorf("make namespaces: %w", err)
	}
	if err := unix.Sethostname([]byte(n.Name)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	type mount struct {
		source, target, kind string
		flags                uintptr
		data                 string
	}
	mounts := []mount{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE, ""}, // nothing reaches the machine
		{"", "/", "", unix.MS_REC | unix.MS_SHARED, ""},  // and all of it reaches pods that ask for it
	}
	for _, folder := range ownFolders {
		mounts = append(mounts, mount{n.dir + folder, folder, "", unix.MS_BIND, ""},
			mount{"", folder, "", unix.MS_PRIVATE, ""}, mount{"", folder, "", unix.MS_SHARED, ""})
	}
	etc := fmt.Sprintf("lowerdir=/etc,upperdir=%s/etc,workdir=%s/etc-work", n.dir, n.dir)
	mounts = append(mounts, mount{"overlay", "/etc", "overlay", 0, etc}, mount{"tmpfs", "/run", "tmpfs", 0, "mode=755"},
		mount{"bpf", "/sys/fs/bpf", "bpf", 0, ""})
	for _, m := range mounts {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for _, dir := range []string{"/run/netns", "/run/containerd", "/run/lock"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0o644); err != nil && !os.IsNotExist(err) {
		return err // without it, a Service between pods of one bridge is answered past kube-proxy
	}
	return nil
}

// writeDisk fills the node's folders; what is there stays.
func (n *Node) writeDisk() error {
	c := n.cluster
	for _, dir := range append([]string{"/etc/cni/net.d", "/etc/containerd", "/etc/kubernetes/manifests", "/etc-work", "/opt/cni/bin"}, ownFolders...) {
		if err := os.MkdirAll(n.dir+dir, 0o755); err != nil {
			return err
		}
	}
	for _, plugin := range []string{"bridge", "ptp", "host-local", "loopback", "portmap"} {
		if err := copyFile(filepath.Join(pluginsDir, plugin), filepath.Join(n.dir, "opt/cni/bin", plugin)); err != nil {
			return err
		}
	}
	cni := bridgeConfig
	if c.Options.CNI == "ptp" {
		cni = ptpConfig
	}
	values := map[string]any{
		"Node": n, "Cluster": c, "Pause": pauseImage, "DNS": dnsIP, "PodRange": c.families(podRange, podRange6),
		"CA": c.pki("ca.crt"), "Cert": c.pki(n.daemon("kubelet.crt")), "Key": c.pki(n.daemon("kubelet.key")), "Proxy": c.kubeconfig("proxy"),
	}
	for path, text := range map[string]string{
		"etc/containerd/fairlead.toml": containerdConfig, cniFile: cni,
		"etc/kubernetes/kubelet.yaml": kubeletConfig, "etc/kubernetes/proxy.yaml": proxyConfig,
		"etc/resolv.conf": "nameserver " + controlPlaneIP + "\n", // nobody answers there
	} {
		if _, err := os.Stat(filepath.Join(n.dir, path)); err == nil && path == cniFile {
			continue // somebody may have chained a plugin to it, before the power was gone
		}
		t, err := template.New(path).Option("missingkey=error").Parse(text)
		if err != nil {
			return err
		}
		var data bytes.Buffer
		if err := t.Execute(&data, values); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(n.dir, path), data.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// join imports images (an archive; empty is none), and starts the kubelet and kube-proxy.
func (n *Node) join(ctx context.Context, images ...string) error {
	if err := n.issue(); err != nil {
		return fmt.Errorf("join %s: %w", n.Name, err)
	}
	for _, archive := range images {
		if err := n.importImages(ctx, archive); err != nil {
			return fmt.Errorf("join %s: %w", n.Name, err)
		}
	}
	c := n.cluster
	if err := n.start("kubelet", "--config=/etc/kubernetes/kubelet.yaml", "--kubeconfig="+c.kubeconfig(n.daemon("kubelet")),
		"--hostname-override="+n.Name, "--node-ip="+c.families(n.IP, n.IP6), "--v=2",
		fmt.Sprintf("--node-labels=topology.kubernetes.io/region=test,topology.kubernetes.io/zone=test-%d", n.Index)); err != nil {
		return err
	}
	if c.Options.Proxy == "none" {
		return nil
	}
	return n.start("kube-proxy", "--config=/etc/kubernetes/proxy.yaml", "--v=2")
}

// families are one value for each family of addresses that the cluster has.
func (c *Cluster) families(ip4, ip6 string) string {
	if c.Options.DualStack {
		return ip4 + "," + ip6
	}
	return ip4
}

// issue makes the kubelet's certificates.
func (n *Node) issue() error {
	p, err := kube.LoadPKI(filepath.Join(n.cluster.dir, "pki"))
	if err != nil {
		return err
	}
	if err := p.Serve(n.daemon("kubelet"), []string{n.Name}, net.ParseIP(n.IP)); err != nil {
		return err
	}
	return n.cluster.makeKubeconfig(p, n.daemon("kubelet"), "system:node:"+n.Name, "system:nodes")
}

// start starts a daemon in the namespaces and the cgroup of the node.
func (n *Node) start(name string, args ...string) error {
	cmd, err := inCgroup(n.Cgroup, n.cluster.tools[name], args...)
	if err != nil {
		return err
	}
	enter, err := n.enter()
	if err != nil {
		return err
	}
	entered := exec.Command(enter[0], append(enter[1:], cmd.Args...)...)
	entered.Env = cmd.Env
	return n.cluster.daemon(n.daemon(name), entered)
}

// enter is the command that enters the node's namespaces. nsenter becomes what it starts.
func (n *Node) enter() ([]string, error) {
	pid, err := n.Pid()
	if err != nil {
		return nil, err
	}
	ns := fmt.Sprintf("/proc/%d/ns/", pid)
	return []string{"nsenter", "--net=" + ns + "net", "--mount=" + ns + "mnt", "--uts=" + ns + "uts"}, nil
}

// Pid is a process that has the network, mount and UTS namespaces of the node: its containerd.
func (n *Node) Pid() (int, error) { return n.cluster.pid(n.daemon("containerd")) }

// MountNamespace is the path of the node's mount namespace.
func (n *Node) MountNamespace() (string, error) {
	pid, err := n.Pid()
	return fmt.Sprintf("/proc/%d/ns/mnt", pid), err
}

// Command is a command on the node: in its namespaces, not in its cgroup.
func (n *Node) Command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	enter, err := n.enter()
	if err != nil {
		return nil, err
	}
	return exec.CommandContext(ctx, enter[0], append(append(enter[1:], name), args...)...), nil
}

// containerd is the path of the containerd's socket, seen from outside the node.
func (n *Node) containerd() (string, error) {
	pid, err := n.Pid()
	return fmt.Sprintf("/proc/%d/root/run/containerd/containerd.sock", pid), err
}

func (n *Node) importImages(ctx context.Context, archive string) error {
	socket, err := n.containerd()
	if err != nil {
		return err
	}
	return run(exec.CommandContext(ctx, "ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", archive))
}

func copyFile(from, to string) error {
	if _, err := os.Stat(to); err == nil {
		return nil
	}
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(dst, src); err != nil {
		dst.Close()
		return err
	}
	return dst.Close()
}
