// Package authn proves who calls: by the certificate of the connection, or by a token in the call's metadata.
//
// See package ca for the line on which it stands.
package authn

import (
	"context"

	"fairlead.io/fairlead/pkg/ca"
)

// Authenticator proves who makes a call. It is safe for concurrent use.
type Authenticator interface {
	// Authenticate looks at the peer and the metadata of an incoming gRPC call. Errors are gRPC statuses that tell the caller
	// nothing it does not know; the reason is in the log and in the metrics. It never gives a nil Caller without an error.
	Authenticate(ctx context.Context) (*ca.Caller, error)
}

type callerKey struct{}

// With gives a context that carries the caller.
func With(ctx context.Context, c *ca.Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// From gives the caller that With put into a context; nil when there is none.
func From(ctx context.Context) *ca.Caller {
	c, _ := ctx.Value(callerKey{}).(*ca.Caller)
	return c
}
