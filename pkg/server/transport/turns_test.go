package transport

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"runtime"
	"testing"
	"time"
)

// deaf is a connection whose client says hello, and says nothing more when it is answered.
type deaf struct {
	net.Conn
	answered chan<- struct{}
	closed   <-chan struct{}
}

func (d deaf) Read([]byte) (int, error) {
	if _, err := d.Conn.Read(make([]byte, 1)); err == nil {
		d.answered <- struct{}{}
	}
	<-d.closed
	return 0, net.ErrClosed
}

// Strangers who stop in the middle of their handshakes hold up nobody.
func TestATurnEndsWhereTheClientIsWaitedFor(t *testing.T) {
	r := newRig(t, nil)
	silent := 4 * runtime.GOMAXPROCS(0)
	answered, closed := make(chan struct{}, silent), make(chan struct{})
	for range silent {
		raw, err := net.Dial("tcp", r.address)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() { done <- tls.Client(deaf{raw, answered, closed}, r.client(nil)).Handshake() }()
		defer func() { _, _ = raw.Close(), <-done }()
	}
	defer close(closed)
	for range silent {
		select {
		case <-answered:
		case <-time.After(5 * time.Second):
			t.Fatal("strangers who are silent hold up others")
		}
	}
	if _, err := ask(r.open(r.client(svid(t, r.authority, nodeID("a"), time.Hour))), clusters, "a", "envoy"); err != nil {
		t.Errorf("a node is not served while strangers are silent: %v", err)
	}
}

// Handshakes beyond the processors wait, in order; those whose connection is closed meanwhile do not.
func TestHandshakesTakeTurns(t *testing.T) {
	turns := newTurns()
	config := turns.apply(&tls.Config{})
	arrive := func() (*conn, chan error) {
		c := &conn{}
		c.gone, c.leave = context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := config.GetConfigForClient(&tls.ClientHelloInfo{Conn: c})
			done <- err
		}()
		return c, done
	}
	var working []*conn
	for range runtime.GOMAXPROCS(0) {
		c, done := arrive()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		working = append(working, c)
	}
	gone, goneDone := arrive()
	select {
	case err := <-goneDone:
		t.Fatal("there are more at once than processors", err)
	case <-time.After(20 * time.Millisecond): // it can only fail to see a mistake
	}
	_, next := arrive()
	gone.leave()
	if err := <-goneDone; !errors.Is(err, errGone) {
		t.Errorf("a closed connection: %v", err)
	}
	working[0].turn.end()
	working[0].turn.end() // gives nothing back
	if err := <-next; err != nil {
		t.Error(err)
	}
	if turns.free.TryAcquire(1) {
		t.Error("a turn was given back twice")
	}
}
