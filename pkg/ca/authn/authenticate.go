package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	authentication "k8s.io/client-go/kubernetes/typed/authentication/v1"

	"fairlead.io/fairlead/pkg/ca"
)

// ServiceAccount names one.
type ServiceAccount struct{ Namespace, Name string }

// Config says whom to believe. TrustDomain, Roots and Directory are required.
type Config struct {
	TrustDomain spiffeid.TrustDomain
	// Aliases are former or further names of the trust domain: what is proved of one is believed of the same path in ours.
	Aliases []spiffeid.TrustDomain
	// Server is the identity of the control plane itself; its holders are Replicas. Zero for none.
	Server spiffeid.ID
	// Roots gives what verifies certificates of the trust domain, or of an alias, now. It is never asked of another one.
	Roots func(spiffeid.TrustDomain) []*x509.Certificate
	// Directory tells what runs.
	Directory ca.Directory
	// NodeAgents are the ServiceAccounts whose pods act for their node.
	NodeAgents []ServiceAccount
	// Audiences of tokens, one of which a token must have; without any, no token is believed.
	Audiences []string
	// Review asks the API server about tokens; nil where there is none. Its client must not be limited (rest.Config.QPS -1):
	// here are the cache, the bound of calls under way, and the one call for many askers.
	Review authentication.TokenReviewInterface
	// Keys verifies tokens without the API server; nil where there are none. See KeysOfCluster and KeysOfFile.
	Keys KeySource
	// Log and Registry may be nil; Now is time.Now unless set.
	Log      *slog.Logger
	Registry prometheus.Registerer
	Now      func() time.Time
}

// New gives an Authenticator.
func New(cfg Config) (*Authn, error) {
	if cfg.TrustDomain.IsZero() || cfg.Roots == nil || cfg.Directory == nil {
		return nil, errors.New("make authenticator: trust domain, roots and directory are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	m, err := newMetrics(cfg.Registry)
	if err != nil {
		return nil, err
	}
	return &Authn{cfg: cfg, metrics: m, certificates: newChains(), tokens: newTokens(cfg, m)}, nil
}

// Authn is the Authenticator of certificates and tokens.
type Authn struct {
	cfg          Config
	metrics      *metrics
	certificates *chains
	tokens       *tokens
}

// Authenticate implements Authenticator. A token counts more than the certificate of the connection, which may be a proxy's.
func (a *Authn) Authenticate(ctx context.Context) (*ca.Caller, error) {
	c, r := a.authenticate(ctx)
	if r == nil {
		return c, nil
	}
	a.metrics.refusals.WithLabelValues(string(r.Reason)).Inc()
	a.audit(ctx, r)
	return nil, r
}

// audit writes a refusal down, in the group of the records that package issue writes of callers that are known.
func (a *Authn) audit(ctx context.Context, r *Refusal) {
	attrs := []any{slog.String("decision", "refused")}
	if m, ok := grpc.Method(ctx); ok {
		attrs = append(attrs, slog.String("method", m))
	}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		attrs = append(attrs, slog.String("peer", p.Addr.String()))
	}
	if r.Claim != "" {
		attrs = append(attrs, slog.String("claim", r.Claim))
	}
	attrs = append(attrs, slog.String("reason", string(r.Reason)), slog.String("detail", r.Detail))
	a.cfg.Log.LogAttrs(ctx, slog.LevelWarn, "caller refused", slog.Group("audit", attrs...))
}

func (a *Authn) authenticate(ctx context.Context) (*ca.Caller, *Refusal) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil, refuse(NoTLS, "the call has no peer")
	}
	tls, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil, refuse(NoTLS, "the connection is not encrypted")
	}
	token, found, r := bearer(ctx)
	switch {
	case r != nil:
		return nil, r
	case found:
		return a.token(ctx, token)
	case len(tls.State.PeerCertificates) > 0:
		return a.certificate(ctx, tls.State.PeerCertificates)
	}
	return nil, refuse(NoCredential, "neither a certificate nor a token")
}

// maxToken bounds a token, in bytes. Tokens of Kubernetes have about 1,200.
const maxToken = 16 << 10

// bearer gives the token of the metadata. Another scheme than Bearer is no token of ours, but none beside it either.
func bearer(ctx context.Context) (token string, found bool, r *Refusal) {
	values := metadata.ValueFromIncomingContext(ctx, "authorization")
	switch {
	case len(values) == 0:
		return "", false, nil
	case len(values) > 1:
		return "", true, refuse(TokenTwice, "%d values of authorization", len(values))
	case len(values[0]) > maxToken:
		return "", true, refuse(TokenOversized, "%d bytes of authorization", len(values[0]))
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	if token = strings.TrimSpace(token); !ok || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", true, refuse(TokenMalformed, "authorization is not Bearer and a token")
	}
	return token, true, nil
}
