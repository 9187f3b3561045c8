// Package node has the words that the parts of the node's agent share: the identities of the pods that run here, and what
// others' are verified with.
//
//	server ── Workload, TrustBundle ─► control ─► keeper ─► sds ─► Envoy
//	server ◄── CSR, SVID ───────────────────────► keeper ─► workloadapi ◄─ attest ◄─ pod
//
// It is the end of the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK: a
// TrustBundle is acknowledged when everything that is served here has it.
package node

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// SVID is an X.509-SVID with its key, which is in memory only. It is immutable.
type SVID struct {
	ID spiffeid.ID
	// Chain is the certificate and its intermediates, leaf first, without a root.
	Chain []*x509.Certificate
	Key   crypto.Signer
	// Authority is the generation that signed it.
	Authority string
}

// Bundles are what certificates and tokens are verified with, by trust domain. It is immutable.
type Bundles struct {
	// Local are the trust domain of the mesh and its aliases; the first is what SVIDs are of.
	Local []spiffeid.TrustDomain
	X509  map[spiffeid.TrustDomain][]*x509.Certificate
	// JWT are the keys of JWT-SVIDs by "kid".
	JWT map[spiffeid.TrustDomain]map[string]crypto.PublicKey
	// Signing is the generation that signs now.
	Signing string
}

// Identities are those of the pods of this node, by the pod's UID. Implementations are safe for concurrent use.
type Identities interface {
	// X509 gives the SVID of a pod and a channel that is closed when another one, or other bundles, take their place: with
	// ErrPending too, when they may come; with ErrUnknown, when the pod may appear.
	X509(uid string) (*SVID, <-chan struct{}, error)
	// JWT has a JWT-SVID signed for a pod.
	JWT(ctx context.Context, uid string, audience []string) (JWT, error)
	// Bundles gives what verifies, and a channel that is closed when it is another; ErrPending before there is any.
	Bundles() (*Bundles, <-chan struct{}, error)
}

// JWT is a JWT-SVID.
type JWT struct {
	ID      spiffeid.ID
	Token   string
	Expires time.Time
}

var (
	// ErrUnknown says that no pod of that UID runs on this node.
	ErrUnknown = errors.New("no pod of this node")
	// ErrPending says that the identity is not there yet.
	ErrPending = errors.New("the identity has not been signed yet")
)
