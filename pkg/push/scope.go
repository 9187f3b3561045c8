package push

import "fairlead.io/fairlead/pkg/snapshot"

// scoped tells whether a type is cut to what the node may see. What is asked for by name follows from those.
func scoped(w *watch) bool { return w.wildcard && w.url != listenerType }

// found gives what a snapshot has for the node under the name of a slot.
func (st *stream) found(w *watch, id uint32) found {
	var out [1]found
	return w.book.look(out[:], st.view(w), st.variants, []uint32{id})[0]
}

// find gives what the client should have under a name, or nil.
func (st *stream) find(w *watch, id uint32, name string) *snapshot.Resource {
	r := st.view(w).Lookup(st.variants, w.url, name)
	return st.cut(w, id, r)
}

// cut gives a resource, or nil when it is not for the node.
func (st *stream) cut(w *watch, id uint32, r *snapshot.Resource) *snapshot.Resource {
	if r != nil && r.Audience != nil && scoped(w) && w.at(id)&subscribed == 0 && !st.scope.Sees(r.Audience) {
		return nil
	}
	return r
}

// rescope takes up the scope that the node has in the stream's snapshot. A wider one brings what it adds in the order of
// all additions, so that clusters and endpoints are there before the routes to them.
func (st *stream) rescope() {
	scope := st.snap.Scope(st.node.ID)
	if scope.Equal(st.scope) {
		return
	}
	st.scope = scope
	for _, w := range st.ranked {
		w.all = w.all || w.active && scoped(w)
	}
}
