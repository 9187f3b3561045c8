// Package convert turns bytes and Kubernetes objects into model values, strictly.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// It is the part of the source stage that both readers share. A field that a kind does not have is a FieldIssue of the
// object, by path; a value that cannot be read is a Problem, by file and line; neither stops other objects.
package convert
