package sctp

import (
	"io"
	"os"
	"testing"
	"time"
)

// TestAssociation needs root, as raw sockets do.
func TestAssociation(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("raw sockets need root")
	}
	address, err := ResolveSCTPAddr("sctp", "127.0.0.1:18132")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ListenSCTP("sctp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.AcceptSCTP()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = c.Write([]byte("foo"))
			}()
		}
	}()
	for range 50 {
		c, err := DialSCTP("sctp", nil, address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hostname\n")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 100)
		n, err := c.Read(b)
		if err != nil || string(b[:n]) != "foo" {
			t.Fatalf("read %q, %v", b[:n], err)
		}
		if _, err := c.Read(b); err != io.EOF {
			t.Fatalf("read after the end: %v", err)
		}
		begin := time.Now()
		if err := c.Close(); err != nil || time.Since(begin) >= farewell {
			t.Fatalf("closed after %v: %v", time.Since(begin), err)
		}
	}
}

func TestPacketsThatAreRefused(t *testing.T) {
	whole := packet{from: 1, to: 2, tag: 3, chunks: []chunk{{kind: data, flags: wholeMessage, value: []byte("abcde")}, {kind: cookieAck}}}.marshal()
	p, err := parse(whole)
	if err != nil || len(p.chunks) != 2 || string(p.chunks[0].value) != "abcde" || p.from != 1 || p.to != 2 || p.tag != 3 {
		t.Fatalf("%+v, %v", p, err)
	}
	for i := range whole {
		if _, err := parse(whole[:i]); err == nil {
			t.Errorf("%d bytes of a packet are taken", i)
		}
		broken := append([]byte(nil), whole...)
		broken[i] ^= 1
		if _, err := parse(broken); err == nil {
			t.Errorf("a packet with byte %d changed is taken", i)
		}
	}
}
