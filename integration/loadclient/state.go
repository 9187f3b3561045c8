package loadclient

import (
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
		s = &set{url: url, refs: map[string]int{}, moved: map[string]int{}, held: map[string]*record{}}
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
			s.await(r.name, c.now)
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
		s.come(r.name)
		s.move(r.name, -1)
	}
}

func (s *set) move(name string, by int) {
	if s.moved[name] += by; s.moved[name] == 0 {
		delete(s.moved, name)
	}
}

// await notes that a name was asked for; come that it has come, or is not wanted any more.
func (s *set) await(name string, now time.Time) {
	if s.pending == nil {
		s.pending = map[string]time.Time{}
	}
	s.pending[name] = now
}

func (s *set) come(name string) {
	if delete(s.pending, name); len(s.pending) == 0 {
		s.pending = nil // an empty map keeps its size
	}
}

// take applies one received resource.
func (c *Client) take(s *set, r *record) {
	if !s.wants(r.name) {
		return
	}
	old := s.held[r.name]
	s.come(r.name)
	s.held[r.name] = r
	s.digest ^= r.sum
	for _, to := range r.refs {
		c.retain(to)
	}
	// A new or changed cluster warms with the next update of its endpoints, also of those that the client has.
	if s.url == xds.ClusterType && (old == nil || old.hash != r.hash) {
		for _, to := range r.refs {
			c.set(to.typeURL).await(to.name, c.now)
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
