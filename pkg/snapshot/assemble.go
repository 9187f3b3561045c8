package snapshot

import "github.com/cespare/xxhash/v2"

// FromBytes is r with another encoded body, for a message that is put together from encoded parts.
func FromBytes(r *Resource, body []byte) *Resource {
	n := *r
	n.Hash = xxhash.Sum64(body)
	n.seal(body)
	return &n
}
