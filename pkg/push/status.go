package push

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
)

// Rejection is one client's refusal of one resource.
type Rejection struct {
	Type, Name string
	// Node and Version are the client's node and Envoy version; Message is what it said.
	Node, Version, Message string
}

// OriginStatus is how the resources of one source object fare.
type OriginStatus struct {
	// Resources is how many resources of the latest snapshot the object has a part in.
	Resources int
	// Behind counts connected clients that have not yet acknowledged all of the snapshot in which the object's resources
	// last changed; BehindNodes names their nodes, sorted, each once. Clients counts all connected ones.
	Behind, Clients int
	BehindNodes     []string
	// Rejected are the refusals that stand, ordered by type, name and node.
	Rejected []Rejection
}

// Programmed is true when no client is behind and none rejected anything.
func (o OriginStatus) Programmed() bool {
	return o.Clients > 0 && o.Behind == 0 && len(o.Rejected) == 0
}

// track is one resource in its present content.
type track struct {
	res      *snapshot.Resource
	rejected map[uint64]Rejection // by stream
}

// origin has the keys that come of an object. Most have one, for which a map would be ten times as large.
type origin struct {
	one  snapshot.Key
	has  bool                      // one is there
	more map[snapshot.Key]struct{} // beside it
	seq  uint64                    // the snapshot in which they last changed
}

func (o *origin) len() int {
	if o.has {
		return 1 + len(o.more)
	}
	return len(o.more)
}

func (o *origin) add(k snapshot.Key) {
	_, there := o.more[k]
	switch {
	case there || o.has && o.one == k:
	case !o.has:
		o.one, o.has = k, true
	default:
		if o.more == nil {
			o.more = map[snapshot.Key]struct{}{}
		}
		o.more[k] = struct{}{}
	}
}

func (o *origin) remove(k snapshot.Key) {
	if o.has && o.one == k {
		o.one, o.has = snapshot.Key{}, false
		return
	}
	delete(o.more, k)
}

func (o *origin) each(fn func(snapshot.Key)) {
	if o.has {
		fn(o.one)
	}
	for k := range o.more {
		fn(k)
	}
}

// Status aggregates acknowledgements and rejections by origin. It is safe for concurrent use.
type Status struct {
	server *Server
	// refusals counts the rejections that stand: where there are none, an acknowledgement takes none back.
	refusals atomic.Int64

	mu      sync.Mutex
	tracks  map[snapshot.Key]*track
	origins map[model.Ref]*origin
	// refusing lists what each stream rejects.
	refusing map[uint64]map[*track]struct{}
	changed  chan struct{}
}

func newStatus(s *Server) *Status {
	return &Status{server: s, tracks: map[snapshot.Key]*track{}, origins: map[model.Ref]*origin{}, refusing: map[uint64]map[*track]struct{}{}}
}

// For gives the status of one source object against the latest snapshot.
func (s *Status) For(ref model.Ref) OriginStatus {
	if snap := s.server.cfg.Source.Latest(); snap != nil {
		s.server.observe(snap)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out OriginStatus
	o := s.origins[ref]
	var seq uint64
	if o != nil {
		seq = o.seq
		out.Resources = o.len()
		o.each(func(k snapshot.Key) {
			for _, r := range s.tracks[k].rejected {
				out.Rejected = append(out.Rejected, r)
			}
		})
	}
	out.Clients, out.Behind, out.BehindNodes = s.server.progress(seq)
	slices.SortFunc(out.Rejected, func(a, b Rejection) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Node, b.Node))
	})
	return out
}

// Changed gives a channel that is closed at the next acknowledgement, rejection, connect or disconnect. Take it before
// For, so that nothing is missed.
func (s *Status) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed
}

func (s *Status) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// apply follows one changed key of a new snapshot.
func (s *Status) apply(seq uint64, k snapshot.Key, r *snapshot.Resource) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tracks[k]
	if t != nil {
		s.touch(seq, k, t.res.Origins, false)
		if r == nil || t.res.Hash != r.Hash {
			for stream := range t.rejected {
				delete(s.refusing[stream], t)
				s.refusals.Add(-1)
			}
		}
	}
	if r == nil {
		delete(s.tracks, k)
		return
	}
	s.touch(seq, k, r.Origins, true)
	if t != nil && t.res.Hash == r.Hash {
		t.res = r
		return
	}
	s.tracks[k] = &track{res: r}
}

// touch adds or takes a key from its origins. An origin without keys is forgotten.
func (s *Status) touch(seq uint64, k snapshot.Key, refs []model.Ref, has bool) {
	for _, ref := range refs {
		o := s.origins[ref]
		if o == nil {
			o = &origin{}
			s.origins[ref] = o
		}
		o.seq = seq
		if has {
			o.add(k)
			continue
		}
		o.remove(k)
		if o.len() == 0 {
			delete(s.origins, ref)
		}
	}
}

// keys lists what is tracked, to find what a snapshot without a change list has lost.
func (s *Status) keys() []snapshot.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]snapshot.Key, 0, len(s.tracks))
	for k := range s.tracks {
		out = append(out, k)
	}
	return out
}

// find gives the track of a resource while it is the present content of its key.
func (s *Status) find(r *snapshot.Resource) *track {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tracks[snapshot.Key{Type: r.Type, Name: r.Name, Variant: r.Variant}]; t != nil && t.res.Hash == r.Hash {
		return t
	}
	return nil
}

// reject notes a refusal by a stream; an empty message takes it back.
func (s *Status) reject(t *track, stream uint64, r Rejection) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, was := t.rejected[stream]
	if r.Message == "" {
		if was {
			delete(t.rejected, stream)
			delete(s.refusing[stream], t)
			s.refusals.Add(-1)
		}
		return
	}
	if !was {
		s.refusals.Add(1)
	}
	if s.refusing[stream] == nil {
		s.refusing[stream] = map[*track]struct{}{}
	}
	s.refusing[stream][t] = struct{}{}
	if t.rejected == nil {
		t.rejected = map[uint64]Rejection{}
	}
	t.rejected[stream] = r
}

// forget takes back all refusals of a stream that has ended.
func (s *Status) forget(stream uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t := range s.refusing[stream] {
		delete(t.rejected, stream)
		s.refusals.Add(-1)
	}
	delete(s.refusing, stream)
}
