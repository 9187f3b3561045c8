// Package barrier knows which state of which object every node has acknowledged, over all replicas.
//
//	resolve.Statuses ─► object (uid, generation) ─► contents ─┐
//	snapshot ───────────────────────────────────────► digest ─┤
//	push ───────────────► clients: the state each has settled ─┴─► own rows and clients ─► peers, by Follow
//	                                                               peers' rows and clients ─► Get, Wait
//
// It stands beside the line source → table → resolve → translate → snapshot → push → {Envoy, shim} → ACK/NACK, at its end.
//
// Every replica numbers its own states. A row says in which state the contents of an object last changed, a client which
// state it has settled; so a client's answer is one number however many objects it concerns, and "is everybody through with
// this object" is a comparison with the lowest of those numbers. Nothing is looked at but what has changed.
package barrier
