package datapath

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/pkg/verdict"
)

// space is a network namespace without a name, which is gone with its file.
type space struct {
	t  testing.TB
	fd int
}

func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{t: t}
	err := inThread(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			s.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		return err
	})
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(s.fd) })
	s.ip("link set lo up")
	return s
}

// inThread runs fn in a thread that ends with it, as its namespaces are no other's.
func inThread(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	return <-done
}

func (s *space) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.fd) }

// do runs fn in the namespace.
func (s *space) do(fn func() error) error {
	return inThread(func() error {
		if err := unix.Setns(s.fd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return fn()
	})
}

// run runs a command in the namespace.
func (s *space) run(name string, args ...string) string {
	s.t.Helper()
	return s.feed("", name, args...)
}

func (s *space) feed(input, name string, args ...string) string {
	s.t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--net=" + s.path(), name}, args...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("%s %s: %v: %s%s", name, strings.Join(args, " "), err, out, input)
	}
	return string(out)
}

// ip runs commands of ip(8), all in one process.
func (s *space) ip(commands ...string) {
	s.t.Helper()
	s.feed(strings.Join(commands, "\n")+"\n", "ip", "-batch", "-")
}

func (s *space) sysctl(settings ...string) {
	s.t.Helper()
	err := s.do(func() error {
		for _, x := range settings {
			key, value, _ := strings.Cut(x, "=")
			if err := os.WriteFile(filepath.Join("/proc/sys/net", key), []byte(value), 0); err != nil {
				return err
			}
		}
		return nil
	})
	must(s.t, err)
}

// link gives the index and the MAC of an interface.
func (s *space) link(name string) (index uint32, mac MAC) {
	s.t.Helper()
	must(s.t, s.do(func() error {
		l, err := net.InterfaceByName(name)
		if err == nil {
			index = uint32(l.Index)
			copy(mac[:], l.HardwareAddr)
		}
		return err
	}))
	return index, mac
}

