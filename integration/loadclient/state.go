package loadclient

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
)

// order is that of references: a type is referred to by types before it only.
var order = []string{
	xds.ClusterType, xds.EndpointType, xds.ListenerType, xds.SecretType, xds.ScopedRouteType, xds.RouteType, xds.VirtualHostType,
}

// set is one type of one client. The empty name stands for all of the type.
type set struct {
	url string
	// refs counts for each name what refers to it. moved has the names that came (1) or went (-1) since the last request.
	refs  map[string]int
	moved map[string]int
	held  map[string]*record
	// pending is what was asked for and has not come, and since when; the zero time when that is longer than FetchTimeout.
	pending map[string]time.Time
	asked   bool
	// digest is the xor of the sums of held.
	digest uint64
	// version and nonce are the last accepted and the last received, for state-of-the-world.
	version, nonce string

	Counts
}

func (s *set) wants(name string) bool { return s.refs[""] > 0 || s.refs[name] > 0 }

// forget makes the client new; only the counts stay.
func (c *Client) forget() {
	old := c.sets
	c.sets, c.asked, c.warm, c.heldACKs = map[string]*set{}, nil, false, nil
	for url, s := range old {
		c.set(url).Counts = s.Counts
	}
	c.retain(ref{typeURL: xds.ClusterType})
}

func (c *Client) set(url string) *set {
	s := c.sets[url]
	if s == nil {
		s = &set{url: url, refs: map[string]int{}, moved: map[string]int{}, held: map[string]*record{}, pending: map[string]time.Time{}}
		c.sets[url] = s
	}
	return s
}

// retain counts a reference.
func (c *Client) retain(r ref) {
	if c.fleet.cfg.SotW && r.typeURL == xds.VirtualHostType {
		return
	}
	s := c.set(r.typeURL)
	if s.refs[r.name]++; s.refs[r.name] == 1 {
		s.move(r.name, 1)
		// What went and came again within one response is not asked for again.
		if s.moved[r.name] == 1 || (r.name != "" && s.held[r.name] == nil) {
			s.pending[r.name] = time.Now()
		}
	}
}

// drop takes a reference back.
func (c *Client) drop(r ref) {
	s := c.sets[r.typeURL]
	if s == nil || s.refs[r.name] == 0 {
		return
	}
	if s.refs[r.name]--; s.refs[r.name] == 0 {
		delete(s.refs, r.name)
		delete(s.pending, r.name)
		s.move(r.name, -1)
	}
}

func (s *set) move(name string, by int) {
	if s.moved[name] += by; s.moved[name] == 0 {
		delete(s.moved, name)
	}
}

// take applies one received resource.
func (c *Client) take(s *set, r *record) {
	if !s.wants(r.name) {
		return
	}
	old := s.held[r.name]
	delete(s.pending, r.name)
	s.held[r.name] = r
	s.digest ^= r.sum
	for _, to := range r.refs {
		c.retain(to)
	}
	// A new or changed cluster warms with the next update of its endpoints, also of those that the client has.
	if s.url == xds.ClusterType && (old == nil || old.hash != r.hash) {
		for _, to := range r.refs {
			c.set(to.typeURL).pending[to.name] = time.Now()
		}
	}
	if old != nil {
		s.digest ^= old.sum
		for _, to := range old.refs {
			c.drop(to)
		}
	}
}

// lose forgets a resource that was removed or is not wanted any more.
func (c *Client) lose(s *set, name string) {
	old := s.held[name]
	if old == nil {
		return
	}
	delete(s.held, name)
	s.digest ^= old.sum
	for _, to := range old.refs {
		c.drop(to)
		if to.typeURL == xds.VirtualHostType { // its hosts go with a route table, unasked
			hosts := c.set(to.typeURL)
			for host := range hosts.held {
				if tableOf(host) == name {
					c.lose(hosts, host)
				}
			}
		}
	}
}

// tableOf is the route table of a virtual host: its name up to the last slash (Envoy, WatchMap::namespaceFromName).
func tableOf(host string) string { return host[:max(0, strings.LastIndexByte(host, '/'))] }

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
	due := time.Duration(-1)
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
		clear(s.moved)
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
	last := time.Now().Add(-c.fleet.cfg.FetchTimeout)
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
