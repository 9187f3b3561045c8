// Package resolve joins what the sources read: which route attaches where, which policy applies to which cluster, which
// endpoints belong, and what is to be said to the author of each object.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// Everything here is a derived table: a function of what it reads through a table.Reader. A user's mistake is a
// condition on the user's object, never an error.
package resolve
