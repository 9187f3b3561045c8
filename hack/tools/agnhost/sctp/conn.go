package sctp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

const (
	retransmit = 200 * time.Millisecond
	farewell   = 2 * time.Second // how long Close waits for the peer
	// courtesy is how long Close waits for the peer's first message: after a SHUTDOWN none may be sent any more (section 9.2), and
	// agnhost's server closes at once while its client is about to write.
	courtesy = 100 * time.Millisecond
)

// SCTPConn is an association with one stream each way. Messages are small, and one is on its way at a time.
type SCTPConn struct {
	local, remote *SCTPAddr
	send          func(b []byte)
	forget        func() // tells who reads packets that this association is over

	mu              sync.Mutex
	state           sync.Cond // of mu: anything below has changed
	myTag, theirTag uint32
	tsn, theirTSN   uint32 // the next of ours, the last of theirs
	stream          uint16 // number of our next message
	cookie          []byte
	pending         []chunk // unanswered, and sent again
	up, over        bool
	aborted         bool
	heard, late     bool // a message of the peer; it is too late to wait for one
	received        [][]byte
	stop            chan struct{}
}

func random() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:])                   // never fails
	return binary.BigEndian.Uint32(b[:]) | 1 // a tag is not zero
}

func newConn(local, remote *SCTPAddr, send func([]byte), forget func()) *SCTPConn {
	c := &SCTPConn{local: local, remote: remote, send: send, forget: forget, myTag: random(), tsn: random(), stop: make(chan struct{})}
	c.state.L = &c.mu
	go c.repeat()
	return c
}

// repeat sends what is pending until it is answered.
func (c *SCTPConn) repeat() {
	ticker := time.NewTicker(retransmit)
	defer ticker.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-ticker.C:
			c.mu.Lock()
			if c.pending != nil {
				c.emit(c.pending...)
			}
			c.mu.Unlock()
		}
	}
}

// emit sends one packet; mu is held. An INIT goes with tag zero, which is what theirTag is then.
func (c *SCTPConn) emit(chunks ...chunk) {
	c.send(packet{from: uint16(c.local.Port), to: uint16(c.remote.Port), tag: c.theirTag, chunks: chunks}.marshal())
}

// keep sends chunks until they are answered; mu is held.
func (c *SCTPConn) keep(chunks ...chunk) {
	c.pending = chunks
	c.emit(chunks...)
}

// end is called with mu held, any number of times.
func (c *SCTPConn) end() {
	if !c.over {
		c.over, c.pending = true, nil
		close(c.stop)
		c.forget()
	}
	c.state.Broadcast()
}

// handle takes a packet of the peer.
func (c *SCTPConn) handle(p packet) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || p.tag != c.myTag {
		return
	}
	for _, ch := range p.chunks {
		c.chunk(ch)
	}
	c.state.Broadcast()
}

func (c *SCTPConn) chunk(ch chunk) {
	switch ch.kind {
	case initiateAck:
		if i, err := parseIntroduction(ch.value); err == nil && c.theirTag == 0 {
			c.theirTag, c.theirTSN = i.tag, i.tsn-1
			c.keep(chunk{kind: cookieEcho, value: i.cookie})
		}
	case cookieEcho:
		if string(ch.value) == string(c.cookie) {
			c.up = true
			c.emit(chunk{kind: cookieAck})
		}
	case cookieAck:
		c.up, c.pending = true, nil
	case data:
		c.data(ch.value)
	case sack:
		if len(ch.value) >= 4 && binary.BigEndian.Uint32(ch.value) == c.tsn-1 && c.awaits(data) {
			c.pending = nil
		}
	case heartbeat:
		c.emit(chunk{kind: heartbeatAck, value: ch.value})
	case shutdown:
		c.keep(chunk{kind: shutdownAck})
	case shutdownAck:
		c.emit(chunk{kind: shutdownComplete})
		c.end()
	case shutdownComplete:
		c.end()
	case abort:
		c.aborted = true
		c.end()
	}
}

func (c *SCTPConn) awaits(kind byte) bool { return c.pending != nil && c.pending[0].kind == kind }

func (c *SCTPConn) data(value []byte) {
	const head = 12 // TSN, stream, number, payload protocol
	if len(value) < head {
		return
	}
	if tsn := binary.BigEndian.Uint32(value); tsn == c.theirTSN+1 {
		c.theirTSN, c.heard = tsn, true
		c.received = append(c.received, append([]byte(nil), value[head:]...))
	}
	c.emit(chunk{kind: sack, value: acknowledgement(c.theirTSN)})
}

// Write sends one message when the one before has been acknowledged.
func (c *SCTPConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.pending != nil && !c.over {
		c.state.Wait()
	}
	if c.over {
		return 0, c.failure()
	}
	value := binary.BigEndian.AppendUint32(nil, c.tsn)
	value = binary.BigEndian.AppendUint16(value, 0)
	value = binary.BigEndian.AppendUint16(value, c.stream)
	value = append(binary.BigEndian.AppendUint32(value, 0), b...)
	c.tsn++
	c.stream++
	c.keep(chunk{kind: data, flags: wholeMessage, value: value})
	return len(b), nil
}

// Read returns the beginning of the next message, as far as b has room; the rest of it is lost.
func (c *SCTPConn) Read(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.received) == 0 && !c.over && !c.awaits(shutdownAck) {
		c.state.Wait()
	}
	if len(c.received) == 0 {
		return 0, c.failure()
	}
	n := copy(b, c.received[0])
	c.received = c.received[1:]
	return n, nil
}

// locked is f with mu held.
func (c *SCTPConn) locked(f func()) func() {
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		f()
		c.state.Broadcast()
	}
}

func (c *SCTPConn) failure() error {
	if c.aborted {
		return errors.New("sctp: the peer has aborted the association")
	}
	return io.EOF
}

// Close says goodbye (section 9.2), and forgets a peer that does not answer.
func (c *SCTPConn) Close() error {
	defer time.AfterFunc(farewell, c.locked(c.end)).Stop()
	defer time.AfterFunc(courtesy, c.locked(func() { c.late = true })).Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	for (c.awaits(data) || !c.heard && !c.late) && !c.over {
		c.state.Wait()
	}
	if !c.over && c.up && c.pending == nil {
		c.keep(chunk{kind: shutdown, value: acknowledgement(c.theirTSN)[:4]})
	}
	for c.up && !c.over {
		c.state.Wait()
	}
	c.end()
	return nil
}

// SCTPRemoteAddr is the peer's address; the number is that of an association, of which there is one.
func (c *SCTPConn) SCTPRemoteAddr(int) (*SCTPAddr, error) { return c.remote, nil }

func (c *SCTPConn) LocalAddr() net.Addr  { return c.local }
func (c *SCTPConn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline is not needed by those who use this; they have timers of their own.
func (c *SCTPConn) SetDeadline(time.Time) error      { return nil }
func (c *SCTPConn) SetReadDeadline(time.Time) error  { return nil }
func (c *SCTPConn) SetWriteDeadline(time.Time) error { return nil }
