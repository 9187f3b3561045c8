// Package table is the recorded-reads engine: source tables, indexes over them, derived tables whose functions
// record everything they read, and immutable snapshots of what is published. It knows nobody else of the project.
//
//	source -> TABLE -> resolve -> {translate, verdict} -> SNAPSHOT -> push -> {Envoy, shim} -> ACK/NACK
//
// A derived table is a pure function of (Reader, key). Every read through the Reader, of a row or of an index key,
// present or absent, is a dependency of that key; when one of them changes the key runs again, and an equal result
// stops the ripple. One goroutine owns all tables (Run, or the caller of Apply); others Submit batches and read
// snapshots through an atomic pointer. README.md has the data flow, the invariants and the cost model.
//
// Values are immutable once they are in a table: neither the sender nor a reader may change what they point to.
package table
