package loadclient

import (
	"fmt"
	"runtime"
	"sync"
	"weak"

	"github.com/cespare/xxhash/v2"
)

// record is one version of one resource. It is immutable and shared by all clients that hold it.
type record struct {
	name, version string
	// sum is what the record adds to the digest of a client.
	sum uint64
	*content
}

// content is the body of resources: its hash, and what it refers to.
type content struct {
	hash uint64
	refs []ref
}

// records is what clients of one fleet have seen and still hold.
type records struct {
	records  weakMap[record]
	contents weakMap[content]
}

// find gives the record of an encoded resource (see response.resources).
func (r *records) find(typeURL string, raw []byte, sotw bool) (*record, error) {
	return r.records.get(xxhash.Sum64(raw)^xxhash.Sum64String(typeURL), func() (*record, error) {
		name, version, body, err := open(raw, sotw)
		if err != nil {
			return nil, fmt.Errorf("read a %s: %w", short(typeURL), err)
		}
		h := xxhash.Sum64(body)
		c, err := r.contents.get(h^xxhash.Sum64String(typeURL), func() (*content, error) {
			refs, err := refsOf(typeURL, body)
			if err != nil {
				return nil, fmt.Errorf("read %s %q: %w", short(typeURL), name, err)
			}
			return &content{hash: h, refs: refs}, nil
		})
		if err != nil {
			return nil, err
		}
		sum := xxhash.Sum64(fmt.Appendf(nil, "%s %s %x", typeURL, name, h))
		return &record{name: string(name), version: string(version), sum: sum, content: c}, nil
	})
}

// weakMap keeps values while somebody else does. Its keys are hashes.
type weakMap[V any] struct {
	shards [32]struct {
		sync.Mutex
		m map[uint64]weak.Pointer[V]
	}
}

func (w *weakMap[V]) get(key uint64, create func() (*V, error)) (*V, error) {
	s := &w.shards[key%uint64(len(w.shards))]
	s.Lock()
	defer s.Unlock()
	if v := s.m[key].Value(); v != nil {
		return v, nil
	}
	v, err := create()
	if err != nil {
		return nil, err
	}
	if s.m == nil {
		s.m = map[uint64]weak.Pointer[V]{}
	}
	s.m[key] = weak.Make(v)
	runtime.AddCleanup(v, w.drop, key)
	return v, nil
}

// drop forgets a value that is gone, unless another one has taken its place.
func (w *weakMap[V]) drop(key uint64) {
	s := &w.shards[key%uint64(len(w.shards))]
	s.Lock()
	defer s.Unlock()
	if s.m[key].Value() == nil {
		delete(s.m, key)
	}
}
