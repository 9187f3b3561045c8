package attest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Config says where the node's own view of itself is.
type Config struct {
	// Proc is a proc filesystem of the node's process namespace: /proc unless set. Cgroup is the node's cgroup filesystem, all
	// hierarchies: /sys/fs/cgroup unless set. An agent in a container has hostPID, CAP_SYS_PTRACE, and the latter mounted.
	Proc, Cgroup string
	// Kubepods is the cgroup that kubelet keeps its pods in. Unless set it is the one that the agent itself runs in, or, for an
	// agent outside of pods, /kubepods and /kubepods.slice.
	Kubepods string
	// Network gives the inode of a pod's network namespace, where somebody else knows it. Unless set, or where it does not know,
	// it is that of the pod's oldest process.
	Network func(podUID string) (inode uint64, ok bool)
}

// Kernel is the Attestor that asks the kernel.
type Kernel struct {
	Config   // read-only
	kubepods []string
	anchor   anchor
	// nodePID is the node's process namespace; nodeErr says why it is not known, and then everybody is refused.
	nodePID uint64
	nodeErr error
	// pidfd holds the peer of a socket; a test takes the way of kernels before 6.5.
	pidfd func(fd, pid int, accepted time.Time) (int, error)
}

// New is an Attestor for the node that it runs on. It never fails: what cannot be read is refused for each caller, with the reason.
func New(c Config) *Kernel {
	if c.Proc == "" {
		c.Proc = "/proc"
	}
	if c.Cgroup == "" {
		c.Cgroup = "/sys/fs/cgroup"
	}
	k := &Kernel{Config: c}
	k.pidfd = k.peerPidfd
	k.anchor = findAnchor(c.Proc, c.Cgroup)
	k.kubepods = k.findKubepods()
	k.nodePID, k.nodeErr = k.nodeProcesses()
	return k
}

// Attest is Attestor's.
func (k *Kernel) Attest(_ context.Context, conn *net.UnixConn) (*Caller, error) {
	accepted := time.Now()
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("attest caller: %w", err)
	}
	var p *process
	cerr := raw.Control(func(fd uintptr) { p, err = k.peer(int(fd), accepted) })
	if err := errors.Join(cerr, err); err != nil {
		return nil, fmt.Errorf("attest caller: %w", err)
	}
	at, err := k.look(p.pid)
	if err == nil {
		err = k.sandbox(at)
	}
	if err = errors.Join(err, p.ended()); err != nil {
		p.Close()
		return nil, fmt.Errorf("attest caller: process %d: %w", p.pid, err)
	}
	p.was = at
	go p.wait()
	return NewCaller(at.uid, p.pid, p), nil
}

// peer is the process that called connect().
func (k *Kernel) peer(fd int, accepted time.Time) (*process, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil, fmt.Errorf("ask for the peer: %w", err)
	}
	if cred.Pid <= 0 {
		return nil, errors.New("ask for the peer: the agent cannot see it: run the agent with hostPID")
	}
	pfd, err := k.pidfd(fd, int(cred.Pid), accepted)
	if err != nil {
		return nil, err
	}
	if err := unix.SetNonblock(pfd, true); err != nil {
		_ = unix.Close(pfd)
		return nil, fmt.Errorf("hold process %d: %w", cred.Pid, err)
	}
	return &process{kernel: k, pid: int(cred.Pid), fd: os.NewFile(uintptr(pfd), "pidfd"), gone: make(chan struct{})}, nil
}

// peerPidfd asks for the very process that called connect(), which Linux 6.5 and later tell.
func (k *Kernel) peerPidfd(fd, pid int, accepted time.Time) (int, error) {
	pfd, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	switch {
	case err == nil:
		unix.CloseOnExec(pfd)
		return pfd, nil
	case errors.Is(err, unix.ENOPROTOOPT):
		return k.openPidfd(fd, pid, accepted)
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.EINVAL):
		return 0, ErrGone // reaped already
	}
	return 0, fmt.Errorf("ask for the peer's process: %w", err)
}

// openPidfd is for kernels before 6.5. A process that took the number after the connection was accepted is younger than that and
// refused; between connect() and accept() such a kernel leaves a gap of microseconds.
func (k *Kernel) openPidfd(_, pid int, accepted time.Time) (int, error) {
	before, err := k.started(pid)
	if err != nil {
		return 0, err
	}
	pfd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return 0, ErrGone
	} else if err != nil {
		return 0, fmt.Errorf("hold process %d: %w", pid, err)
	}
	after, err := k.started(pid)
	if err == nil && (before != after || bootTicks(accepted) < after) {
		err = ErrGone
	}
	if err != nil {
		_ = unix.Close(pfd)
		return 0, err
	}
	return pfd, nil
}

// ticks are what the kernel counts a process's start in for user space (USER_HZ), on every architecture that Go has.
const ticks = 100

// bootTicks is a moment since boot.
func bootTicks(t time.Time) uint64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	since := time.Duration(ts.Nano()) - time.Since(t)
	return uint64(max(since, 0) / (time.Second / ticks))
}

// started is when a process started, in ticks since boot (proc_pid_stat(5), field 22).
func (k *Kernel) started(pid int) (uint64, error) {
	b, err := k.read(pid, "stat", 4096)
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b[:max(0, bytes.LastIndexByte(b, ')')+1)]), "(")
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if !ok || rest == "" || len(fields) < 20 {
		return 0, fmt.Errorf("parse stat of process %d: too short", pid)
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

// read reads a file of a process; ErrGone when there is no such process.
func (k *Kernel) read(pid int, name string, limit int64) ([]byte, error) {
	f, err := os.Open(filepath.Join(k.Proc, strconv.Itoa(pid), name))
	if err != nil {
		return nil, gone(err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	return b, gone(err)
}

// namespace is the inode of one of a process's namespaces.
func (k *Kernel) namespace(pid, kind string) (uint64, error) {
	var st unix.Stat_t
	p := filepath.Join(k.Proc, pid, "ns", kind)
	if err := unix.Stat(p, &st); err != nil {
		if errors.Is(err, unix.EACCES) || errors.Is(err, unix.EPERM) {
			return 0, fmt.Errorf("look at namespace %s: %w: give the agent CAP_SYS_PTRACE", kind, err)
		}
		return 0, gone(err)
	}
	return st.Ino, nil
}

func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}
