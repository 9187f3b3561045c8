package sctp

import (
	"errors"
	"net"
)

// Private ports of RFC 6335, one of which a client takes; the associations of all clients in a network namespace must differ.
const firstPrivatePort, privatePorts = 49152, 16384

// DialSCTP makes an association. It tries until there is one or the peer aborts: who calls it has a timer.
func DialSCTP(_ string, _, remote *SCTPAddr) (*SCTPConn, error) {
	if len(remote.IPAddrs) == 0 {
		return nil, errors.New("sctp: no address to call")
	}
	ip := remote.IPAddrs[0]
	socket, err := net.DialIP(protocol(ip.IP), nil, &ip)
	if err != nil {
		return nil, err
	}
	own := socket.LocalAddr().(*net.IPAddr)
	local := &SCTPAddr{IPAddrs: []net.IPAddr{*own}, Port: firstPrivatePort + int(random()>>1%privatePorts)}
	c := newConn(local, remote, func(b []byte) { _, _ = socket.Write(b) }, func() { _ = socket.Close() })
	go func() {
		b := make([]byte, 1<<16)
		for {
			n, _, err := socket.ReadFromIP(b) // only the peer's, and without the header of IP
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue // what ICMP says is not final: the next packet may arrive
			}
			if p, err := parse(b[:n]); err == nil && int(p.from) == remote.Port && int(p.to) == local.Port {
				c.handle(p)
			}
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.keep(chunk{kind: initiate, value: introduction{tag: c.myTag, tsn: c.tsn}.marshal()})
	for !c.up && !c.over {
		c.state.Wait()
	}
	if !c.up {
		return nil, c.failure()
	}
	return c, nil
}
