package transport

import (
	"container/list"
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
)

// gate counts the connections whose holders are not known yet. When there are too many, the oldest of them goes: a client
// that means it is known after milliseconds, so that a flood of those that never say who they are closes its own.
type gate struct {
	net.Listener
	limit    int
	patience time.Duration
	metrics  *metrics

	mu        sync.Mutex // guards what follows
	strangers *list.List // of *conn, the oldest first
}

func newGate(l net.Listener, cfg *Config, m *metrics) *gate {
	return &gate{Listener: l, limit: cfg.Strangers, patience: cfg.Handshake, metrics: m, strangers: list.New()}
}

// Accept implements net.Listener.
func (g *gate) Accept() (net.Conn, error) {
	raw, err := g.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, gate: g}
	c.gone, c.leave = context.WithCancel(context.Background())
	c.timer = time.AfterFunc(g.patience, func() {
		if g.forget(c) {
			c.late.Store(true)
			c.leave()
			_ = c.Conn.Close()
		}
	})
	g.mu.Lock()
	c.place = g.strangers.PushBack(c)
	var oldest *conn
	if g.strangers.Len() > g.limit {
		oldest = g.strangers.Front().Value.(*conn)
	}
	g.metrics.strangers.Set(float64(g.strangers.Len()))
	g.mu.Unlock()
	if oldest != nil && g.forget(oldest) {
		oldest.evicted.Store(true)
		oldest.timer.Stop()
		oldest.leave()
		_ = oldest.Conn.Close()
		if oldest.shaken.Load() { // else the handshake counts it
			g.metrics.failures.WithLabelValues(string(crowded)).Inc()
		}
	}
	return c, nil
}

// forget takes a connection from the strangers; false when it was none any more.
func (g *gate) forget(c *conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.place == nil {
		return false
	}
	g.strangers.Remove(c.place)
	c.place = nil
	g.metrics.strangers.Set(float64(g.strangers.Len()))
	return true
}

// conn is one connection of the port.
type conn struct {
	net.Conn
	gate  *gate
	timer *time.Timer
	place *list.Element // guarded by gate.mu; nil when the holder is known, or the connection is closed
	// gone ends with the connection, by leave.
	gone  context.Context
	leave context.CancelFunc
	turn  turn

	shaken, evicted, late, closing atomic.Bool
	// end closes the connection with its certificate; set by the handshake, nil without one.
	end atomic.Pointer[time.Timer]
}

// Read implements net.Conn.
func (c *conn) Read(b []byte) (int, error) {
	c.turn.end()
	return c.Conn.Read(b)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.known()
	c.leave()
	if t := c.end.Load(); t != nil {
		t.Stop()
	}
	return c.Conn.Close()
}

// known says that it is known who holds the connection.
func (c *conn) known() {
	c.timer.Stop()
	c.gate.forget(c)
}

// RemoteAddr lets a call find its connection.
func (c *conn) RemoteAddr() net.Addr { return address{c.Conn.RemoteAddr(), c} }

type address struct {
	net.Addr
	conn *conn
}

// handshakes are TLS credentials that count what fails, and let through the gate who has shown a certificate.
type handshakes struct {
	credentials.TransportCredentials
	t *Transport
}

// ServerHandshake implements credentials.TransportCredentials.
func (h handshakes) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, _ := raw.(*conn)
	start := time.Now()
	out, info, err := h.TransportCredentials.ServerHandshake(raw)
	if c != nil {
		c.turn.end()
	}
	if err != nil {
		h.t.metrics.failures.WithLabelValues(string(reasonOf(err, c))).Inc()
		return nil, nil, err
	}
	h.t.metrics.handshakes.Observe(time.Since(start).Seconds())
	if c != nil {
		c.shaken.Store(true)
		if i, ok := info.(credentials.TLSInfo); ok && len(i.State.PeerCertificates) > 0 {
			c.known()
			until := i.State.PeerCertificates[0].NotAfter
			c.end.Store(time.AfterFunc(h.t.remaining(until), func() { h.t.expire(c, errExpires) }))
		}
	}
	return out, info, nil
}

// Clone implements credentials.TransportCredentials.
func (h handshakes) Clone() credentials.TransportCredentials {
	return handshakes{h.TransportCredentials.Clone(), h.t}
}

// ClientHandshake implements credentials.TransportCredentials; nobody calls it.
func (h handshakes) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return h.TransportCredentials.ClientHandshake(ctx, authority, raw)
}

var _ credentials.TransportCredentials = handshakes{}

func (t *Transport) credentials() credentials.TransportCredentials {
	return handshakes{credentials.NewTLS(t.tlsConfig()), t}
}

func (t *Transport) tlsConfig() *tls.Config { return t.turns.apply(t.identity.tls(t.verify)) }
