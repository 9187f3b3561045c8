package loadclient

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Fleet is N clients.
type Fleet struct {
	cfg     Config
	clients []*Client
	records records
	stop    context.CancelFunc
	running sync.WaitGroup

	watchMu sync.Mutex // held by those who change watches
	watches atomic.Pointer[[]*Watch]
}

// Start begins all clients at once. They run until Close or the end of ctx, whichever comes first; also then call Close.
func Start(ctx context.Context, cfg Config) (*Fleet, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("start load clients: %w", err)
	}
	ctx, stop := context.WithCancel(ctx)
	f := &Fleet{cfg: cfg, stop: stop}
	for i := range cfg.N {
		f.clients = append(f.clients, newClient(f, i))
	}
	for _, c := range f.clients {
		f.running.Go(func() { c.run(ctx) })
	}
	return f, nil
}

// Close ends all clients and waits for them.
func (f *Fleet) Close() {
	f.stop()
	f.running.Wait()
}

// Clients gives all clients in their order.
func (f *Fleet) Clients() []*Client { return f.clients }

// Complete waits until each of the clients (all, when none is named) has had an answer to everything that it asked for.
// The error names clients that have not, and what they wait for.
func (f *Fleet) Complete(ctx context.Context, clients ...*Client) error {
	if len(clients) == 0 {
		clients = f.clients
	}
	for _, c := range clients {
		select {
		case <-c.complete:
			continue
		case <-ctx.Done():
		}
		var errs []error
		for _, c := range clients {
			if err := c.incomplete(); err != nil && len(errs) < 5 {
				errs = append(errs, err)
			}
		}
		return fmt.Errorf("wait for complete clients: %w: %w", context.Cause(ctx), errors.Join(errs...))
	}
	return nil
}

// Cold lists, for each client that is or was complete, how long it took from its first dial.
func (f *Fleet) Cold() []time.Duration {
	var out []time.Duration
	for _, c := range f.clients {
		if d, ok := c.Cold(); ok {
			out = append(out, d)
		}
	}
	return out
}

// WaitEqual waits until each of the clients (all, when none is named) has what want has; see Diff for types. The error
// shows differences.
func (f *Fleet) WaitEqual(ctx context.Context, want *Client, types []string, clients ...*Client) error {
	if len(clients) == 0 {
		clients = f.clients
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var other *Client
		for _, c := range clients {
			if !Equal(c, want, types...) {
				other = c
				break
			}
		}
		if other == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s (%v) does not have what %s has: %w: %q", other.ID(), other.Err(), want.ID(), context.Cause(ctx), Diff(other, want, types...))
		}
	}
}

// Counts is what passed on the wire.
type Counts struct {
	// Messages counts responses, Bytes their sizes before gRPC's framing, Resources and Removals what was in them.
	Messages, Bytes, Resources, Removals uint64
	// Rejected counts responses that the client refused, Timeouts what did not come in time.
	Rejected, Timeouts uint64
}

func (c *Counts) add(o Counts) {
	c.Messages += o.Messages
	c.Bytes += o.Bytes
	c.Resources += o.Resources
	c.Removals += o.Removals
	c.Rejected += o.Rejected
	c.Timeouts += o.Timeouts
}

// Counts sums the counts of all clients by type URL.
func (f *Fleet) Counts() map[string]Counts {
	out := map[string]Counts{}
	for _, c := range f.clients {
		for url, n := range c.Counts() {
			sum := out[url]
			sum.add(n)
			out[url] = sum
		}
	}
	return out
}
