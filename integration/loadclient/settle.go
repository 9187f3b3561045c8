package loadclient

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// settle does what the last change makes due: requests, held acknowledgements, and being complete.
func (c *Client) settle() {
	c.flush()
	if !c.warm && !c.waits(xds.ClusterType, xds.EndpointType, xds.SecretType) {
		c.warm = true
		c.retain(ref{typeURL: xds.ListenerType})
		c.flush()
	}
	if !c.waits(xds.EndpointType, xds.SecretType) {
		for _, nonce := range c.heldACKs {
			c.acknowledge(c.set(xds.ClusterType), nonce, nil)
		}
		c.heldACKs = nil
	}
	open := 0
	for _, s := range c.sets {
		open += len(s.pending)
	}
	if open == 0 && c.completed.IsZero() {
		c.completed = time.Now()
		close(c.complete)
	}
	if open > 0 && c.timeout == nil {
		c.armTimeout()
	}
}

// armTimeout looks again when the oldest that is waited for is due.
func (c *Client) armTimeout() {
	now := time.Now()
	due := time.Duration(-1) // nothing
	for _, s := range c.sets {
		for _, since := range s.pending {
			if left := max(0, since.Add(c.fleet.cfg.FetchTimeout).Sub(now)); !since.IsZero() && (due < 0 || left < due) {
				due = left
			}
		}
	}
	if due >= 0 {
		c.timeout = time.AfterFunc(due, c.expire)
	}
}

// flush sends what moved, type by type.
func (c *Client) flush() {
	for _, url := range order {
		s := c.sets[url]
		if s == nil || len(s.moved) == 0 {
			continue
		}
		var added, removed []string
		for name, by := range s.moved {
			if by > 0 {
				added = append(added, name)
			} else {
				removed = append(removed, name)
			}
		}
		s.moved = map[string]int{} // not cleared: it would keep its size
		for _, name := range removed {
			if name != "" {
				c.lose(s, name)
				continue
			}
			for _, held := range slices.Collect(maps.Keys(s.held)) {
				if !s.wants(held) {
					c.lose(s, held)
				}
			}
		}
		first := !s.asked
		if first {
			s.asked = true
			c.asked = append(c.asked, s)
		}
		c.subscribe(s, added, removed, first)
	}
}

// waits tells whether something of the types has yet to come, and may still be waited for.
func (c *Client) waits(types ...string) bool {
	for _, url := range types {
		if s := c.sets[url]; s != nil {
			for _, since := range s.pending {
				if !since.IsZero() {
					return true
				}
			}
		}
	}
	return false
}

// expire gives up on what does not come.
func (c *Client) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.timeout = nil
	if c.stream == nil {
		return // a new stream begins to count again
	}
	c.now = time.Now()
	last := c.now.Add(-c.fleet.cfg.FetchTimeout)
	for _, s := range c.sets {
		for name, since := range s.pending {
			if !since.IsZero() && !since.After(last) {
				s.pending[name] = time.Time{}
				s.Timeouts++
			}
		}
	}
	c.settle()
}

// incomplete tells what a client waits for, or nil.
func (c *Client) incomplete() error {
	select {
	case <-c.complete:
		return nil
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var errs []error
	for _, url := range order {
		s := c.sets[url]
		if s == nil || len(s.pending) == 0 {
			continue
		}
		names := slices.Sorted(maps.Keys(s.pending))
		errs = append(errs, fmt.Errorf("%s waits for %d of %d %s, %q first", c.node.GetId(), len(names), len(s.refs), short(url), names[0]))
	}
	return errors.Join(append(errs, c.err)...)
}
