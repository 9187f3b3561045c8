package sctp

import (
	"errors"
	"net"
	"sync"
	"time"
)

// patience is how long a half-open association is remembered.
const patience = 10 * time.Second

// SCTPListener answers on one port.
type SCTPListener struct {
	address *SCTPAddr
	sockets []*net.IPConn
	accept  chan *SCTPConn
	closed  chan struct{}
	once    sync.Once

	mu    sync.Mutex
	conns map[peer]*SCTPConn
}

type peer struct {
	ip   string
	port uint16
}

// ListenSCTP listens at an address; without one, or with that of nobody, at all of both families.
func ListenSCTP(_ string, local *SCTPAddr) (*SCTPListener, error) {
	l := &SCTPListener{address: local, accept: make(chan *SCTPConn, 128), closed: make(chan struct{}), conns: map[peer]*SCTPConn{}}
	at := []net.IP{net.IPv4zero, net.IPv6zero}
	if len(local.IPAddrs) > 0 && !local.IPAddrs[0].IP.IsUnspecified() {
		at = []net.IP{local.IPAddrs[0].IP}
	}
	var failed error
	for _, ip := range at {
		socket, err := net.ListenIP(protocol(ip), &net.IPAddr{IP: ip})
		if err != nil {
			failed = err // a machine may have one family
			continue
		}
		l.sockets = append(l.sockets, socket)
		go l.serve(socket)
	}
	if len(l.sockets) == 0 {
		return nil, failed
	}
	return l, nil
}

func (l *SCTPListener) serve(socket *net.IPConn) {
	b := make([]byte, 1<<16)
	for {
		n, from, err := socket.ReadFromIP(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue
		}
		p, err := parse(b[:n])
		if err != nil || int(p.to) != l.address.Port || len(p.chunks) == 0 {
			continue // another server's, or a client's in the same namespace
		}
		key := peer{ip: from.String(), port: p.from}
		if p.chunks[0].kind == initiate {
			l.initiate(socket, key, from, p)
			continue
		}
		l.mu.Lock()
		c := l.conns[key]
		l.mu.Unlock()
		if c != nil {
			l.deliver(c, p)
		}
	}
}

// initiate answers an INIT. Its state is kept here and not in the cookie: nobody attacks a test.
func (l *SCTPListener) initiate(socket *net.IPConn, key peer, from *net.IPAddr, p packet) {
	i, err := parseIntroduction(p.chunks[0].value)
	if err != nil || p.tag != 0 {
		return
	}
	l.mu.Lock()
	c := l.conns[key]
	if c == nil || c.theirTag != i.tag { // a new one, also of a client that has started again
		remote := &SCTPAddr{IPAddrs: []net.IPAddr{*from}, Port: int(p.from)}
		var made *SCTPConn
		made = newConn(l.address, remote, func(b []byte) { _, _ = socket.WriteToIP(b, from) }, func() { go l.forget(key, made) })
		c = made
		c.theirTag, c.theirTSN, c.cookie = i.tag, i.tsn-1, []byte("cookie of a test")
		l.conns[key] = c
		time.AfterFunc(patience, c.abandon)
	}
	l.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.emit(chunk{kind: initiateAck, value: introduction{tag: c.myTag, tsn: c.tsn, cookie: c.cookie}.marshal()})
}

// abandon ends an association that has never come to be.
func (c *SCTPConn) abandon() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.up {
		c.end()
	}
}

func (l *SCTPListener) forget(key peer, c *SCTPConn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conns[key] == c {
		delete(l.conns, key)
	}
}

func (l *SCTPListener) deliver(c *SCTPConn, p packet) {
	before := c.isUp()
	c.handle(p)
	if !before && c.isUp() {
		select {
		case l.accept <- c:
		case <-l.closed:
		}
	}
}

func (c *SCTPConn) isUp() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.up
}

// AcceptSCTP returns the next association that a client has made.
func (l *SCTPListener) AcceptSCTP() (*SCTPConn, error) {
	select {
	case c := <-l.accept:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *SCTPListener) Accept() (net.Conn, error) { return l.AcceptSCTP() }
func (l *SCTPListener) Addr() net.Addr            { return l.address }

// Close stops listening; associations end by themselves.
func (l *SCTPListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		for _, s := range l.sockets {
			_ = s.Close()
		}
	})
	return nil
}
