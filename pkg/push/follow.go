package push

import (
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protowire"

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
		st.follow(routeType, items, func(r *snapshot.Resource) string { return routesOf(r.GetBody()) }, changed)
	case routeType:
		for i := range items {
			if it := &items[i]; it.prev == nil && discovers(it.res) {
				st.markHosts(it.res.Name, force)
			}
		}
	}
}

// follow makes the transition wait until the client has the resources that those just sent refer to by name. Envoy asks
// for them when it has none; of another client that shows no interest in the type nothing is awaited.
func (st *stream) follow(typeURL string, items []item, name func(*snapshot.Resource) string, n need) {
	w := st.watch(typeURL)
	if !w.active && st.agent != "envoy" {
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

// discovers tells whether a route configuration has its virtual hosts by discovery (RouteConfiguration.vhds, field 9).
func discovers(r *snapshot.Resource) bool {
	for b := r.GetBody(); len(b) > 0; {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 || num == 9 {
			return n >= 0
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return false
		}
		b = b[n:]
	}
	return false
}

// routesOf reads route_configuration_name (field 2) of an encoded ScopedRouteConfiguration, without decoding the rest:
// a client may have thousands.
func routesOf(b []byte) string {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return ""
		}
		b = b[n:]
		if num == 2 && typ == protowire.BytesType {
			v, _ := protowire.ConsumeString(b)
			return v
		}
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return ""
		}
		b = b[n:]
	}
	return ""
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
