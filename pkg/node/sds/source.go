package sds

import (
	"hash/maphash"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
)

const (
	// shards is how many parts the secrets are in: a change copies those that it touches.
	shards = 256
	// history is how many publications the changed keys are remembered of.
	history = 256
)

// source is the snapshot.Source of secrets. Everything is at position 0: what an Envoy brings from a former agent is neither newer
// nor older than what is here. Only one goroutine may update it.
type source struct {
	seed   maphash.Seed
	latest atomic.Pointer[secrets]
	ready  chan struct{}
}

func newSource() *source { return &source{seed: maphash.MakeSeed(), ready: make(chan struct{})} }

// Latest implements snapshot.Source.
func (s *source) Latest() snapshot.Snapshot {
	if l := s.latest.Load(); l != nil {
		return l
	}
	return nil
}

// Ready implements snapshot.Source.
func (s *source) Ready() <-chan struct{} { return s.ready }

// Want implements snapshot.Source: every snapshot is complete.
func (*source) Want(uint64) bool { return true }

// update publishes the latest snapshot with put and without del. Its work is that of what changes.
func (s *source) update(put []*snapshot.Resource, del []snapshot.Key) {
	old := s.latest.Load()
	next := &secrets{of: s, seq: 1, at: time.Now(), newer: make(chan struct{})}
	if old != nil {
		next.seq, next.shards = old.seq+1, old.shards
		next.log = old.log[max(0, len(old.log)-history+1):]
	}
	own := map[uint64]bool{} // shards that have been copied
	shard := func(name string) map[string]*snapshot.Resource {
		i := s.shard(name)
		if !own[i] {
			own[i] = true
			fresh := make(map[string]*snapshot.Resource, len(next.shards[i])+1)
			maps.Copy(fresh, next.shards[i])
			next.shards[i] = fresh
		}
		return next.shards[i]
	}
	var changed []snapshot.Key
	for _, k := range del {
		if m := shard(k.Name); m[k.Name] != nil {
			delete(m, k.Name)
			changed = append(changed, k)
		}
	}
	for _, r := range put {
		if m := shard(r.Name); m[r.Name] == nil || m[r.Name].Hash != r.Hash {
			m[r.Name] = r
			changed = append(changed, snapshot.Key{Type: r.Type, Name: r.Name})
		}
	}
	next.log = append(next.log, changed) // behind the end of what former snapshots see
	s.latest.Store(next)
	if old == nil {
		close(s.ready)
	} else {
		close(old.newer)
	}
}

func (s *source) shard(name string) uint64 { return maphash.String(s.seed, name) % shards }

// secrets are those of one moment. They implement snapshot.Snapshot.
type secrets struct {
	of     *source
	seq    uint64
	at     time.Time
	newer  chan struct{}
	shards [shards]map[string]*snapshot.Resource
	log    [][]snapshot.Key // log[len-1] are the changes of seq
}

func (s *secrets) Seq() uint64                   { return s.seq }
func (s *secrets) Position() uint64              { return 0 }
func (s *secrets) Complete() uint64              { return 0 }
func (s *secrets) Newer() <-chan struct{}        { return s.newer }
func (s *secrets) Published() time.Time          { return s.at }
func (s *secrets) Scope(string) *model.NodeScope { return nil }

func (s *secrets) Get(k snapshot.Key) *snapshot.Resource {
	if k.Type != secretType || k.Variant != "" {
		return nil
	}
	return s.shards[s.of.shard(k.Name)][k.Name]
}

func (s *secrets) Lookup(_ []string, typeURL, name string) *snapshot.Resource {
	return s.Get(snapshot.Key{Type: typeURL, Name: name})
}

func (s *secrets) Shared(typeURL, name string) (*snapshot.Resource, bool) {
	return s.Get(snapshot.Key{Type: typeURL, Name: name}), true
}

func (s *secrets) Range(typeURL string, fn func(*snapshot.Resource) bool) { s.Prefix(typeURL, "", fn) }

func (s *secrets) Prefix(typeURL, prefix string, fn func(*snapshot.Resource) bool) {
	if typeURL != secretType {
		return
	}
	var all []*snapshot.Resource
	for _, m := range s.shards {
		for name, r := range m {
			if strings.HasPrefix(name, prefix) {
				all = append(all, r)
			}
		}
	}
	slices.SortFunc(all, func(a, b *snapshot.Resource) int { return strings.Compare(a.Name, b.Name) })
	for _, r := range all {
		if !fn(r) {
			return
		}
	}
}

func (s *secrets) ChangesSince(seq uint64) ([]snapshot.Key, bool) {
	if seq > s.seq || s.seq-seq > uint64(len(s.log)) {
		return nil, false
	}
	parts := s.log[len(s.log)-int(s.seq-seq):]
	if len(parts) == 1 {
		return slices.Clone(parts[0]), true
	}
	seen := map[snapshot.Key]bool{}
	var keys []snapshot.Key
	for _, part := range parts {
		for _, k := range part {
			if !seen[k] {
				seen[k] = true
				keys = append(keys, k)
			}
		}
	}
	return keys, true
}
