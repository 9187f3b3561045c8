package server

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Address is where something listens: "127.0.0.1:15010", "[::1]:15010" or "unix:/path".
type Address struct {
	// Network is "tcp" or "unix"; Name is what net.Dial takes.
	Network, Name string
}

// String is the form that ParseAddress reads.
func (a Address) String() string {
	if a.Network == "unix" {
		return "unix:" + a.Name
	}
	return a.Name
}

// ParseAddress reads an address and refuses what leaves the machine: neither xDS nor the admin interface is encrypted.
// localhost is refused too, since a resolver decides what it means.
func ParseAddress(s string) (Address, error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		const sunPath = 108 // struct sockaddr_un, with the final NUL
		if path == "" || len(path) >= sunPath {
			return Address{}, fmt.Errorf("unix socket %q: the path must have 1 to %d bytes", path, sunPath-1)
		}
		return Address{"unix", path}, nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, fmt.Errorf("address %q is neither host:port nor unix:/path; write for example 127.0.0.1:15010", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return Address{}, fmt.Errorf("address %q: the port must be 0 to 65535", s)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return Address{}, fmt.Errorf("address %q is not a loopback IP, and what is served there is not encrypted: use 127.0.0.1:%s, [::1]:%s or unix:/path", s, port, port)
	}
	return Address{"tcp", s}, nil
}

// ParseRemote reads the address of a TLS port: host:port.
func ParseRemote(s string) (Address, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return Address{}, fmt.Errorf("address %q is not host:port; write for example 0.0.0.0:15012", s)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return Address{}, fmt.Errorf("address %q: the port must be 0 to 65535", s)
	}
	if strings.ContainsAny(host, " /") {
		return Address{}, fmt.Errorf("address %q: the host must be a name or an IP", s)
	}
	return Address{"tcp", s}, nil
}

// listen opens an address. A socket that a former process left behind is replaced, one that still answers is not. The
// mode is that of a Unix socket.
func listen(s string, mode fs.FileMode) (net.Listener, error) {
	a, err := ParseAddress(s)
	if err != nil {
		return nil, err
	}
	if a.Network == "unix" {
		if err := removeStale(a.Name); err != nil {
			return nil, err
		}
	}
	lis, err := net.Listen(a.Network, a.Name)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: another process listens there; stop it or choose another address", s)
	}
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if a.Network == "unix" {
		if err := os.Chmod(a.Name, mode); err != nil {
			return nil, errors.Join(fmt.Errorf("listen: %w", err), lis.Close())
		}
	}
	return lis, nil
}

func removeStale(path string) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return fmt.Errorf("listen on unix:%s: the file is there and is no socket; remove it or choose another path", path)
	}
	if conn, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return errors.Join(fmt.Errorf("listen on unix:%s: another process listens there; stop it or choose another path", path), conn.Close())
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}
