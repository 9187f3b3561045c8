package push

import (
	"slices"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"fairlead.io/fairlead/pkg/snapshot"
)

// after notes what a response makes necessary: a new cluster needs its endpoints, even if the client has them already
// (Envoy warms a changed cluster with the next update of its set), a new route configuration its virtual hosts, and a
// scope its routes.
func (st *stream) after(w *watch, items []item) {
	switch w.url {
	case clusterType:
		st.follow(endpointType, items, func(r *snapshot.Resource) string { return r.Name }, force)
	case scopedRouteType:
		st.follow(routeType, items, (*snapshot.Resource).Routes, changed)
	case routeType:
		for i := range items {
			if it := &items[i]; it.prev == nil && it.res.Discovers() {
				st.markHosts(it.res.Name, force)
			}
		}
	}
}

// follow makes the transition wait until the client has the resources that those just sent refer to by name. Of a type that
// it has not asked for yet, Envoy will, and what it then asks for is awaited; of another client that shows no interest in
// the type nothing is.
func (st *stream) follow(typeURL string, items []item, name func(*snapshot.Resource) string, n need) {
	w := st.watch(typeURL)
	if !w.active {
		w.expected = w.expected || st.agent == "envoy" && st.leads(w, items, name)
		return
	}
	batch := newBatch(len(items), func(names []string) { st.await(w, names, n) })
	for i := range items {
		if r := items[i].res; r != nil {
			batch.add(name(r))
		}
	}
	batch.end()
}

// leads tells whether what was sent refers to anything that there is.
func (st *stream) leads(w *watch, items []item, name func(*snapshot.Resource) string) bool {
	return slices.ContainsFunc(items, func(it item) bool {
		return it.res != nil && st.view(w).Lookup(st.variants, w.url, name(it.res)) != nil
	})
}

func (st *stream) await(w *watch, names []string, n need) {
	var ids [chunk]uint32
	w.book.each(st.view(w), st.variants, w.open(ids[:], names), func(f found) bool {
		asked := w.active && (w.at(f.id)&subscribed != 0 || st.covers(w, f.name))
		switch {
		case f.res == nil && asked && n == force:
			w.markSlot(f.id, ask) // a cluster that lost its endpoints must not warm for ever
		case f.res == nil, asked && n == changed:
			w.tidy(f.id) // nothing to wait for, or it has its own place in the order
		default:
			w.add(&w.awaited, f.id)
			if asked {
				w.markSlot(f.id, n)
			}
		}
		return true
	})
}

// batch hands names on, a chunk at a time.
type batch struct {
	names []string
	then  func([]string)
}

func newBatch(expected int, then func([]string)) *batch {
	return &batch{names: make([]string, 0, min(expected, chunk)), then: then}
}

func (b *batch) add(name string) {
	if name == "" {
		return
	}
	if b.names = append(b.names, name); len(b.names) == chunk {
		b.end()
	}
}

func (b *batch) end() {
	if len(b.names) > 0 {
		b.then(b.names)
		b.names = b.names[:0]
	}
}

// substitute answers for a resource that there is none. A missing route configuration is answered by an empty one, which
// gives 404: a removal does not end the warming of a listener with scoped routes, and would keep its port closed.
func (st *stream) substitute(w *watch, it item, name string) (item, choice) {
	it.res = nil
	if w.url != routeType {
		return it, absent
	}
	r, err := snapshot.Encode(name, &route.RouteConfiguration{Name: name}, 0)
	if err != nil {
		return it, absent // a name that is not UTF-8, which no request can carry
	}
	r.Stub = true
	it.res = r
	return it, send
}
