package attest

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// process is a process that is held by a pidfd: the Proof of a Caller.
type process struct {
	kernel *Kernel
	pid    int
	fd     *os.File
	was    standing // where Attest found it
	gone   chan struct{}
	once   sync.Once
}

// standing is where a process is: its pod, and its network and process namespaces.
type standing struct {
	position
	net, pid uint64
}

// ended gives ErrGone once the process has ended, also while its parent has not waited for it.
func (p *process) ended() error {
	var out error
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	if err = raw.Control(func(fd uintptr) { out = pollEnded(fd) }); err != nil {
		return fmt.Errorf("%w: %w", ErrGone, err) // closed, because it has
	}
	return out
}

func pollEnded(fd uintptr) error {
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("look after the process: %w", err)
		case n > 0:
			return ErrGone
		}
		return nil
	}
}

// look reads where the process is. It holds only if the process has not ended when it was read.
func (k *Kernel) look(number int) (standing, error) {
	pid := strconv.Itoa(number)
	b, err := k.read(number, "cgroup", maxCgroup)
	if err != nil {
		return standing{}, err
	}
	all, err := parseCgroup(b)
	if err != nil {
		return standing{}, err
	}
	k.anchor.absolute(all)
	at, err := locate(all, k.kubepods)
	if err != nil {
		return standing{}, err
	}
	if len(at.uid) != uuidLength {
		return standing{}, fmt.Errorf("%w: the hash of its manifest is %s (annotation kubernetes.io/config.hash)", ErrStatic, at.uid)
	}
	if k.nodeErr != nil {
		return standing{}, k.nodeErr
	}
	s := standing{position: at}
	if s.pid, err = k.namespace(pid, "pid"); err != nil {
		return standing{}, err
	}
	if s.net, err = k.namespace(pid, "net"); err != nil {
		return standing{}, err
	}
	return s, nil
}

// Alive is Proof's. It costs some ten microseconds.
func (p *process) Alive() error {
	if err := p.ended(); err != nil {
		return err
	}
	at, err := p.kernel.look(p.pid)
	if gone := p.ended(); gone != nil {
		return gone
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMoved, err)
	}
	if at.uid != p.was.uid || at.net != p.was.net || at.pid != p.was.pid {
		return fmt.Errorf("%w: from pod %s to pod %s", ErrMoved, p.was.uid, at.uid)
	}
	return nil
}

// wait closes gone when the process ends. Closing fd ends it.
func (p *process) wait() {
	defer close(p.gone)
	raw, err := p.fd.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool { return pollEnded(fd) != nil })
}

// Gone is Proof's.
func (p *process) Gone() <-chan struct{} { return p.gone }

// Close is Proof's.
func (p *process) Close() { p.once.Do(func() { _ = p.fd.Close() }) }
