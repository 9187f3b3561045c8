// Package schema does to custom objects of files what an API server does to those of a cluster: it fills in defaults, names
// unknown fields, and checks types, ranges, patterns and CEL rules, by the schemas of the CustomResourceDefinitions.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// It is a part of the source stage, and only the files source needs it. The code that does the work is the API server's
// own (k8s.io/apiextensions-apiserver), so that a manifest that passes here is one that a cluster takes.
//
// The schemas of fairlead.io are those in crds/; networking.istio.io shares them. The schemas of the Gateway API
// and the Network Policy API are copies of their experimental channels without descriptions, because a module's files cannot be embedded from outside it.
package schema

//go:generate go run ./gen .
