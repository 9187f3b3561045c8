package push

import (
	"maps"
	"slices"
	"strings"

	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/snapshot"
)

// world is one type of a client.
type world struct {
	// names are those of the latest request, "*" for a wildcard. named is set when any request listed one: from then on an
	// empty list is no wildcard but nothing.
	names map[string]struct{}
	named bool
	// nonce is that of the latest response, position the highest of any resource sent.
	nonce    string
	position uint64
	// has is what the latest response held of a type that is always sent as a whole, undo what it replaced there (nil:
	// nothing) while it is not acknowledged.
	has, undo map[string]*snapshot.Resource
}

// whole tells whether a response must hold all resources of a type that the client is to have, since what is absent is
// removed: those that may be subscribed to as a whole (Envoy takes scoped routes so too).
func whole(url string) bool { return kindOf(url).wildcard }

// seen says that a client comes from another stream, where it had its names at some position. Their contents are not
// known, so that all are sent, but not by a replica that is behind that position.
func seen(version string, names []string) map[string]string {
	_, position, ok := snapshot.ParseVersion(version)
	if !ok || position == 0 {
		return nil
	}
	out := map[string]string{}
	for _, n := range names {
		if n != "*" {
			out[n] = (&snapshot.Resource{Position: position}).Version()
		}
	}
	return out
}

// want takes in the full list of names, and gives what differs from the former one.
func (w *world) want(list []string, wildcard bool) (subscribe, unsubscribe []string) {
	w.named = w.named || len(list) > 0
	if !w.named && wildcard {
		list = []string{"*"}
	}
	now := make(map[string]struct{}, len(list))
	for _, name := range list {
		if _, twice := now[name]; twice {
			continue
		}
		now[name] = struct{}{}
		if _, ok := w.names[name]; !ok {
			subscribe = append(subscribe, name)
		}
	}
	for name := range w.names {
		if _, ok := now[name]; !ok {
			unsubscribe = append(unsubscribe, name)
		}
	}
	w.names = now
	unwanted := func(name string, _ *snapshot.Resource) bool { return !w.wants(name) }
	maps.DeleteFunc(w.has, unwanted)
	maps.DeleteFunc(w.undo, unwanted)
	return subscribe, unsubscribe
}

func (w *world) wants(name string) bool {
	if _, ok := w.names["*"]; ok {
		return true
	}
	_, ok := w.names[name]
	return ok
}

// settle ends the flight of the latest response. After a rejection the world is the last good one: what comes next, one
// resource at a time, is judged by itself.
func (w *world) settle(good bool) {
	if !good {
		for name, before := range w.undo {
			if before == nil {
				delete(w.has, name)
			} else {
				w.has[name] = before
			}
		}
	}
	w.undo = nil
}

// compose brings the world to what a reply changes, and lists what its response holds, by name.
func (w *world) compose(r *reply) []*snapshot.Resource {
	if !whole(r.typeURL) {
		list := slices.Clone(r.resources)
		for _, name := range r.removed {
			if e := empty(r.typeURL, name); e != nil {
				list = append(list, e)
			}
		}
		return list
	}
	w.undo = map[string]*snapshot.Resource{}
	for _, res := range r.resources {
		if w.wants(res.Name) {
			w.undo[res.Name], w.has[res.Name] = w.has[res.Name], res
		}
	}
	for _, name := range r.removed {
		delete(w.has, name)
	}
	list := make([]*snapshot.Resource, 0, len(w.has))
	for _, res := range w.has {
		list = append(list, res)
	}
	slices.SortFunc(list, func(a, b *snapshot.Resource) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// empty answers for a resource that there is none of. This protocol cannot say so, and both Envoy and gRPC wait for an
// answer: endpoints and routes are answered by none of them inside.
func empty(url, name string) *snapshot.Resource {
	var m proto.Message
	switch url {
	case endpointType:
		m = &endpoint.ClusterLoadAssignment{ClusterName: name}
	case routeType:
		m = &route.RouteConfiguration{Name: name}
	default:
		return nil
	}
	r, err := snapshot.Encode(name, m, 0)
	if err != nil {
		return nil // a name that is not UTF-8
	}
	return r
}
