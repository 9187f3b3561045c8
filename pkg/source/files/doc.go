// Package files reads a folder of manifests and watches it.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// It is one of the two sources, and the embedded default: the whole server runs without a cluster.
//
// Every .yaml, .yml and .json file below the folder is read; names that begin with a dot, and the temporary files of
// editors, are not. Objects without a namespace are in "default". What an API server and its controllers would add is
// added here: defaults, checks by schema, generations, and, for a Service with a selector that has no EndpointSlice in the
// folder, one called <service>-files made of the folder's Pods.
//
// A document that cannot be read leaves a Problem, and the objects that its file gave before stay as they were. The first
// file by path wins where two define one object.
//
// Writers should replace files by rename. A change that takes something away, or breaks a file, is believed once the
// folder has been quiet for a moment, because it may be half a write; all other changes are handed over at once.
package files
