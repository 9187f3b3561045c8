// Package enforce makes numbers of names, folds what policies say, and keeps a kernel's maps equal to it, so that no packet ever
// meets a half of a change.
//
//	control (Peer, PeerSet, VerdictSet, Workload) ┐
//	agent (endpoints, the host's addresses)       ┴─► enforce ─► datapath
//
// A VerdictSet that changes is written whole under a new number, then its identity is flipped to that number, then the old one is
// taken away, when no program can be reading it any more. A PeerSet that changes is changed in place, peer class by peer class. After
// each batch the kernel judges the flows that it knows anew. What is in the kernel when the agent starts is adopted: numbers stay
// what they were, and only what differs is written.
//
// What cannot be written, and what is not known yet, leaves the last answer in its place; a pod that never had one is denied.
package enforce
