package snapshot

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"fairlead.io/fairlead/pkg/model"
)

// history is how many publications a Static remembers the changed keys of.
const history = 64

// Static is an in-memory Source for tests and small tools: each Update publishes a whole new Snapshot.
type Static struct {
	mu     sync.Mutex // held by writers
	latest atomic.Pointer[static]
	ready  chan struct{}
	behind atomic.Uint64 // what Complete is, unless 0
	wanted atomic.Uint64
}

// NewStatic gives a Source that is not ready before its first Update.
func NewStatic() *Static { return &Static{ready: make(chan struct{})} }

// Latest implements Source.
func (s *Static) Latest() Snapshot {
	if l := s.latest.Load(); l != nil {
		return l
	}
	return nil
}

// Ready implements Source.
func (s *Static) Ready() <-chan struct{} { return s.ready }

// Want implements Source: Wanted gives the highest.
func (s *Static) Want(position uint64) bool {
	for {
		was := s.wanted.Load()
		if position <= was || s.wanted.CompareAndSwap(was, position) {
			return true
		}
	}
}

// Wanted is the highest position that anybody has waited for.
func (s *Static) Wanted() uint64 { return s.wanted.Load() }

// Behind makes the snapshots of later Updates complete up to that position only; 0 makes them as complete as their Position.
func (s *Static) Behind(complete uint64) { s.behind.Store(complete) }

// Update publishes the latest snapshot without the keys of del and with put, at a watch position.
func (s *Static) Update(position uint64, put []*Resource, del ...Key) Snapshot {
	return s.UpdateScoped(position, nil, put, del...)
}

// Advance makes the latest snapshot one of a later position, without a change: nobody is woken.
func (s *Static) Advance(position uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := *s.latest.Load()
	next.position, next.complete = position, position
	s.latest.Store(&next)
}

// UpdateScoped is Update that also sets the scopes of some nodes; a nil scope sees everything.
func (s *Static) UpdateScoped(position uint64, scopes map[string]*model.NodeScope, put []*Resource, del ...Key) Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.latest.Load()
	next := &static{seq: 1, position: position, complete: position, at: time.Now(), newer: make(chan struct{}), byKey: map[Key]*Resource{}}
	if b := s.behind.Load(); b > 0 {
		next.complete = min(b, position)
	}
	if old != nil {
		next.seq = old.seq + 1
		next.byKey = maps.Clone(old.byKey)
		next.log = old.log[max(0, len(old.log)-history+1):]
	}
	next.scopes = map[string]*model.NodeScope{}
	if old != nil {
		maps.Copy(next.scopes, old.scopes)
	}
	var changed []Key
	for node, scope := range scopes {
		if !next.scopes[node].Equal(scope) {
			next.scopes[node] = scope
			changed = append(changed, Key{Type: ScopeKeyType, Name: node})
		}
	}
	for _, k := range del {
		if _, ok := next.byKey[k]; ok {
			delete(next.byKey, k)
			changed = append(changed, k)
		}
	}
	for _, r := range put {
		k := Key{r.Type, r.Name, r.Variant}
		if was := next.byKey[k]; was == nil || was.Hash != r.Hash || !was.Audience.Equal(r.Audience) {
			changed = append(changed, k)
			next.byKey[k] = r
		}
	}
	next.log = append(slices.Clone(next.log), changed)
	next.index()
	s.latest.Store(next)
	if old == nil {
		close(s.ready)
	} else {
		close(old.newer)
	}
	return next
}

type static struct {
	seq, position, complete uint64

	at     time.Time
	newer  chan struct{}
	byKey  map[Key]*Resource
	byType map[string][]*Resource
	// various are the types and names of which nodes are served different variants.
	various map[[2]string]bool
	scopes  map[string]*model.NodeScope
	log     [][]Key // log[len-1] are the changes of seq
}

func (s *static) index() {
	s.byType, s.various = map[string][]*Resource{}, map[[2]string]bool{}
	for _, r := range s.byKey {
		if r.Variant != "" {
			s.various[[2]string{r.Type, r.Name}] = true
		}
		s.byType[r.Type] = append(s.byType[r.Type], r)
	}
	for _, l := range s.byType {
		slices.SortFunc(l, func(a, b *Resource) int {
			if a.Name != b.Name {
				if a.Name < b.Name {
					return -1
				}
				return 1
			}
			if a.Variant < b.Variant {
				return -1
			}
			return 1
		})
	}
}

func (s *static) Seq() uint64            { return s.seq }
func (s *static) Position() uint64       { return s.position }
func (s *static) Complete() uint64       { return s.complete }
func (s *static) Newer() <-chan struct{} { return s.newer }
func (s *static) Published() time.Time   { return s.at }
func (s *static) Get(k Key) *Resource    { return s.byKey[k] }
func (s *static) Lookup(variants []string, typeURL, name string) *Resource {
	return Pick(s, variants, typeURL, name)
}

func (s *static) Shared(typeURL, name string) (*Resource, bool) {
	return s.byKey[Key{typeURL, name, ""}], !s.various[[2]string{typeURL, name}]
}

func (s *static) Prefix(typeURL, prefix string, fn func(*Resource) bool) {
	for _, r := range s.byType[typeURL] {
		if strings.HasPrefix(r.Name, prefix) && !fn(r) {
			return
		}
	}
}

func (s *static) Scope(node string) *model.NodeScope {
	return s.scopes[node]
}

func (s *static) Range(typeURL string, fn func(*Resource) bool) {
	for _, r := range s.byType[typeURL] {
		if !fn(r) {
			return
		}
	}
}

func (s *static) ChangesSince(seq uint64) ([]Key, bool) {
	if seq > s.seq || s.seq-seq > uint64(len(s.log)) {
		return nil, false
	}
	seen := map[Key]bool{}
	var keys []Key
	for _, l := range s.log[len(s.log)-int(s.seq-seq):] {
		for _, k := range l {
			if !seen[k] {
				seen[k] = true
				keys = append(keys, k)
			}
		}
	}
	return keys, true
}
