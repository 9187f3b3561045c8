// Package process runs a real part (Envoy, etcd, kube-apiserver) as a child: for `check`, the demo and tests.
//
// It stands outside the line source → … → {Envoy, shim}. It owns the one thing that is easy to get wrong: a child with a
// parent-death signal dies with the parent's *thread*, so each child is started from a goroutine that keeps its thread until
// the child is gone.
package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// Process is a running child. Its methods may be called from any goroutine.
type Process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{} // closed when the child has been waited for
	err  error         // what Wait returned; read only after done
}

// Start runs path with args in folder dir and appends its output to the file dir/name.log.
// The child gets SIGKILL when this process dies, even when this process is killed.
func Start(name, dir, path string, args ...string) (*Process, error) {
	p := &Process{name: name, log: filepath.Join(dir, name+".log"), done: make(chan struct{})}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.cmd = exec.Command(path, args...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = dir, log, log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}

	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // the parent-death signal belongs to this thread
		defer runtime.UnlockOSThread()
		defer close(p.done)
		defer log.Close()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// Pid is the child's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Log returns the last max bytes of what the child wrote.
func (p *Process) Log(max int) string {
	data, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	if len(data) > max {
		return "…" + string(data[len(data)-max:])
	}
	return string(data)
}

// Exited says whether the child is gone; the error then tells how it ended and ends with its last output.
func (p *Process) Exited() (bool, error) {
	select {
	case <-p.done:
		return true, fmt.Errorf("%s exited: %v\n%s", p.name, p.err, p.Log(4096))
	default:
		return false, nil
	}
}

// Stop sends SIGTERM and, when grace is over, SIGKILL; it returns when the child is gone. A grace of zero kills at once.
func (p *Process) Stop(grace time.Duration) error {
	if grace > 0 {
		if err := p.signal(syscall.SIGTERM); err != nil {
			return err
		}
		select {
		case <-p.done:
			return nil
		case <-time.After(grace):
		}
	}
	if err := p.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-p.done
	return nil
}

func (p *Process) signal(s syscall.Signal) error {
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// Wait polls ready every few milliseconds until it returns nil. It gives up when the child exits or when timeout is over, with
// ready's last error.
func (p *Process) Wait(timeout time.Duration, ready func() error) error {
	deadline := time.Now().Add(timeout)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		if gone, err := p.Exited(); gone {
			return err
		}
		err := ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("wait for %s: not ready in %v: %w\n%s", p.name, timeout, err, p.Log(4096))
		}
		select {
		case <-p.done:
		case <-tick.C:
		}
	}
}
