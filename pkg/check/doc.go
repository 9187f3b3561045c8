// Package check says what is wrong with manifests before anybody serves them: it joins what the reader of the files, the
// stages and a real Envoy say, by file and line.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// It runs the same line as the server, once. The Envoy is started on the generated resources as a node would be, but opens
// none of their ports.
package check
