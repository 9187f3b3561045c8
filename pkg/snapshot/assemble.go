package snapshot

import (
	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/types/known/anypb"
)

// FromBytes is r with another encoded body, for a message that is put together from encoded parts.
func FromBytes(r *Resource, body []byte) *Resource {
	n := *r
	n.Body = &anypb.Any{TypeUrl: r.Type, Value: body}
	n.Hash = xxhash.Sum64(body)
	return &n
}
