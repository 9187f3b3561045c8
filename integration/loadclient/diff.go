package loadclient

import (
	"fmt"
	"maps"
	"slices"
)

// Resource is one resource that a client has.
type Resource struct {
	Version string
	// Hash is that of the body, xxhash64.
	Hash uint64
}

// Resources gives what the client has of a type, by name.
func (c *Client) Resources(typeURL string) map[string]Resource {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]Resource{}
	if s := c.sets[typeURL]; s != nil {
		for name, r := range s.held {
			out[name] = Resource{r.version, r.hash}
		}
	}
	return out
}

// digests is a checksum of names and bodies by type.
func (c *Client) digests(types []string) map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string]uint64{}
	for url, s := range c.sets {
		if len(s.held) > 0 && (len(types) == 0 || slices.Contains(types, url)) {
			out[url] = s.digest
		}
	}
	return out
}

// Equal tells whether two clients, also of different fleets, have the same resources: names and bodies, not versions. It
// costs a few comparisons. Types limits it to some; none is all.
func Equal(a, b *Client, types ...string) bool { return maps.Equal(a.digests(types), b.digests(types)) }

// Diff tells in what two clients differ, one line a resource, in order, at most 20 lines.
func Diff(a, b *Client, types ...string) []string {
	if len(types) == 0 {
		types = order
	}
	var out []string
	for _, url := range types {
		has, other := a.Resources(url), b.Resources(url)
		names := maps.Clone(has)
		maps.Copy(names, other)
		for _, name := range slices.Sorted(maps.Keys(names)) {
			x, inA := has[name]
			y, inB := other[name]
			switch {
			case len(out) == 20:
				return append(out, "…")
			case inA && inB && x.Hash != y.Hash:
				out = append(out, fmt.Sprintf("%s %s: %s has version %q, %s has %q", short(url), name, a.ID(), x.Version, b.ID(), y.Version))
			case !inB:
				out = append(out, fmt.Sprintf("%s %s: only %s has it", short(url), name, a.ID()))
			case !inA:
				out = append(out, fmt.Sprintf("%s %s: only %s has it", short(url), name, b.ID()))
			}
		}
	}
	return out
}
