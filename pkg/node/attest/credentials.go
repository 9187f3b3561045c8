package attest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// Info is what gRPC knows of a connection: its caller, or why there is none.
type Info struct {
	credentials.CommonAuthInfo
	Caller *Caller
	Err    error
}

// AuthType is credentials.AuthInfo's.
func (Info) AuthType() string { return "attested" }

// FromContext gives the caller of a call, and looks at it again; the errors are those of an Attestor.
func FromContext(ctx context.Context) (*Caller, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, errors.New("attest caller: not a call")
	}
	info, ok := p.AuthInfo.(Info)
	if !ok {
		return nil, errors.New("attest caller: the connection was not attested")
	}
	if info.Err != nil {
		return nil, info.Err
	}
	return info.Caller, info.Caller.Alive()
}

// Credentials attest a server's connections when they are accepted. A caller that is refused keeps its connection, so that its
// calls can be answered; one that ends loses it, also when a child holds it still. A pod has at most perPod connections, and all
// callers that are refused have as many together: what is beyond is closed.
func Credentials(a Attestor, perPod int) credentials.TransportCredentials {
	return &transport{attestor: a, perPod: perPod, open: map[string]int{}}
}

type transport struct {
	attestor Attestor
	perPod   int

	mu   sync.Mutex
	open map[string]int // by pod UID; "" are those that were refused
}

func (t *transport) take(uid string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[uid] >= t.perPod {
		return false
	}
	t.open[uid]++
	return true
}

func (t *transport) give(uid string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.open[uid]--; t.open[uid] <= 0 {
		delete(t.open, uid)
	}
}

// ServerHandshake is TransportCredentials'.
func (t *transport) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	info := Info{CommonAuthInfo: credentials.CommonAuthInfo{SecurityLevel: credentials.PrivacyAndIntegrity}}
	// A connection that a listener has wrapped tells of the one below.
	base := raw
	for {
		w, ok := base.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		base = w.NetConn()
	}
	unixConn, ok := base.(*net.UnixConn)
	if !ok {
		return nil, nil, errors.New("attest caller: not a connection of a Unix socket")
	}
	var uid string
	if info.Caller, info.Err = t.attestor.Attest(context.Background(), unixConn); info.Err == nil {
		uid = info.Caller.PodUID
	}
	if !t.take(uid) {
		if info.Caller != nil {
			info.Caller.Close()
		}
		return nil, nil, fmt.Errorf("attest caller: pod %q has %d connections already", uid, t.perPod)
	}
	c := &attestedConn{Conn: raw, done: func() {
		if info.Caller != nil {
			info.Caller.Close()
		}
		t.give(uid)
	}}
	if info.Caller != nil {
		go func() {
			<-info.Caller.Gone()
			_ = c.Close()
		}()
	}
	return c, info, nil
}

// ClientHandshake is TransportCredentials'.
func (*transport) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("attest caller: servers attest, clients do not")
}

// Info is TransportCredentials'.
func (*transport) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "attested"}
}

// Clone is TransportCredentials'.
func (t *transport) Clone() credentials.TransportCredentials { return t }

// OverrideServerName is TransportCredentials'.
func (*transport) OverrideServerName(string) error { return nil }

// attestedConn gives its caller free when it closes.
type attestedConn struct {
	net.Conn
	done func()
	once sync.Once
}

func (c *attestedConn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = c.Conn.Close()
		c.done()
	})
	return err
}
