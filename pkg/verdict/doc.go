// Package verdict says what policy makes of a connection between two addresses, as far as layers 3 and 4 go.
//
//	policies → Set (rules of one identity) → Fold (rules of one peer class, by protocol and port) → Combine → Decision
//
// A Set is what the server tells a node of one identity. The node folds it into entries that the kernel finds by hashing; the
// kernel looks up the classes that the other side belongs to and combines them as Combine does. Judge evaluates a Set without
// any of that, slowly: for explanations, and to prove the rest by.
//
// Rules are evaluated in families that never satisfy one another's defaults; both must allow. Inside a family there are three
// tiers: Admin, by rank, the first match decides unless it passes; Main, where a deny wins over an allow, and what no rule
// allows is denied for an identity that a policy isolates in that direction; Baseline, by rank, for who is not isolated.
// (network-policy-api v0.2.0 ClusterNetworkPolicy; Kubernetes NetworkPolicy; CiliumNetworkPolicy's deny rules.)
package verdict
