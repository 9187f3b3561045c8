package agent

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	s.ip("link set lo up")
	return s
}

func (s *space) close() {
	if s.fd >= 0 {
		_ = unix.Close(s.fd)
		s.fd = -1
	}
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

// dup gives another file of the namespace.
func (s *space) dup() int {
	s.t.Helper()
	fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	return fd
}

func (s *space) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), s.fd) }

func (s *space) do(fn func() error) error {
	return inThread(func() error {
		if err := unix.Setns(s.fd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return fn()
	})
}

func (s *space) ip(commands ...string) {
	s.t.Helper()
	for _, c := range commands {
		cmd := exec.Command("nsenter", append([]string{"--net=" + s.path(), "ip"}, strings.Fields(c)...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("ip %s: %v: %s", c, err, out)
		}
	}
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
	if err != nil {
		s.t.Fatal(err)
	}
}

// listen echoes what comes by TCP to a port, until the end of the test.
func (s *space) listen(port int) {
	s.t.Helper()
	var l net.Listener
	if err := s.do(func() (err error) {
		l, err = net.Listen("tcp", fmt.Sprintf(":%d", port))
		return err
	}); err != nil {
		s.t.Fatal(err)
	}
	var all sync.WaitGroup
	ended := make(chan struct{})
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				_, _ = io.Copy(c, c)
				_ = c.Close()
			})
			all.Go(func() {
				<-ended
				_ = c.Close() // what was cut off is not told
			})
		}
	})
	s.t.Cleanup(func() {
		_ = l.Close()
		close(ended)
		all.Wait()
	})
}

func (s *space) dial(to netip.Addr, port int, within time.Duration) (c net.Conn, err error) {
	err = s.do(func() error {
		c, err = net.DialTimeout("tcp", net.JoinHostPort(to.String(), fmt.Sprint(port)), within)
		return err
	})
	return c, err
}

// echo wants what it sends back.
func echo(c net.Conn, within time.Duration) error {
	if err := c.SetDeadline(time.Now().Add(within)); err != nil {
		return err
	}
	if _, err := c.Write([]byte("across\n")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 7))
	return err
}

// silence is how long what must not come is waited for.
const silence = 300 * time.Millisecond

func silent(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}

// pod is a pod of the node in a test.
type pod struct {
	*space
	uid, name, identity string
	addresses           []netip.Addr
	veth                string
}

// hostNode is a network namespace with pods: at a bridge, and with a route each.
type hostNode struct {
	*space
	t testing.TB
}

func newHost(t testing.TB) *hostNode {
	n := &hostNode{newSpace(t), t}
	n.sysctl("ipv4/ip_forward=1", "ipv6/conf/all/forwarding=1", "ipv6/conf/default/accept_dad=0", "ipv6/conf/all/accept_dad=0")
	n.ip("link add flbr0 type bridge", "link set flbr0 address 02:00:00:00:01:01", "link set flbr0 up", "addr add 10.1.0.1/24 dev flbr0", "addr add fd01::1/64 dev flbr0 nodad")
	return n
}

// pod makes one, at the bridge or with routes of its own.
func (n *hostNode) pod(name, identity string, number int, bridged bool) *pod {
	n.t.Helper()
	p := &pod{space: newSpace(n.t), uid: "uid-" + name, name: name, identity: identity, veth: "fl" + name}
	p.sysctl("ipv6/conf/default/accept_dad=0", "ipv6/conf/all/accept_dad=0")
	n.ip("link add "+p.veth+" type veth peer name eth0 netns "+p.path(), "link set "+p.veth+" up")
	p.ip("link set eth0 up")
	if bridged {
		p.addresses = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.1.0.%d", number)), netip.MustParseAddr(fmt.Sprintf("fd01::%d", number))}
		n.ip("link set " + p.veth + " master flbr0")
		p.ip("addr add "+p.addresses[0].String()+"/24 dev eth0", "addr add "+p.addresses[1].String()+"/64 dev eth0 nodad",
			"route add default via 10.1.0.1", "-6 route add default via fd01::1")
		return p
	}
	p.addresses = []netip.Addr{netip.MustParseAddr(fmt.Sprintf("10.2.0.%d", number)), netip.MustParseAddr(fmt.Sprintf("fd02::%d", number))}
	n.ip("addr add 169.254.1.1/32 dev "+p.veth, "addr add fe80::1/64 dev "+p.veth+" nodad",
		"route add "+p.addresses[0].String()+"/32 dev "+p.veth, "-6 route add "+p.addresses[1].String()+"/128 dev "+p.veth)
	p.ip("addr add "+p.addresses[0].String()+"/32 dev eth0", "addr add "+p.addresses[1].String()+"/128 dev eth0 nodad",
		"route add 169.254.1.1/32 dev eth0", "route add default via 169.254.1.1 dev eth0", "-6 route add default via fe80::1 dev eth0")
	return p
}

// bpffs mounts one.
func bpffs(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("bpf", dir, "bpf", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return filepath.Join(dir, "fairlead")
}
