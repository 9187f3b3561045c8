// Package podtest makes what a kubelet and a container runtime make of a pod, as far as the kernel shows it: cgroups in every
// hierarchy, a network namespace, a sandbox process, and processes of a test's own program in it. It needs root. All of it is gone
// when the test ends.
package podtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Root is where the cgroup filesystems of this machine are.
const Root = "/sys/fs/cgroup"

const childArg = "podtest-child"

// Main is to be called first in TestMain: in a process that Pod.Start started, it runs that command and exits. A command ends at
// the latest when its input does.
func Main(commands map[string]func(in *bufio.Scanner, args []string) error) {
	if len(os.Args) < 3 || os.Args[1] != childArg {
		return
	}
	in := bufio.NewScanner(os.Stdin)
	fn := commands[os.Args[2]]
	if os.Args[2] == "pause" {
		fn = func(in *bufio.Scanner, _ []string) error {
			for in.Scan() {
			}
			return nil
		}
	}
	if fn == nil {
		fmt.Fprintln(os.Stderr, "no command", os.Args[2])
		os.Exit(2)
	}
	if !in.Scan() { // until it is where it belongs
		os.Exit(0)
	}
	if err := fn(in, os.Args[3:]); err != nil {
		fmt.Println("error:", strings.ReplaceAll(err.Error(), "\n", " "))
		os.Exit(1)
	}
	os.Exit(0)
}

var nodes atomic.Int64

// Node is a node's folder of cgroups.
type Node struct {
	// Kubepods is the cgroup of all pods, as kubelet's --cgroup-root would make it.
	Kubepods string
	systemd  bool
	t        testing.TB
	dirs     []string // of the hierarchies
}

// New makes a node. With systemd its cgroups are named as that driver does.
func New(t testing.TB, systemd bool) *Node {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("making a pod needs root")
	}
	base := fmt.Sprintf("fairlead%d-%d", os.Getpid(), nodes.Add(1))
	n := &Node{t: t, systemd: systemd, Kubepods: "/" + base + "/kubepods"}
	if systemd {
		n.Kubepods = "/" + base + ".slice/" + base + "-kubepods.slice"
	}
	all, err := filepath.Glob(Root + "/*/cgroup.procs")
	if err != nil || len(all) == 0 {
		t.Fatalf("find cgroup hierarchies in %s: %v", Root, err)
	}
	if _, err := os.Stat(Root + "/cgroup.controllers"); err == nil {
		all = []string{Root + "/cgroup.procs"} // version 2 alone
	}
	for _, p := range all {
		if st, err := os.Lstat(filepath.Dir(p)); err == nil && st.Mode()&fs.ModeSymlink == 0 {
			n.dirs = append(n.dirs, filepath.Dir(p))
		}
	}
	top := "/" + strings.SplitN(n.Kubepods, "/", 3)[1]
	t.Cleanup(func() { n.remove(top) })
	n.make(n.Kubepods)
	return n
}

// make makes a cgroup in every hierarchy.
func (n *Node) make(p string) {
	n.t.Helper()
	for _, d := range n.dirs {
		at := d
		for _, s := range strings.Split(strings.Trim(p, "/"), "/") {
			at = filepath.Join(at, s)
			if err := os.Mkdir(at, 0o755); errors.Is(err, os.ErrExist) {
				continue
			} else if err != nil {
				n.t.Fatalf("make cgroup: %v", err)
			}
			for _, f := range []string{"cpuset.cpus", "cpuset.mems"} { // empty in a new cpuset of version 1, which then takes nobody
				if b, err := os.ReadFile(filepath.Join(filepath.Dir(at), f)); err == nil && len(b) > 1 {
					if err := os.WriteFile(filepath.Join(at, f), b, 0o644); err != nil {
						n.t.Fatalf("make cgroup: %v", err)
					}
				}
			}
		}
	}
}

// remove removes a cgroup with all below it, once its processes have ended.
func (n *Node) remove(p string) {
	for _, d := range n.dirs {
		var err error
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			if err = removeAll(filepath.Join(d, p)); err == nil {
				break
			}
		}
		if err != nil {
			n.t.Errorf("remove cgroup: %v", err)
		}
	}
}

func removeAll(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if e.IsDir() {
			err = errors.Join(err, removeAll(filepath.Join(dir, e.Name())))
		}
	}
	return errors.Join(err, os.Remove(dir))
}

