// Package transport is the TLS port of the control plane: who may come in, as whom, and for how long.
//
//	connection ─► gate ─► TLS 1.3 ─► caller (authn) ─► method ─► session ─► xDS, authority, barrier
//
// It stands before push on the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK:
// what a stream is served is decided by its credential, and a stream ends with it.
package transport
