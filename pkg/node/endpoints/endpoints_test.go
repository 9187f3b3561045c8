package endpoints

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// space is a network namespace without a name, which is gone with its file.
type space struct {
	*Host
	t    testing.TB
	path string
}

func newSpace(t testing.TB) *space {
	t.Helper()
	s := &space{t: t}
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			s.Host, err = Open("")
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	s.path = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(s.ns))
	s.ip("link set lo up")
	return s
}

func (s *space) ip(commands ...string) {
	s.t.Helper()
	for _, c := range commands {
		cmd := exec.Command("nsenter", append([]string{"--net=" + s.path, "ip"}, strings.Fields(c)...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			s.t.Fatalf("ip %s: %v: %s", c, err, out)
		}
	}
}

// rig is a node with a pod at a bridge, and one with a route.
func rig(t testing.TB) (host, a, b *space) {
	host, a, b = newSpace(t), newSpace(t), newSpace(t)
	host.ip("link add flbr0 type bridge", "link set flbr0 address 02:00:00:00:01:01", "link set flbr0 up", "addr add 10.1.0.1/24 dev flbr0",
		"link add fla type veth peer name eth0 netns "+a.path, "link set fla up", "link set fla master flbr0",
		"link add flb type veth peer name eth0 netns "+b.path, "link set flb up", "addr add 169.254.1.1/32 dev flb", "route add 10.2.0.3/32 dev flb",
		"link add kube-ipvs0 type bridge", "addr add 10.96.0.1/32 dev kube-ipvs0")
	a.ip("link set eth0 up", "addr add 10.1.0.2/24 dev eth0")
	b.ip("link set eth0 up", "addr add 10.2.0.3/32 dev eth0", "route add 169.254.1.1/32 dev eth0", "route add default via 169.254.1.1 dev eth0")
	return host, a, b
}

func mustAddr(s string) netip.Addr { return netip.MustParseAddr(s) }

// find asks until the node has learnt the pod's MAC address.
func find(t *testing.T, h *space, a netip.Addr) Place {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		p, err := h.At(a)
		if err == nil {
			return p
		}
		if !errors.Is(err, ErrNotFound) || time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// TestFind finds pods in two ways, which say the same.
func TestFind(t *testing.T) {
	host, a, b := rig(t)
	for _, c := range []struct {
		pod     *space
		name    string
		address netip.Addr
		bridge  bool
	}{{a, "fla", mustAddr("10.1.0.2"), true}, {b, "flb", mustAddr("10.2.0.3"), false}} {
		by, addresses, err := host.In(c.pod.path, "eth0")
		if err != nil || !slices.Equal(addresses, []netip.Addr{c.address}) {
			t.Fatalf("%s: %v, %v", c.name, addresses, err)
		}
		if other, _, err := host.In(c.pod.path, ""); err != nil || other != by {
			t.Errorf("%s without a name: %+v, %v", c.name, other, err)
		}
		at := find(t, host, c.address)
		if at != by || at.Name != c.name || at.Bridge != 0 != c.bridge || at.Interface == 0 || at.MAC == at.Router {
			t.Errorf("%s: in the namespace %+v, at the address %+v", c.name, by, at)
		}
		if c.bridge != (at.Router == [6]byte{2, 0, 0, 0, 1, 1}) {
			t.Errorf("%s: the router is %x", c.name, at.Router)
		}
		if now, is := host.Is(at); !is || now != at {
			t.Errorf("%s: is it not there: %+v", c.name, now)
		}
	}
	if _, _, err := host.In(host.path, ""); !errors.Is(err, ErrNotFound) {
		t.Errorf("the node's own namespace: %v", err)
	}
	if _, err := host.At(mustAddr("10.9.9.9")); !errors.Is(err, ErrNotFound) {
		t.Errorf("nowhere: %v", err)
	}
	if got, err := host.Addresses(); err != nil || !slices.Equal(got, []netip.Addr{mustAddr("10.1.0.1")}) {
		t.Errorf("the node's addresses are %v, %v", got, err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	events, err := host.Watch(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	p := find(t, host, mustAddr("10.1.0.2"))
	host.ip("link del fla")
	select {
	case <-events:
	case <-time.After(10 * time.Second):
		t.Error("that an interface has gone is not told")
	}
	if _, is := host.Is(p); is {
		t.Error("it is there still")
	}
	cancel()
	for range events { //nolint:revive // until it is closed
	}
}

// TestNamespaces knows pods by the cgroups of their processes: the outermost name, the oldest process.
func TestNamespaces(t *testing.T) {
	host, a, b := rig(t)
	proc := t.TempDir()
	const one, two = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"
	for pid, c := range map[string]struct {
		ns, cgroup string
		start      int
	}{
		"10": {a.path, "0::/kubepods/burstable/pod" + one + "/c1", 20},
		"11": {b.path, "0::/kubepods/burstable/pod" + one + "/c1/pod" + two, 30}, // what a pod calls its own is its own business
		"12": {b.path, "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + strings.ReplaceAll(two, "-", "_") + ".slice/cri-1.scope", 5},
		"13": {host.path, "0::/kubepods/poddddddddd-2222-4333-8444-555555555555", 5},
		"14": {b.path, "0::/system.slice/kubelet.service", 5},
		"x":  {b.path, "0::/kubepods/podeeeeeeee-2222-4333-8444-555555555555", 5},
	} {
		dir := filepath.Join(proc, pid)
		stat := "10 (a (b) c) S " + strings.Repeat("1 ", 18) + fmt.Sprint(c.start) + " 0\n"
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "ns"), 0o755), os.Symlink(c.ns, filepath.Join(dir, "ns", "net")),
			os.WriteFile(filepath.Join(dir, "cgroup"), []byte(c.cgroup+"\n"), 0o600), os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := host.Namespaces(proc)
	if err != nil || len(got) != 2 || got[one] != filepath.Join(proc, "10", "ns", "net") || got[two] != filepath.Join(proc, "12", "ns", "net") {
		t.Errorf("%v, %v", got, err)
	}
}

// TestSockets lists connections by what they are, and ends one.
func TestSockets(t *testing.T) {
	host, a, _ := rig(t)
	var l net.Listener
	if err := a.Do(func() (err error) { l, err = net.Listen("tcp", ":80"); return err }); err != nil { // an IPv6 socket, for IPv4 too
		t.Fatal(err)
	}
	defer l.Close()
	var dialed [2]net.Conn
	for i := range dialed {
		if err := host.Do(func() (err error) { dialed[i], err = net.DialTimeout("tcp", "10.1.0.2:80", 10*time.Second); return err }); err != nil {
			t.Fatal(err)
		}
		defer dialed[i].Close()
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	list, err := host.Sockets(a.path)
	if err != nil || len(list) != 2 {
		t.Fatalf("%+v, %v", list, err)
	}
	first := netip.MustParseAddrPort(dialed[0].LocalAddr().String())
	i := slices.IndexFunc(list, func(s Socket) bool { return s.Remote == first })
	if i < 0 || !list[i].Inbound || list[i].Local != netip.MustParseAddrPort("10.1.0.2:80") {
		t.Fatalf("%+v", list)
	}
	if err := host.Destroy(a.path, list[i:i+1]); err != nil {
		t.Fatal(err)
	}
	_ = dialed[0].SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := dialed[0].Read(make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("the other side: %v", err)
	}
	if list, err = host.Sockets(a.path); err != nil || len(list) != 1 {
		t.Errorf("left are %+v, %v", list, err)
	}
	if _, err := host.Sockets(host.path); err == nil {
		t.Error("the node's own sockets are listed")
	}
}
