package spiffe_test

import (
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/node/attest"
	"fairlead.io/fairlead/pkg/node/attest/podtest"
	"fairlead.io/fairlead/pkg/node/workloadapi"
	"fairlead.io/fairlead/pkg/node/workloadapi/idtest"
)

const (
	domain = "example.org"
	uidA   = "5c1d0d6e-0000-4000-8000-00000000000a"
	uidB   = "5c1d0d6e-0000-4000-8000-00000000000b"
	idA    = "spiffe://" + domain + "/ns/test/sa/pod-" + uidA
	idB    = "spiffe://" + domain + "/ns/test/sa/pod-" + uidB
)

// rig is a node with two pods and the agent's half of the Workload API.
type rig struct {
	*idtest.Identities
	node   *podtest.Node
	a, b   *podtest.Pod
	dir    string
	socket string
}

func start(t *testing.T) *rig {
	t.Helper()
	r := &rig{Identities: idtest.New(t, domain), node: podtest.New(t, true), dir: t.TempDir()}
	r.socket = filepath.Join(r.dir, "agent.sock")
	s := workloadapi.New(workloadapi.Config{
		Identities: r.Identities, Attestor: attest.New(attest.Config{Kubepods: r.node.Kubepods}), Wait: time.Second,
	})
	l, err := net.Listen("unix", r.socket)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	r.a, r.b = r.node.Pod(uidA), r.node.Pod(uidB)
	r.Set(uidA)
	r.Set(uidB)
	return r
}

// heard waits until a process has said what the pod should have.
func (r *rig) heard(t *testing.T, p *podtest.Process, uid string, roots int) {
	t.Helper()
	svid, _, err := r.X509(uid)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprint(svid.ID, " ", svid.Chain[0].SerialNumber, " ", roots)
	for got := ""; got != want; {
		got = p.Hear()
	}
}

// Two pods have identities of their own and speak mTLS without a failed call, while the root changes five times; a process that is
// killed, moved or of no pod has none.
func TestWorkloadsOfPods(t *testing.T) {
	r := start(t)
	watchA, watchB := r.a.Start("watch", r.socket), r.b.Start("watch", r.socket)
	r.heard(t, watchA, uidA, 1)
	r.heard(t, watchB, uidB, 1)

	at := filepath.Join(r.dir, "b.sock")
	server := r.b.Start("serve", r.socket, at, domain)
	server.Hear()
	caller := r.a.Start("call", r.socket, at, idB)
	caller.Hear()
	for range 5 {
		for _, step := range []struct {
			change func()
			roots  int
		}{{func() { r.Distribute() }, 2}, {r.Sign, 2}, {r.Retire, 1}} {
			step.change()
			r.heard(t, watchA, uidA, step.roots)
			r.heard(t, watchB, uidB, step.roots)
			caller.Say("more") // what began before the step has ended: a rotation waits for hours here
			caller.Hear()
		}
	}
	caller.Say("stop")
	n, who, _ := strings.Cut(caller.Hear(), " ")
	if who != idA {
		t.Errorf("the caller was known as %s", who)
	}
	t.Logf("%s calls", n)

	for uid, pod := range map[string]*podtest.Pod{idA: r.a, idB: r.b} {
		if got := pod.Start("token", r.socket).Hear(); got != uid {
			t.Errorf("a token of %s, want %s", got, uid)
		}
	}
}

// From a new SVID to the line that a process in a pod writes about it.
func TestPushReachesPod(t *testing.T) {
	r := start(t)
	w := r.a.Start("watch", r.socket)
	r.heard(t, w, uidA, 1)
	var worst time.Duration
	for range 50 {
		r.Set(uidA)
		began := time.Now()
		r.heard(t, w, uidA, 1)
		worst = max(worst, time.Since(began))
	}
	t.Logf("new SVID → line of a process in the pod, of 50: worst %v", worst)
}

func TestNoIdentity(t *testing.T) {
	r := start(t)
	denied := func(who string, p *podtest.Process) {
		t.Helper()
		if got := p.Hear(); !strings.Contains(got, "PermissionDenied") || !strings.Contains(got, "no identity issued") {
			t.Errorf("%s: %s", who, got)
		}
	}
	began := func(p *podtest.Process, cgroup string) *podtest.Process {
		if cgroup != "" {
			r.node.Move(p.PID, cgroup)
		}
		p.Say("go")
		return p
	}
	const ns = syscall.CLONE_NEWPID
	denied("a process of the node", began(r.node.Start(0, "", "fetch", r.socket), ""))
	denied("pod A in the network of B", began(r.node.Start(ns, r.b.Netns(), "fetch", r.socket), r.a.Container("app")))
	denied("the node's network in a pod's cgroup", began(r.node.Start(ns, "", "fetch", r.socket), r.a.Container("app")))
	denied("a process of the node in a pod's cgroup", began(r.node.Start(0, r.a.Netns(), "fetch", r.socket), r.a.Container("app")))
	denied("a static pod", r.node.PodOf("0123456789abcdef0123456789abcdef", "burstable", podtest.Isolated).Start("fetch", r.socket))
	denied("a pod that the node does not know", r.node.Pod("5c1d0d6e-0000-4000-8000-00000000000c").Start("fetch", r.socket))
	if got := r.a.Start("fetch", r.socket).Hear(); got != idA {
		t.Errorf("pod A: %s", got)
	}
	for uid, flags := range map[string]uintptr{
		"5c1d0d6e-0000-4000-8000-00000000000d": ns,                   // hostNetwork
		"5c1d0d6e-0000-4000-8000-00000000000e": syscall.CLONE_NEWNET, // hostPID
		"5c1d0d6e-0000-4000-8000-00000000000f": 0,                    // both
	} {
		r.Set(uid)
		if got := r.node.PodOf(uid, "", flags).Start("fetch", r.socket).Hear(); got != "spiffe://"+domain+"/ns/test/sa/pod-"+uid {
			t.Errorf("pod with the node's namespaces: %s", got)
		}
	}
	r.Remove(uidA)
	denied("a pod that has finished", r.a.Start("fetch", r.socket))
	if got := r.b.Start("fetch", r.socket).Hear(); got != idB {
		t.Errorf("pod B: %s", got)
	}
}
