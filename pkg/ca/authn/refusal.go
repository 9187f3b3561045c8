package authn

import (
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Reason is why a caller is not believed: a closed set, for metrics, audit and tests.
type Reason string

const (
	NoTLS        Reason = "no-tls"
	NoCredential Reason = "no-credential"

	CertificateExpired   Reason = "certificate-expired"
	CertificateUntrusted Reason = "certificate-untrusted"
	CertificateProfile   Reason = "certificate-profile"
	CertificateDomain    Reason = "certificate-trust-domain"
	CertificatePath      Reason = "certificate-path"

	TokenTwice      Reason = "token-twice"
	TokenOversized  Reason = "token-oversized"
	TokenMalformed  Reason = "token-malformed"
	TokenAlgorithm  Reason = "token-algorithm"
	TokenSignature  Reason = "token-signature"
	TokenAudience   Reason = "token-audience"
	TokenExpired    Reason = "token-expired"
	TokenEarly      Reason = "token-not-yet-valid"
	TokenUnbound    Reason = "token-not-pod-bound"
	TokenRefused    Reason = "token-refused"    // by the API server
	TokenUnverified Reason = "token-unverified" // nobody could tell

	PodUnknown        Reason = "pod-unknown" // gone, finished, or not seen yet
	PodUID            Reason = "pod-uid"
	PodServiceAccount Reason = "pod-service-account"
	PodNode           Reason = "pod-node"
	NodeUnknown       Reason = "node-unknown"
	NodeUID           Reason = "node-uid"
	IdentityGrammar   Reason = "identity-grammar"
	// IdentityNotRunning is of a workload's certificate: no pod of its ServiceAccount runs any more, or none is seen yet.
	IdentityNotRunning Reason = "identity-not-running"
)

// Refusal is the error of Authenticate. As a gRPC status it tells the caller nothing; Error is for the log.
type Refusal struct {
	Reason Reason
	Detail string
	// Claim is who the caller says it is: believe nothing of it.
	Claim string

	code    codes.Code
	message string
}

func (r *Refusal) Error() string {
	return "authenticate caller: " + string(r.Reason) + ": " + r.Detail
}

// final tells a refusal that stands from one that may pass.
func (r *Refusal) final() bool { return r.code == codes.Unauthenticated }

// GRPCStatus is what the caller is told.
func (r *Refusal) GRPCStatus() *status.Status { return status.New(r.code, r.message) }

// refuse is for who will not be believed later either.
func refuse(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...), code: codes.Unauthenticated, message: "the caller could not be authenticated"}
}

// later is for who may be believed soon.
func later(reason Reason, format string, args ...any) *Refusal {
	return &Refusal{Reason: reason, Detail: fmt.Sprintf(format, args...), code: codes.Unavailable, message: "the caller cannot be authenticated yet: try again"}
}
