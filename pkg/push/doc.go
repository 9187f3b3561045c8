// Package push serves snapshots to Envoys and node shims over ADS, and learns what they made of them.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// One goroutine owns a stream; a second one only receives. A stream holds, per type, the content hash of every resource
// that its client has; it compares those with the snapshot and sends what differs. What changes while a response waits
// for its ACK only marks a name, so a slow client costs memory bounded by its subscriptions and gets the newest state.
//
// The names of a type are numbered for all streams (book), and a stream keeps what its client has by number (slots).
// Responses are put together from bytes that the resources carry (transport); the state-of-the-world protocol is an
// adapter that looks like a delta stream (sotw). New clients come in a few at a time (admission), and are sent what
// their node's scope sees (scope).
//
// # Order
//
// A stream moves from one snapshot to a later one in a transition: additions and changes in the order of the types
// (CDS, EDS, SDS, LDS, RDS, SRDS, VHDS), a type being held until the types before it are acknowledged; then removals in
// the reverse order. EDS and SDS never wait, except an EDS set whose cluster is about to change. Nothing is held longer
// than Config.Hold.
//
// # Rejections
//
// A NACK is narrowed to single resources (by the names in Envoy's text, else by halves; each is confirmed alone).
// A rejected resource is quarantined by hash for that Envoy version on all streams, and retried on one of them with a
// growing pause. What each origin's resources met is in Status.
package push
