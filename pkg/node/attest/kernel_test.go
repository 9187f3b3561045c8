package attest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/node/attest/podtest"
)

const (
	uidA = "1a2b3c4d-0000-4000-8000-00000000000a"
	uidB = "1a2b3c4d-0000-4000-8000-00000000000b"
)

// socket is a listener that processes of pods dial.
type socket struct {
	*net.UnixListener
	t    *testing.T
	path string
}

func listen(t *testing.T) socket {
	t.Helper()
	p := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return socket{l, t, p}
}

func (s socket) accept() *net.UnixConn {
	s.t.Helper()
	_ = s.SetDeadline(time.Now().Add(20 * time.Second))
	c, err := s.AcceptUnix()
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

func attestor(n *podtest.Node) *Kernel { return New(Config{Kubepods: n.Kubepods}) }

func refused(t *testing.T, k *Kernel, c *net.UnixConn, want error) {
	t.Helper()
	caller, err := k.Attest(t.Context(), c)
	if err == nil {
		caller.Close()
	}
	if !errors.Is(err, want) {
		t.Fatalf("Attest: %v, want %v", err, want)
	}
	t.Log(err)
}

func TestPod(t *testing.T) {
	for _, systemd := range []bool{false, true} {
		t.Run(fmt.Sprintf("systemd=%v", systemd), func(t *testing.T) {
			n, s := podtest.New(t, systemd), listen(t)
			a, b := n.Pod(uidA), n.Pod(uidB)
			k := attestor(n)
			for _, pod := range []*podtest.Pod{a, b} {
				p := pod.Start("dial", s.path)
				p.Hear()
				caller, err := k.Attest(t.Context(), s.accept())
				if err != nil {
					t.Fatal(err)
				}
				defer caller.Close()
				if caller.PodUID != pod.UID || caller.PID != p.PID {
					t.Fatalf("attested as pod %s, process %d; want %s, %d", caller.PodUID, caller.PID, pod.UID, p.PID)
				}
				if err := caller.Alive(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Pods that ask for the node's namespaces are known by their cgroups as others are, of every class and with both drivers. A
// runtime's helper in the pod's cgroup, which is older than the sandbox and the node's, does not speak for the pod.
func TestNodeNamespaces(t *testing.T) {
	for _, systemd := range []bool{false, true} {
		for _, class := range []string{"", "burstable", "besteffort"} {
			for name, flags := range map[string]uintptr{
				"isolated": podtest.Isolated, "hostNetwork": syscall.CLONE_NEWPID, "hostPID": syscall.CLONE_NEWNET, "both": 0,
				"in a cgroup namespace": podtest.Isolated | syscall.CLONE_NEWCGROUP,
			} {
				t.Run(fmt.Sprintf("systemd=%v %s %s", systemd, class, name), func(t *testing.T) {
					t.Parallel()
					n, s := podtest.New(t, systemd), listen(t)
					helper := n.Start(0, "", "pause")
					time.Sleep(2 * time.Second / ticks) // the kernel counts a start in these
					pod, other := n.PodOf(uidA, class, flags), n.Pod(uidB)
					if flags&syscall.CLONE_NEWPID != 0 {
						n.Move(helper.PID, pod.Container("conmon"))
					}
					pod.Start("dial", s.path).Hear()
					k := attestor(n)
					caller, err := k.Attest(t.Context(), s.accept())
					if err != nil {
						t.Fatal(err)
					}
					defer caller.Close()
					if err := caller.Alive(); err != nil || caller.PodUID != uidA {
						t.Fatalf("attested as pod %s, %v", caller.PodUID, err)
					}
					// Another pod's process that goes into this one's network is not of this one.
					p := n.Start(syscall.CLONE_NEWPID, pod.Netns(), "dial", s.path)
					n.Move(p.PID, other.Container("app"))
					p.Say("go")
					p.Hear()
					refused(t, k, s.accept(), ErrAmbiguous)
				})
			}
		}
	}
}

// A process that leaves its pod's process namespace for the node's is not what was attested.
func TestStandingIsCompared(t *testing.T) {
	n, s := podtest.New(t, false), listen(t)
	n.Pod(uidA).Start("dial", s.path).Hear()
	caller, err := attestor(n).Attest(t.Context(), s.accept())
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	p := caller.proof.(*process)
	was := p.was
	for name, change := range map[string]func(*standing){
		"pod": func(s *standing) { s.uid = uidB }, "network": func(s *standing) { s.net++ }, "process namespace": func(s *standing) { s.pid++ },
	} {
		p.was = was
		if change(&p.was); !errors.Is(p.Alive(), ErrMoved) {
			t.Errorf("another %s: %v", name, p.Alive())
		}
	}
}

// A pod may make cgroups below its own and name them as it likes.
func TestNestedCgroups(t *testing.T) {
	n, s := podtest.New(t, false), listen(t)
	a := n.Pod(uidA)
	p := a.Start("dial", s.path)
	p.Hear()
	n.Move(p.PID, a.Container("app")+n.Kubepods+"/besteffort/pod"+uidB+"/app")
	caller, err := attestor(n).Attest(t.Context(), s.accept())
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	if caller.PodUID != uidA {
		t.Fatalf("attested as pod %s", caller.PodUID)
	}
}

func TestRefused(t *testing.T) {
	n, s := podtest.New(t, false), listen(t)
	a, b := n.Pod(uidA), n.Pod(uidB)
	k := attestor(n)
	const ns = syscall.CLONE_NEWNET | syscall.CLONE_NEWPID
	for _, c := range []struct {
		name  string
		flags uintptr
		netns string
		move  func(pid int)
		want  error
	}{
		{"process of the node", 0, "", nil, ErrNoPod},
		{"namespaces without a cgroup", ns, "", nil, ErrNoPod},
		{"cgroup of pods that is none of a pod", ns, "", func(pid int) { n.Move(pid, n.Kubepods+"/besteffort") }, ErrAmbiguous},
		{"cgroups named as pods elsewhere", ns, "", func(pid int) { n.Move(pid, filepath.Dir(n.Kubepods)+"/mine"+n.Kubepods+"/pod"+uidA) }, ErrNoPod},
		{"in a pod's cgroup and the node's network", syscall.CLONE_NEWPID, "", func(pid int) { n.Move(pid, a.Container("app")) }, ErrAmbiguous},
		{"in a pod's cgroup and network, of the node", 0, a.Netns(), func(pid int) { n.Move(pid, a.Container("app")) }, ErrOfNode},
		{"static pod", ns, "", func(pid int) { n.Move(pid, n.Kubepods+"/burstable/pod"+static+"/app") }, ErrStatic},
		{"another pod's network", syscall.CLONE_NEWPID, b.Netns(), func(pid int) { n.Move(pid, a.Container("app")) }, ErrAmbiguous},
		{"a network of its own", ns, "", func(pid int) { n.Move(pid, a.Container("app")) }, ErrAmbiguous},
		{"two pods", syscall.CLONE_NEWPID, a.Netns(), func(pid int) {
			n.Move(pid, a.Container("app"))
			n.Move(pid, b.Container("app"), "memory")
		}, ErrAmbiguous},
		{"two pods, the other in a hierarchy that does not decide", syscall.CLONE_NEWPID, a.Netns(), func(pid int) {
			n.Move(pid, a.Container("app"))
			n.Move(pid, b.Container("app"), "unified")
		}, ErrAmbiguous},
		{"one hierarchy only", syscall.CLONE_NEWPID, a.Netns(), func(pid int) { n.Move(pid, a.Container("app"), "memory") }, ErrAmbiguous},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := n.Start(c.flags, c.netns, "dial", s.path)
			defer p.Kill()
			if c.move != nil {
				c.move(p.PID)
			}
			p.Say("go")
			p.Hear()
			refused(t, k, s.accept(), c.want)
		})
	}
}

func TestMoved(t *testing.T) {
	n, s := podtest.New(t, false), listen(t)
	a, b := n.Pod(uidA), n.Pod(uidB)
	k := attestor(n)
	p := a.Start("dial", s.path)
	p.Hear()
	caller, err := k.Attest(t.Context(), s.accept())
	if err != nil {
		t.Fatal(err)
	}
	defer caller.Close()
	n.Move(p.PID, b.Container("app"))
	if err := caller.Alive(); !errors.Is(err, ErrMoved) {
		t.Fatalf("Alive: %v, want %v", err, ErrMoved)
	}
	p.Say("dial")
	p.Hear()
	refused(t, k, s.accept(), ErrAmbiguous) // in B's cgroup, in A's network
	n.Move(p.PID, a.Container("app"))
	if err := caller.Alive(); err != nil {
		t.Fatal(err)
	}
}

func TestNetworkIsKnown(t *testing.T) {
	n, s := podtest.New(t, false), listen(t)
	a, b := n.Pod(uidA), n.Pod(uidB)
	p := a.Start("dial", s.path)
	p.Hear()
	c := s.accept()
	for _, pod := range []*podtest.Pod{a, b} {
		k := New(Config{Kubepods: n.Kubepods, Network: func(uid string) (uint64, bool) {
			var st syscall.Stat_t
			err := syscall.Stat(pod.Netns(), &st)
			return st.Ino, err == nil && uid == uidA
		}})
		if pod == b {
			refused(t, k, c, ErrAmbiguous)
			continue
		}
		caller, err := k.Attest(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		caller.Close()
	}
}

// The agent runs in a pod, and in a cgroup namespace as container runtimes make them: it finds the node's view, and where pods are.
func TestAgentInContainer(t *testing.T) {
	n := podtest.New(t, false)
	a, b := n.Pod(uidA), n.Pod(uidB)
	at := filepath.Join(t.TempDir(), "s")
	agent := n.Start(0, "", "init-in-cgroup-namespace", "agent", at) // hostNetwork, hostPID
	n.Move(agent.PID, b.Container("agent"))
	agent.Say("go")
	agent.Hear()
	a.Start("dial", at).Hear()
	if uid := agent.Hear(); uid != uidA {
		t.Fatalf("attested as pod %s", uid)
	}
}

func TestKilled(t *testing.T) {
	for _, name := range []string{"SO_PEERPIDFD", "pidfd_open"} {
		t.Run(name, func(t *testing.T) {
			n, s := podtest.New(t, false), listen(t)
			a := n.Pod(uidA)
			k := attestor(n)
			if name == "pidfd_open" {
				k.pidfd = k.openPidfd
			}
			p := a.Start("dial", s.path)
			p.Hear()
			c := s.accept()
			caller, err := k.Attest(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer caller.Close()
			p.Kill()
			<-caller.Gone()
			if err := caller.Alive(); !errors.Is(err, ErrGone) {
				t.Fatalf("Alive: %v, want %v", err, ErrGone)
			}
			refused(t, k, c, ErrGone)
		})
	}
}

// The number of a process that has connected and ended is given to one of another pod.
func TestPidReuse(t *testing.T) {
	n, s := podtest.New(t, false), listen(t)
	a, b := n.Pod(uidA), n.Pod(uidB)
	p := a.Start("dial", s.path)
	p.Hear()
	c, accepted := s.accept(), time.Now()
	p.Kill()

	time.Sleep(2 * time.Second / ticks) // the kernel counts a start in these
	reuse(t, n, b, p.PID)
	k := attestor(n)
	at, err := k.look(p.PID)
	if err != nil || at.uid != uidB {
		t.Fatalf("process %d is of pod %s, %v: the test's own premise", p.PID, at.uid, err)
	}
	refused(t, k, c, ErrGone)
	if pfd, err := k.openPidfd(0, p.PID, accepted); !errors.Is(err, ErrGone) {
		t.Fatalf("openPidfd: %d, %v", pfd, err)
	}
}

// reuse starts a process of a pod that has a number.
func reuse(t *testing.T, n *podtest.Node, pod *podtest.Pod, pid int) *podtest.Process {
	t.Helper()
	for range 2000 {
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(pid-1)), 0o644); err != nil {
			t.Fatal(err)
		}
		p := n.Start(syscall.CLONE_NEWPID, pod.Netns(), "pause")
		if p.PID == pid {
			n.Move(pid, pod.Container("app"))
			p.Say("go")
			return p
		}
		p.Kill()
	}
	t.Fatalf("number %d was not given again", pid)
	return nil
}

func BenchmarkAttest(b *testing.B) {
	n := podtest.New(b, false)
	pod := n.Pod(uidA)
	path := filepath.Join(b.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	pod.Start("dial", path).Hear()
	c, err := l.AcceptUnix()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	k := attestor(n)
	b.Run("attest", func(b *testing.B) {
		for b.Loop() {
			caller, err := k.Attest(b.Context(), c)
			if err != nil {
				b.Fatal(err)
			}
			caller.Close()
		}
	})
	b.Run("alive", func(b *testing.B) {
		caller, err := k.Attest(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		defer caller.Close()
		for b.Loop() {
			if err := caller.Alive(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
