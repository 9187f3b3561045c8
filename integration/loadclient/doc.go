// Package loadclient drives many xDS clients that behave as Envoys do, each on a TCP connection of its own, for benchmarks
// and for tests of many, slow, flapping or refusing clients. It stands at the end of the line
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// and serves any control plane: EnvoyNode, IstioSidecar and IstioGateway say who the clients are.
//
// # What a client does
//
// It subscribes to all clusters; to the endpoints (and secrets) that clusters name; when those have come, to all
// listeners; to the route tables, scopes and secrets that listeners name; to the route tables of scopes; and, when a route
// table has a vhds, to virtual hosts. What nothing names any more it unsubscribes from. Only references that say "ads" count.
// Every response is acknowledged once; once everything has come, a response with new or changed clusters only when their
// endpoints and secrets have come, as Envoy does, which pauses CDS while clusters warm. A new stream begins with everything
// that was asked for before, and with the versions that the client has.
//
// # What it costs
//
// Responses are not decoded: their bytes are cut into resources, and a resource that some client of the fleet has seen
// before is recognized by its hash. A name, its version and what it refers to exist once in a fleet; a client holds a
// pointer for each.
//
// # Limits
//
// A rejected response is not applied at all; Envoy applies its good clusters and listeners. Extension discovery (ECDS) and
// on-demand subscriptions are not followed.
package loadclient