// Move puts a process into a cgroup, which is made, in the hierarchies that are named ("memory", "unified"); all unless named.
func (n *Node) Move(pid int, to string, only ...string) {
	n.t.Helper()
	n.make(to)
	for _, d := range n.dirs {
		if len(only) > 0 && !strings.Contains(" "+strings.Join(only, " ")+" ", " "+filepath.Base(d)+" ") {
			continue
		}
		if err := os.WriteFile(filepath.Join(d, to, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
			n.t.Fatalf("move process: %v", err)
		}
	}
}

// Pod is a pod with a sandbox.
type Pod struct {
	Node    *Node
	UID     string
	Cgroup  string
	Sandbox *Process
	flags   uintptr // of the sandbox
}

// Isolated are the namespaces that a pod has of its own unless it asks for the node's.
const Isolated = syscall.CLONE_NEWNET | syscall.CLONE_NEWPID

// Pod makes a pod of the class besteffort.
func (n *Node) Pod(uid string) *Pod {
	n.t.Helper()
	return n.PodOf(uid, "besteffort", Isolated)
}

// PodOf makes a pod of a QoS class, empty for guaranteed, with the namespaces of its own (clone flags): without CLONE_NEWNET it has
// hostNetwork, without CLONE_NEWPID hostPID.
func (n *Node) PodOf(uid, class string, flags uintptr) *Pod {
	n.t.Helper()
	p := &Pod{Node: n, UID: uid, Cgroup: path.Join(n.Kubepods, class, "pod"+uid), flags: flags}
	if n.systemd {
		dir, slice := n.Kubepods, strings.TrimSuffix(path.Base(n.Kubepods), ".slice")
		if class != "" {
			slice += "-" + class
			dir = path.Join(dir, slice+".slice")
		}
		p.Cgroup = path.Join(dir, slice+"-pod"+strings.ReplaceAll(uid, "-", "_")+".slice")
	}
	p.Sandbox = n.Start(flags, "", "pause")
	n.Move(p.Sandbox.PID, p.Container("sandbox"))
	p.Sandbox.Say("go")
	return p
}

// Container is the cgroup of a container of the pod.
func (p *Pod) Container(name string) string {
	if p.Node.systemd {
		name = "cri-containerd-" + name + ".scope"
	}
	return path.Join(p.Cgroup, name)
}

// Netns is the path of the pod's network namespace, while the sandbox lives.
func (p *Pod) Netns() string { return fmt.Sprintf("/proc/%d/ns/net", p.Sandbox.PID) }

// Start runs a command of Main's in a container of the pod.
func (p *Pod) Start(command string, args ...string) *Process {
	p.Node.t.Helper()
	c := p.Node.Start(p.flags&^syscall.CLONE_NEWNET, p.Netns(), command, args...)
	p.Node.Move(c.PID, p.Container("app"))
	c.Say("go")
	return c
}

// Process is a child.
type Process struct {
	PID int
	t   testing.TB
	in  io.WriteCloser
	out *bufio.Scanner
	cmd *exec.Cmd
	got bool
}

// Start starts a command of Main's with new namespaces (clone flags), in the network of a namespace's path unless that is empty.
// It waits for its first line of input.
func (n *Node) Start(flags uintptr, netns, command string, args ...string) *Process {
	n.t.Helper()
	cmd := exec.Command("/proc/self/exe", append([]string{childArg, command}, args...)...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	in, err := cmd.StdinPipe()
	out, oerr := cmd.StdoutPipe()
	if err := errors.Join(err, oerr); err != nil {
		n.t.Fatalf("start process: %v", err)
	}
	started := make(chan error)
	go func() { started <- within(netns, cmd.Start) }()
	if err := <-started; err != nil {
		n.t.Fatalf("start process: %v", err)
	}
	p := &Process{PID: cmd.Process.Pid, t: n.t, in: in, out: bufio.NewScanner(out), cmd: cmd}
	n.t.Cleanup(p.Kill)
	return p
}

// within calls fn on a thread that is in a network namespace, and ends with it. The first thread shows what the process is in, so
// it is left alone.
func within(netns string, fn func() error) error {
	if netns == "" {
		return fn()
	}
	runtime.LockOSThread()
	if unix.Gettid() == os.Getpid() {
		defer runtime.UnlockOSThread()
		done := make(chan error)
		go func() { done <- within(netns, fn) }()
		return <-done
	}
	f, err := os.Open(netns)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return err
	}
	return fn()
}

// Say writes a line to the process.
func (p *Process) Say(line string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Errorf("write to process: %v", err)
	}
}

// Hear reads a line from the process; a line "error: …" of Main's fails the test.
func (p *Process) Hear() string {
	p.t.Helper()
	stuck := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer stuck.Stop()
	if !p.out.Scan() {
		p.t.Fatalf("process %d has ended, or was silent for 30 s", p.PID)
	}
	if strings.HasPrefix(p.out.Text(), "error: ") {
		p.t.Fatalf("process %d: %s", p.PID, p.out.Text())
	}
	return p.out.Text()
}

// Kill ends the process and waits for it.
func (p *Process) Kill() {
	if p.got {
		return
	}
	p.got = true
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.in.Close()
}
