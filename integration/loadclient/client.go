package loadclient

import (
	"context"
	"errors"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
)

// errFlap ends a stream by Behaviour.Flap.
var errFlap = errors.New("the client reconnects")

// Client is one xDS client. Its goroutine is the only one that reads.
type Client struct {
	// read-only after creation
	fleet    *Fleet
	number   int
	node     *core.Node
	complete chan struct{} // closed when everything has come for the first time

	mu        sync.Mutex // guards what follows
	behaviour Behaviour
	behaves   chan struct{} // closed when behaviour changes
	flap      *time.Timer

	stream    grpc.ClientStream // nil between streams
	endStream context.CancelCauseFunc
	named     bool // the node was sent on this stream
	connects  int
	err       error

	sets map[string]*set
	// asked are the sets that were asked for, in that order; a new stream asks again in the same.
	asked []*set
	// warm is set when all clusters had their endpoints for the first time: listeners were asked for.
	warm bool
	// heldACKs are nonces of CDS responses whose clusters are warming.
	heldACKs []string
	timeout  *time.Timer

	// now is when the present response came, or the stream began.
	now, began, completed time.Time
}

func newClient(f *Fleet, i int) *Client {
	c := &Client{fleet: f, number: i, node: f.cfg.Node(i), complete: make(chan struct{}), behaves: make(chan struct{})}
	c.behaviour, c.now = f.cfg.Behave(i), time.Now()
	c.forget()
	return c
}

// Number counts the clients of a fleet from 0.
func (c *Client) Number() int { return c.number }

// ID is the client's node id.
func (c *Client) ID() string { return c.node.GetId() }

// Err is why the last stream ended; nil before that.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Connects counts the streams that were begun.
func (c *Client) Connects() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connects
}

// Cold is the time from the first dial until everything had come; ok is false before.
func (c *Client) Cold() (d time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.completed.Sub(c.began), !c.completed.IsZero()
}

// Counts gives what was received by type URL.
func (c *Client) Counts() map[string]Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]Counts{}
	for url, s := range c.sets {
		out[url] = s.Counts
	}
	return out
}
