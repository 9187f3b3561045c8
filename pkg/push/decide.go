package push

import (
	"slices"

	"fairlead.io/fairlead/pkg/snapshot"
)

// choice is what decide says.
type choice uint8

const (
	skip   choice = iota // the client has it, or may not get it
	send                 // send it
	remove               // remove it when removals' turn comes
	absent               // say now that there is none
	later                // look again at the next snapshot
)

// foreign tells whether a client brought something from another stream that is not equal to what was here.
func foreign(r *snapshot.Resource) bool { return r != nil && r.Body == nil }

// decide compares what a client has of a name with what it should have.
func (st *stream) decide(w *watch, f found, n need, trial bool) (item, choice) {
	id, name := f.id, f.name
	it := item{id: id, need: n, prev: w.has(id)}
	if w.at(id)&subscribed == 0 && !st.covers(w, name) {
		return it, skip
	}
	res := st.cut(w, id, f.res)
	behind := st.behind(w, &it)
	if res == nil {
		do := st.decideGone(w, name, &it, behind)
		if do == absent {
			return st.substitute(w, it, name)
		}
		return it, do
	}
	same := it.prev != nil && it.prev.Hash == res.Hash
	switch {
	case same && !behind:
		w.set(id, res)
		fallthrough
	case same:
		if n == changed {
			return it, skip
		}
	case behind:
		return it, later
	}
	it.res = res
	if !trial && !same {
		it.res = st.allowed(w, &it)
		switch {
		case it.res == nil && n == ask && (it.prev == nil || w.url != routeType):
			return st.substitute(w, it, name)
		case it.res == nil:
			return it, skip
		case it.prev != nil && it.prev.Hash == it.res.Hash && n == changed:
			return it, skip
		}
	}
	return it, send
}

// behind tells whether the client may know better: it brought the resource, or for a name that it does not have anything,
// from a stream that had seen more than our snapshot is sure to have. What this stream has sent itself needs no such care.
func (st *stream) behind(w *watch, it *item) bool {
	complete := st.view(w).Complete()
	var position uint64
	switch {
	case foreign(it.prev):
		position = it.prev.Position
	case it.prev == nil && w.wildcard && it.need != ask:
		position = st.floor
	}
	if position <= complete {
		return false
	}
	return st.srv.cfg.Source.Want(position)
}

// decideGone is decide for a name that does not exist.
func (st *stream) decideGone(w *watch, name string, it *item, behind bool) choice {
	switch {
	case it.need == ask && w.url == virtualHostType && st.isRoutes(w, name):
		return skip
	case (it.prev == nil && it.need == ask || foreign(it.prev)) && st.srv.cfg.Await != nil && st.srv.cfg.Await(w.url, name):
		return skip
	case it.need == ask:
		return absent
	case it.prev == nil, it.prev.Stub && w.url == routeType:
		return skip
	case behind, w.free && st.snap.Lookup(st.variants, w.url, name) != nil:
		// The second case: gone in the newest snapshot, but the stream is not there yet, and routes still use it.
		return later
	}
	return remove
}

// isRoutes tells whether a VHDS subscription names a route configuration that has virtual hosts.
func (st *stream) isRoutes(w *watch, name string) bool {
	found := false
	st.view(w).Prefix(w.url, name+"/", func(r *snapshot.Resource) bool {
		found = namespace(r.Name) == name && slices.Contains(st.variants, r.Variant)
		return !found
	})
	return found
}
