// Package status tells the author of each object what became of it: what resolve judged, and what the Envoys said to what
// push sent them.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//	                    └──────────────── status ◄─────────────────────────────────────────┘
//
// Join is the pure half: both voices become the final conditions of one object. Writer is the other half: the replica that
// holds the Lease writes them by server-side apply. What is written is never an input of resolve. README.md has the rules
// of writing, and which kind has a place for which condition.
package status
