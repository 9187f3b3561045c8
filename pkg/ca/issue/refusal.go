package issue

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/csr"
)

// Reason is why an identity is refused to a caller that is known: a closed set, for metrics, audit and tests. Beside it stand
// those of authn and csr.
type Reason string

const (
	TrustDomain       Reason = "trust-domain"
	NotNodeAgent      Reason = "not-a-node-agent"
	PodUnknown        Reason = "pod-unknown" // gone, finished, or not seen yet
	PodUID            Reason = "pod-uid"
	PodServiceAccount Reason = "pod-service-account"
	PodNode           Reason = "pod-node"
	GatewayPlacement  Reason = "gateway-not-on-node"
	NotOnNode         Reason = "identity-not-on-node"
	DNSNames          Reason = "dns-names"
	Malformed         Reason = "request-malformed"
	BatchTooLarge     Reason = "batch-too-large"
	TTL               Reason = "ttl"
	Audience          Reason = "audience"
	Busy              Reason = "busy"
	NoAuthority       Reason = "no-authority"
	SigningFailed     Reason = "signing-failed"
	Unauthenticated   Reason = "unauthenticated" // by an authenticator that says no more
)

// refusal is a decision against a caller: code and message are for it, reason and detail for the audit.
type refusal struct {
	reason  Reason
	detail  string
	code    codes.Code
	message string
	// written says that package authn has written it down already.
	written bool
}

func (f *refusal) status() error { return status.Error(f.code, f.message) }

func denied(r Reason, format string, args ...any) *refusal {
	return &refusal{r, fmt.Sprintf(format, args...), codes.PermissionDenied, "the caller may not have this identity", false}
}

func invalid(r Reason, format string, args ...any) *refusal {
	return &refusal{r, fmt.Sprintf(format, args...), codes.InvalidArgument, "the request is malformed", false}
}

func busy(err error) *refusal {
	return &refusal{Busy, err.Error(), codes.ResourceExhausted, "too many calls at once: try again", false}
}

func badCSR(err error) *refusal {
	f := &refusal{Malformed, err.Error(), codes.InvalidArgument, "the certificate request was refused", false}
	var e *csr.Error
	if errors.As(err, &e) {
		f.reason, f.detail = Reason(e.Reason), e.Detail
	}
	return f
}

func unsigned(err error) *refusal {
	if errors.Is(err, authority.ErrNone) || errors.Is(err, authority.ErrNoKey) || errors.Is(err, authority.ErrNotValid) {
		return &refusal{NoAuthority, err.Error(), codes.Unavailable, "no authority can sign now: try again", false}
	}
	return &refusal{SigningFailed, err.Error(), codes.Internal, "the certificate could not be signed", false}
}

func unauthenticated(err error) *refusal {
	s := status.Convert(err)
	f := &refusal{Unauthenticated, err.Error(), s.Code(), s.Message(), false}
	var refused *authn.Refusal
	if errors.As(err, &refused) {
		f.reason, f.written = Reason(refused.Reason), true
	}
	return f
}
