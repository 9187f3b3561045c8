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
	for i := range items {
		it := &items[i]
		if it.res == nil {
			continue
		}
		switch w.url {
		case clusterType:
			st.follow(endpointType, it.res.Name, force)
		case scopedRouteType:
			st.follow(routeType, routesOf(it.res.GetBody()), changed)
		case routeType:
			if it.prev == nil {
				st.markHosts(it.res.Name, force)
			}
		}
	}
}

// follow makes the transition wait until the client has a resource that the one just sent refers to. Envoy asks for it
// when it has none; of another client that shows no interest in the type nothing is awaited, and gRPC does its own waiting.
func (st *stream) follow(typeURL, name string, n need) {
	w := st.watch(typeURL)
	subscribed := w.active && st.wants(w, name)
	if name == "" || !w.active && st.agent != "envoy" || !subscribed && st.node.GRPC() {
		return
	}
	if st.view(w).Lookup(st.variants, typeURL, name) == nil {
		if subscribed && n == force {
			w.mark(name, ask) // a cluster that lost its endpoints must not warm for ever
		}
		return
	}
	if subscribed && n == changed {
		return // it has its own place in the order
	}
	id := w.slot(name)
	w.add(&w.awaited, id)
	if subscribed {
		w.markSlot(id, n)
	}
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
