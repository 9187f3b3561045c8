// Package v1alpha1 holds the Go types of Fairlead's own resources, API group
// fairlead.io, version v1alpha1. It stands before the line
//
//	source -> table -> resolve -> {translate, verdict} -> snapshot -> push -> {Envoy, shim} -> ACK/NACK
//
// as the shape of what the sources read; it imports nothing of Fairlead.
//
// # One set of types, two API groups
//
// VirtualService, DestinationRule, ServiceEntry, WorkloadEntry, Sidecar and
// Gateway have the JSON names and JSON forms of their namesakes in networking.istio.io
// (v1alpha3, v1beta1 and v1 are one schema there). The same Go types therefore
// decode both groups: see AddToScheme and AddIstioToScheme. A field that
// Fairlead does not serve is present here all the same, so that the reader can
// tell "known but not supported" from "no such field".
//
// # Presence
//
// A scalar that means something when it is zero is a pointer (weight, attempts,
// limits). A Duration is the user's own string and is absent when empty. A oneof
// of the Istio API is a struct of pointers of which one may be set.
//
// # Validation
//
// Markers on the types become OpenAPI and CEL rules in crds/. They refuse what
// can never be meant. They are not relied on: objects from files, and objects in
// a cluster that has Istio's own CRDs, never saw them, so the stages behind the
// sources check what they use again and answer with a condition. For the same
// reason a numeric field is a signed integer although Istio's is unsigned: a
// negative port should become a condition that names it, not a decode error.
//
// +kubebuilder:object:generate=true
// +groupName=fairlead.io
package v1alpha1
