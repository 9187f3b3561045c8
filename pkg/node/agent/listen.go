package agent

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// listen opens what the Config names. Nothing stays open after an error.
func (a *agent) listen() (*listeners, error) {
	l := &listeners{}
	if err := a.open(l); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

func (a *agent) open(l *listeners) (err error) {
	if a.cfg.SDSSocket != "" {
		if l.sds, err = listenSDS(a.cfg.SDSSocket, a.cfg.SDSGroup); err != nil {
			return fmt.Errorf("serve SDS: %w", err)
		}
	}
	if a.cfg.WorkloadSocket != "" {
		if l.workload, err = socket(a.cfg.WorkloadSocket, 0o666, 0o755); err != nil {
			return fmt.Errorf("serve workload API: %w", err)
		}
	}
	if a.enforcer != nil && a.cfg.Policy.Flows != "" {
		if l.flows, err = socket(a.cfg.Policy.Flows, 0o600, 0o700); err != nil {
			return fmt.Errorf("serve flows: %w", err)
		}
	}
	if a.enforcer != nil && a.cfg.Policy.CNI != "" {
		if l.cni, err = socket(a.cfg.Policy.CNI, 0o600, 0o700); err != nil {
			return fmt.Errorf("serve the CNI plugin: %w", err)
		}
	}
	if a.cfg.Admin != "" {
		if l.admin, err = listenAdmin(a.cfg.Admin); err != nil {
			return fmt.Errorf("serve admin interface: %w", err)
		}
	}
	return nil
}

// listenSDS opens a socket for this process's user, and for a group when there is one: whoever opens it gets private keys. A
// folder that was there before keeps its owner and mode.
func listenSDS(path string, group int) (net.Listener, error) {
	if group < 0 {
		return socket(path, 0o600, 0o700)
	}
	dir := filepath.Dir(path)
	_, err := os.Stat(dir)
	made := errors.Is(err, os.ErrNotExist)
	l, err := socket(path, 0o600, 0o750)
	if err != nil {
		return nil, err
	}
	if made {
		err = os.Chown(dir, -1, group)
	}
	if err == nil {
		err = os.Chown(path, -1, group) // before the mode, which must never be another group's
	}
	if err == nil {
		err = os.Chmod(path, 0o660)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("give %s to group %d: %w", path, group, err), l.Close())
	}
	return l, nil
}

// socket listens on a Unix socket of that mode, in a folder that is made with dir's mode when there is none. What an agent
// that was killed has left is taken away; a socket that somebody answers on is not.
func socket(path string, mode, dir os.FileMode) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), dir); err != nil {
		return nil, err
	}
	if err := clear(path); err != nil {
		return nil, err
	}
	// A folder in between keeps the socket from being opened before it has its mode.
	tmp, err := os.MkdirTemp(filepath.Dir(path), ".s")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	hidden := filepath.Join(tmp, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: hidden, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	if err = os.Chmod(hidden, mode); err == nil {
		err = os.Rename(hidden, path)
	}
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &moved{l, path}, nil
}

// moved is a listener whose socket has another path than it was made with.
type moved struct {
	*net.UnixListener
	path string
}

// Addr is where the socket is now.
func (m *moved) Addr() net.Addr { return &net.UnixAddr{Name: m.path, Net: "unix"} }

// clear removes a socket that nobody answers on.
func clear(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSocket == 0:
		return fmt.Errorf("%s is there already and is no socket; remove it, or name another path", path)
	}
	conn, err := net.Dial("unix", path)
	switch {
	case err == nil:
		_ = conn.Close()
		return fmt.Errorf("somebody answers on %s already; stop that agent first", path)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, os.ErrNotExist):
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	return err
}

// listenAdmin opens loopback IP:PORT, or unix:/path for this process's user.
func listenAdmin(address string) (net.Listener, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return socket(path, 0o600, 0o755)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("%q is neither IP:PORT nor unix:/path: %w", address, err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return nil, fmt.Errorf("%q is not on loopback: use 127.0.0.1:PORT or unix:/path", address)
	}
	return net.Listen("tcp", address)
}
