package snapshot

import "google.golang.org/protobuf/encoding/protowire"

// refer notes what other resources an encoded one speaks of, so that nobody has to look into the bytes for each client: a
// ScopedRouteConfiguration its route_configuration_name (field 2), a RouteConfiguration whether it has vhds (field 9).
func (r *Resource) refer(body []byte) {
	switch r.Type {
	case "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration":
		if b := field(body, 2); b != nil {
			r.routes = string(b)
		}
	case "type.googleapis.com/envoy.config.route.v3.RouteConfiguration":
		r.discovers = field(body, 9) != nil
	}
}

// Routes is the route configuration that a ScopedRouteConfiguration names.
func (r *Resource) Routes() string { return r.routes }

// Discovers tells whether a RouteConfiguration has its virtual hosts by discovery.
func (r *Resource) Discovers() bool { return r != nil && r.discovers }

// field finds a length-delimited field of an encoded message; nil when it has none.
func field(b []byte, want protowire.Number) []byte {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(num, typ, b); n < 0 {
			return nil
		}
		if num == want && typ == protowire.BytesType {
			_, k := protowire.ConsumeVarint(b)
			return b[k:n:n]
		}
		b = b[n:]
	}
	return nil
}
