package attest

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"fairlead.io/fairlead/pkg/node/attest/podtest"
)

// handshake accepts one connection as a gRPC server does.
func handshake(t *testing.T, creds credentials.TransportCredentials, s socket) (net.Conn, context.Context, error) {
	t.Helper()
	c, info, err := creds.ServerHandshake(s.accept())
	if err != nil {
		return nil, nil, err
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, peer.NewContext(t.Context(), &peer.Peer{AuthInfo: info}), nil
}

func TestCredentials(t *testing.T) {
	n, s := podtest.New(t, false), listen(t)
	a, b := n.Pod(uidA), n.Pod(uidB)
	creds := Credentials(attestor(n), 2)
	p := a.Start("init", "dial", s.path)
	p.Hear()
	conn, ctx, err := handshake(t, creds, s)
	if err != nil {
		t.Fatal(err)
	}
	caller, err := FromContext(ctx)
	if err != nil || caller.PodUID != uidA {
		t.Fatalf("caller %+v, %v", caller, err)
	}
	n.Move(caller.PID, b.Container("app"))
	if _, err := FromContext(ctx); !errors.Is(err, ErrMoved) {
		t.Fatalf("after a move: %v", err)
	}
	n.Move(caller.PID, a.Container("app"))

	// The process ends, its child holds the connection still.
	p.Say("leave")
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("read: %v, want %v", err, net.ErrClosed)
	}
	if _, err := FromContext(ctx); !errors.Is(err, ErrGone) {
		t.Fatalf("after the end: %v", err)
	}
}

func TestCredentialsOfNobody(t *testing.T) {
	s := listen(t)
	p := podtest.New(t, false).Start(0, "", "dial", s.path)
	p.Say("go")
	p.Hear()
	_, ctx, err := handshake(t, Credentials(New(Config{}), 1), s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := FromContext(ctx); !errors.Is(err, ErrNoPod) {
		t.Fatalf("caller: %v", err)
	}
	if _, err := FromContext(t.Context()); err == nil {
		t.Fatal("a context without a call has a caller")
	}
}

// One pod's connections do not take those of others.
func TestConnections(t *testing.T) {
	n, s := podtest.New(t, false), listen(t)
	a, b := n.Pod(uidA), n.Pod(uidB)
	creds := Credentials(attestor(n), 2)
	p := a.Start("dial", s.path)
	p.Hear()
	first, _, err := handshake(t, creds, s)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		p.Say("dial")
		p.Hear()
		if _, _, err := handshake(t, creds, s); (err == nil) != (i == 0) {
			t.Fatalf("connection %d: %v", i+2, err)
		}
	}
	b.Start("dial", s.path).Hear()
	if _, _, err := handshake(t, creds, s); err != nil {
		t.Fatalf("another pod: %v", err)
	}
	_ = first.Close()
	p.Say("dial")
	p.Hear()
	if _, _, err := handshake(t, creds, s); err != nil {
		t.Fatalf("after one was closed: %v", err)
	}
}
