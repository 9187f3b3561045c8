// Package server is the only place that sees every stage: it wires
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// into one process with an admin interface beside it, and takes it down again in order: streams are drained first, so that
// nodes go to another replica, then the tables stop.
package server
