// Package sctp has as much of the API of github.com/ishidawataru/sctp as agnhost uses, and speaks SCTP (RFC 9260) by itself over
// raw sockets, since not every kernel has SCTP sockets. What is on the wire is real: packets, checksums, and the handshakes that
// connection tracking follows. It is for tests: one stream each way, one message on its way at a time, no congestion control.
//
// A kernel without SCTP delivers its packets to raw sockets and says nothing else about them, so nobody refuses a port: who calls
// one that is not served waits until it gives up.
package sctp

import (
	"net"
	"strconv"
)

// SCTPAddr is an address and a port.
type SCTPAddr struct {
	IPAddrs []net.IPAddr // the first one counts; none is any
	Port    int
}

func (a *SCTPAddr) Network() string { return "sctp" }

func (a *SCTPAddr) String() string {
	host := ""
	if len(a.IPAddrs) > 0 {
		host = a.IPAddrs[0].String()
	}
	return net.JoinHostPort(host, strconv.Itoa(a.Port))
}

// ResolveSCTPAddr resolves HOST:PORT; network is "sctp".
func ResolveSCTPAddr(_, address string) (*SCTPAddr, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(service, 10, 16)
	if err != nil {
		return nil, err
	}
	a := &SCTPAddr{Port: int(port)}
	if host == "" {
		return a, nil
	}
	ip, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return nil, err
	}
	a.IPAddrs = []net.IPAddr{*ip}
	return a, nil
}

// protocol is the name that package net knows for raw sockets of the address's family.
func protocol(ip net.IP) string {
	if ip.To4() != nil {
		return "ip4:132"
	}
	return "ip6:132"
}
