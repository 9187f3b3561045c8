package loadclient

import (
	"context"
	"time"
)

// Behaviour is what a client does otherwise than a healthy Envoy. The zero value is a healthy one.
type Behaviour struct {
	// Delay is slept before each response is read. What the server sends meanwhile fills the connection's window, and then
	// holds the server up.
	Delay time.Duration
	// Stopped reads nothing at all.
	Stopped bool
	// Flap ends a stream and its connection when it has lasted so long, and begins a new one at once.
	Flap time.Duration
	// Forget keeps nothing over the end of a stream, as an Envoy that is restarted. Otherwise a new stream begins with the
	// versions that the client has.
	Forget bool
	// Reject refuses a response with the words of its error; nil accepts it. It runs in the client's goroutine.
	Reject func(*Response) error
}

// Response is what Behaviour.Reject judges.
type Response struct {
	Type, Nonce string
	// Updates are valid during the call only.
	Updates []Update
}

// Update is one resource of a response, or a removal.
type Update struct {
	// Type is the type URL.
	Type, Name string
	// Version is the resource's; in state-of-the-world ADS that of its response.
	Version string
	// Body is the encoded message, valid during the call only. Empty in a removal.
	Body    []byte
	Removed bool
	// At is when its response was received.
	At time.Time

	record *record
}

// Behave changes what the client does, from now on.
func (c *Client) Behave(b Behaviour) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.behaviour = b
	close(c.behaves)
	c.behaves = make(chan struct{})
	c.armFlap()
}

// armFlap makes the present stream end in time. The caller holds mu.
func (c *Client) armFlap() {
	if c.flap != nil {
		c.flap.Stop()
		c.flap = nil
	}
	if end := c.endStream; end != nil && c.behaviour.Flap > 0 {
		c.flap = time.AfterFunc(c.behaviour.Flap, func() { end(errFlap) })
	}
}

// pause holds the next read up, as the behaviour says.
func (c *Client) pause(ctx context.Context) error {
	for {
		c.mu.Lock()
		b, changed := c.behaviour, c.behaves
		c.mu.Unlock()
		if !b.Stopped && b.Delay == 0 {
			return nil
		}
		due := (<-chan time.Time)(nil)
		if !b.Stopped {
			due = time.After(b.Delay)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed: // a new delay counts from now
		case <-due:
			return nil
		}
	}
}
