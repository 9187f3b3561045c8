// Package v2 holds the Go types of CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy, API group cilium.io, version v2, as far
// as their specifications go. It stands before the line
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// as the shape of what the sources read; it imports nothing of Fairlead, and nothing of Cilium.
//
// The JSON names and forms are those of Cilium 1.20, with the fields that older versions had (kafka, l7proto, l7) and that newer
// manifests may still carry. A field that Fairlead does not enforce is here all the same, so that its author can be told.
//
// # Presence
//
// A list that is absent and one that is empty differ: an absent fromEndpoints says nothing of endpoints, an empty one selects
// nobody. So do a selector that is absent and one that is empty, which selects all.
//
// +kubebuilder:object:generate=true
// +groupName=cilium.io
package v2
