package kube

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// port is a loopback TCP port that stays ours: a socket of this process is bound to it with SO_REUSEPORT and never listens, so
// that the kernel gives the port to nobody else, while the child (told to share ports) listens on it, again after a restart.
type port struct {
	fd     int
	number int
}

func reservePort() (*port, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("reserve port: %w", err)
	}
	p := &port{fd: fd}
	if err := p.bind(); err != nil {
		if c := unix.Close(fd); c != nil {
			return nil, fmt.Errorf("reserve port: %w (and %w)", err, c)
		}
		return nil, fmt.Errorf("reserve port: %w", err)
	}
	return p, nil
}

func (p *port) bind() error {
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return err
	}
	if err := unix.Bind(p.fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	name, err := unix.Getsockname(p.fd)
	if err != nil {
		return err
	}
	v4, ok := name.(*unix.SockaddrInet4)
	if !ok {
		return fmt.Errorf("socket has the name %T", name)
	}
	p.number = v4.Port
	return nil
}

func (p *port) release() error { return unix.Close(p.fd) }
