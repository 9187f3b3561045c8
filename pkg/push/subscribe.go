package push

import (
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/snapshot"
)

// subscribe adds names. What is asked for explicitly is answered even if the client should have it: it may have
// forgotten it.
func (st *stream) subscribe(w *watch, names []string, first, expected bool) error {
	var ids [chunk]uint32
	for len(names) > 0 {
		part := names[:min(chunk, len(names))]
		names = names[len(part):]
		for i, name := range part {
			if len(name) > maxName {
				return status.Errorf(codes.InvalidArgument, "resource name is longer than %d bytes", maxName)
			}
			if name == "*" {
				w.answer = w.answer || (!w.wildcard && w.resources == 0)
				w.wildcard, w.all = true, true
				names, part = append(part[i+1:len(part):len(part)], names...), part[:i]
				break
			}
		}
		for i, id := range w.open(ids[:], part) {
			if err := st.subscribeSlot(w, id, part[i], first); err != nil {
				return err
			}
			if expected {
				w.add(&w.awaited, id)
			}
		}
	}
	return nil
}

func (st *stream) subscribeSlot(w *watch, id uint32, name string, first bool) error {
	if w.at(id)&subscribed == 0 {
		if st.names >= st.srv.cfg.MaxNames {
			w.tidy(id)
			return status.Errorf(codes.ResourceExhausted, "stream subscribes to more than %d names", st.srv.cfg.MaxNames)
		}
		st.names++
		w.names++
		w.raise(id, subscribed)
	}
	n := ask
	if first && w.has(id) != nil {
		n = changed
	}
	w.markSlot(id, n)
	switch w.url {
	case routeType:
		if vhds := st.watches[virtualHostType]; vhds != nil && st.latest != nil && st.find(w, id, name).Discovers() {
			st.markHosts(name, n)
		}
	case virtualHostType:
		st.markHosts(name, changed)
	}
	return nil
}

// unsubscribe drops a name. With a wildcard beside it the client cannot know whether the name is part of that, and is
// told (xDS protocol, "unsubscribing from resources").
func (st *stream) unsubscribe(w *watch, name string) {
	if name == "*" {
		w.wildcard = false
		w.each(func(id uint32) {
			if w.has(id) != nil && !st.wants(w, w.book.name(id)) {
				w.forget(id)
			}
		})
		return
	}
	id, ok := w.lookup(name)
	if !ok || w.at(id)&subscribed == 0 {
		return
	}
	st.names--
	w.names--
	w.lower(id, subscribed)
	w.remove(&w.awaited, id)
	if st.wants(w, name) {
		w.markSlot(id, ask)
	} else {
		st.unreject(w, name)
		w.forget(id)
	}
	if vhds := st.watches[virtualHostType]; vhds != nil && vhds.resources > 0 && (w.url == routeType || w == vhds) {
		vhds.each(func(id uint32) {
			if n := vhds.book.name(id); vhds.has(id) != nil && namespace(n) == name && !st.wants(vhds, n) {
				vhds.forget(id)
			}
		})
	}
}

// wants tells whether the client is subscribed to a name. Envoy subscribes to virtual hosts as a wildcard once, and
// means those of the route configurations that it has; other clients may name a route configuration.
func (st *stream) wants(w *watch, name string) bool {
	return w.asks(name) || st.covers(w, name)
}

// covers tells whether the client wants a name without asking for it by name.
func (st *stream) covers(w *watch, name string) bool {
	if w.url != virtualHostType {
		return w.wildcard
	}
	ns := namespace(name)
	if w.asks(ns) {
		return true
	}
	rds := st.watches[routeType]
	return w.wildcard && rds != nil && (rds.wildcard || rds.asks(ns))
}

// markHosts marks the virtual hosts of a route configuration. When there are none, Envoy must be told so, or the route
// configuration stays warming: an empty response reaches no VHDS subscription, the removal of a name in its namespace
// does (Envoy, WatchMap::onConfigUpdate).
func (st *stream) markHosts(routes string, n need) {
	w := st.watches[virtualHostType]
	if w == nil || !w.active {
		return
	}
	if n != changed {
		n = force
	}
	if st.latest == nil {
		w.all = true
		return
	}
	found := false
	for _, s := range []snapshot.Snapshot{st.snap, st.latest} {
		s.Prefix(virtualHostType, routes+"/", func(r *snapshot.Resource) bool {
			if namespace(r.Name) == routes && (r.Variant == "" || slices.Contains(st.variants, r.Variant)) {
				w.mark(r.Name, n)
				found = true
			}
			return true
		})
		if st.snap == st.latest {
			break
		}
	}
	if !found && n != changed {
		w.mark(routes+"/", ask)
	}
}
