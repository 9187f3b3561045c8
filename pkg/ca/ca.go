// Package ca has the words that the parts of the certificate authority share: who calls, what the cluster runs, and the paths
// of SPIFFE IDs.
//
//	call ─► authn (who) ─► issue (for whom: Directory; what: csr) ─► authority (sign) ─► audit, ledger
//	                                                      store ─► authority ◄─ rotate ◄─ barrier
//	                                                                   └─► TrustBundle ─► table → … → push → agents
//
// It stands beside the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK: what it
// trusts enters the tables as any source's objects do, and what it signs never does.
package ca

import (
	"crypto/x509"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Kind is what a caller is.
type Kind string

const (
	// Workload is a pod, by its ServiceAccount. Node is the agent of a node (and the node's Envoy, which holds its SVID).
	// Replica is another replica of the control plane.
	Workload Kind = "workload"
	Node     Kind = "node"
	Replica  Kind = "replica"
)

// Method is how a caller proved who it is.
type Method string

const (
	MTLS        Method = "mtls"
	TokenReview Method = "token-review"
	TokenJWKS   Method = "token-jwks"
	// Local is a plaintext connection on loopback or a Unix socket, which an operator has opened by a flag.
	Local Method = "local"
)

// Caller is who calls, as package authn proved it.
type Caller struct {
	Kind   Kind
	Method Method
	// ID is the identity that the caller may have; zero for Local.
	ID spiffeid.ID
	// Pod is the pod that a token is bound to; nil with mTLS. Node is the node of a token's pod, or of a node's SVID; zero for
	// a workload with mTLS.
	Pod  *PodRef
	Node NodeRef
	// Expires is when the proof ends.
	Expires time.Time
	// Certificate is the caller's leaf; nil with a token.
	Certificate *x509.Certificate
}

// PodRef names one pod.
type PodRef struct{ Namespace, Name, UID, ServiceAccount string }

// NodeRef names one node. Of a SVID it is a claim of the past: a node that was made anew has another UID.
type NodeRef struct{ Name, UID string }

// Pod is a pod that has not finished.
type Pod struct {
	PodRef
	Node string
}

// Directory tells what the cluster runs now. Implementations are safe for concurrent use and cost microseconds.
type Directory interface {
	// Pod gives a pod that has not finished; false when there is none of that name.
	Pod(namespace, name string) (Pod, bool)
	// RunsOn tells whether a pod of the ServiceAccount that has not finished is bound to the node.
	RunsOn(node, namespace, serviceAccount string) bool
	// Runs tells whether a pod of the ServiceAccount that has not finished is bound to any node.
	Runs(namespace, serviceAccount string) bool
	// Node gives a node's UID; false when there is none of that name.
	Node(name string) (uid string, ok bool)
	// Gateway tells whether a Gateway exists and is served on the node.
	Gateway(node, namespace, name string) bool
	// DNSNames lists the names that a pod may be certified for: those of the Services that select it.
	DNSNames(namespace, name string) []string
}