// bpffs mounts one.
func bpffs(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must(t, unix.Mount("bpf", dir, "bpf", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return filepath.Join(dir, "fairlead")
}

var smallSizes = Sizes{Addresses: 4096, Identities: 1024, Sets: 256, Rules: 1 << 16, Ranges: 4096, Flows: 4096, Drops: 1024, Events: 1 << 20}

func open(t testing.TB, c Config) *Datapath {
	t.Helper()
	if c.Dir == "" {
		c.Dir = bpffs(t)
	}
	if c.Sizes == (Sizes{}) {
		c.Sizes = smallSizes
	}
	d, err := Open(c)
	must(t, err)
	t.Cleanup(func() {
		_ = d.Close()
		must(t, Uninstall(c.Dir))
	})
	return d
}

// pod is a pod of a topology.
type pod struct {
	*space
	name     string
	identity uint32
	v4, v6   netip.Addr
	veth     string // at the host
	bridged  bool
}

func (p *pod) addr(six bool) netip.Addr {
	if six {
		return p.v6
	}
	return p.v4
}

// node is a host with pods a and b at a bridge, c and d with routes; far at a port of the bridge, and world behind a router's port.
type node struct {
	*Datapath
	host       *space
	a, b, c, d *pod
	far, world *pod
	dir        string
}

const (
	bridge4, bridge6   = "10.1.0.1", "fd01::1"
	service4, service6 = "10.96.0.1", "fd96::1"
)

func newNode(t testing.TB, brNetfilter bool) *node {
	t.Helper()
	n := &node{host: newSpace(t), dir: bpffs(t)}
	h := n.host
	h.sysctl("ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1", "ipv6/conf/default/accept_dad=0", "ipv6/conf/all/accept_dad=0")
	calls := map[bool]string{false: "0", true: "1"}[brNetfilter]
	h.sysctl("bridge/bridge-nf-call-iptables="+calls, "bridge/bridge-nf-call-ip6tables="+calls)
	h.ip("link add br0 type bridge", "link set br0 address 02:00:00:00:01:01", "link set br0 up",
		"addr add "+bridge4+"/24 dev br0", "addr add "+bridge6+"/64 dev br0 nodad")
	n.a, n.b = n.bridged(t, "a", 1), n.bridged(t, "b", 2)
	n.c, n.d = n.routed(t, "c", 3), n.routed(t, "d", 4)
	n.far = n.bridged(t, "far", 9)
	n.world = n.outside(t)
	n.Datapath = open(t, Config{Dir: n.dir})
	for _, p := range n.pods() {
		n.put(t, p)
		n.attach(t, p)
	}
	must(t, h.do(n.AttachHost))
	return n
}

func (n *node) pods() []*pod { return []*pod{n.a, n.b, n.c, n.d} }

func itoa(i uint32) string { return strconv.Itoa(int(i)) }

// veth makes a pod's link, with an index of its own when one is wanted.
func (n *node) veth(t testing.TB, name string, i int, index uint32) *pod {
	p := &pod{space: newSpace(t), name: name, veth: "fl" + name, identity: uint32(i)}
	p.sysctl("ipv6/conf/default/accept_dad=0", "ipv6/conf/all/accept_dad=0")
	at := ""
	if index != 0 {
		at = " index " + itoa(index)
	}
	n.host.ip("link add "+p.veth+at+" type veth peer name eth0 netns "+p.path(), "link set "+p.veth+" up")
	p.ip("link set eth0 up")
	return p
}

func (n *node) bridged(t testing.TB, name string, i int) *pod {
	p := n.veth(t, name, i, 0)
	p.bridged = true
	p.v4, p.v6 = netip.MustParseAddr(fmt.Sprintf("10.1.0.%d", i+1)), netip.MustParseAddr(fmt.Sprintf("fd01::%d", i+1))
	n.host.ip("link set " + p.veth + " master br0")
	n.host.run("bridge", "link", "set", "dev", p.veth, "hairpin", "on") // as the CNI plugin does
	p.ip("addr add "+p.v4.String()+"/24 dev eth0", "addr add "+p.v6.String()+"/64 dev eth0 nodad",
		"route add default via "+bridge4, "route add default via "+bridge6)
	return p
}

func (n *node) routed(t testing.TB, name string, i int) *pod { return n.routedAt(t, name, i, 0) }

func (n *node) routedAt(t testing.TB, name string, i int, index uint32) *pod {
	p := n.veth(t, name, i, index)
	p.v4, p.v6 = netip.MustParseAddr(fmt.Sprintf("10.2.0.%d", i+1)), netip.MustParseAddr(fmt.Sprintf("fd02::%d", i+1))
	n.host.ip("addr add 169.254.1.1/32 dev "+p.veth, "addr add fe80::1/64 dev "+p.veth+" nodad",
		"route add "+p.v4.String()+"/32 dev "+p.veth, "route add "+p.v6.String()+"/128 dev "+p.veth)
	p.ip("addr add "+p.v4.String()+"/32 dev eth0", "addr add "+p.v6.String()+"/128 dev eth0 nodad",
		"route add 169.254.1.1/32 dev eth0", "route add default via 169.254.1.1 dev eth0", "route add default via fe80::1 dev eth0")
	return p
}

func (n *node) outside(t testing.TB) *pod {
	p := n.veth(t, "world", 0, 0)
	p.v4, p.v6 = netip.MustParseAddr("192.168.9.2"), netip.MustParseAddr("fd09::2")
	n.host.ip("addr add 192.168.9.1/24 dev "+p.veth, "addr add fd09::1/64 dev "+p.veth+" nodad")
	p.ip("addr add 192.168.9.2/24 dev eth0", "addr add fd09::2/64 dev eth0 nodad", "route add default via 192.168.9.1", "route add default via fd09::1")
	return p
}

// put says who a pod is, without a Set.
func (n *node) put(t testing.TB, p *pod) {
	t.Helper()
	index, _ := n.host.link(p.veth)
	for _, a := range []netip.Addr{p.v4, p.v6} {
		must(t, n.PutAddress(a, Address{Identity: p.identity, Namespace: 1, Entities: verdict.All | verdict.Pods, Interface: index}))
	}
}

func (n *node) attach(t testing.TB, p *pod) {
	t.Helper()
	must(t, n.host.do(func() error { return n.Attach(n.endpoint(p)) }))
}

func (n *node) endpoint(p *pod) Endpoint {
	e := Endpoint{Addresses: []netip.Addr{p.v4, p.v6}, Identity: p.identity}
	e.Interface, e.Router = n.host.link(p.veth)
	_, e.MAC = p.link("eth0")
	if p.bridged {
		e.Bridge, e.Router = n.host.link("br0")
	}
	return e
}
