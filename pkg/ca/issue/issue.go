// Package issue decides who may have which certificate, has it signed, and writes down every decision.
//
// See package ca for the line on which it stands.
package issue

import (
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	istio "istio.io/api/security/v1alpha1"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/ledger"
)

const (
	// MaxBatch bounds the certificates of a call.
	MaxBatch = 100
	// MaxMessage is the largest message that is taken, in bytes: a whole batch of the largest requests.
	MaxMessage = 2 << 20
)

// Authority signs (*authority.Authority).
type Authority interface {
	SignDER(authority.X509Template) (authority.DER, error)
	SignJWT(authority.JWTTemplate) (token string, expires time.Time, err error)
	State() authority.State
}

// Policy bounds how long what is signed is valid. Zero fields are those of DefaultPolicy.
type Policy struct {
	// TTL is for who does not ask; who asks gets at least MinTTL and at most MaxTTL.
	TTL, MinTTL, MaxTTL time.Duration
	// JWTTTL is for who does not ask, MaxJWTTTL is the most: a token can be replayed by who has seen it.
	JWTTTL, MaxJWTTTL time.Duration
}

// DefaultPolicy is 24 hours for certificates (5 minutes at least), and 5 minutes for tokens (an hour at most).
func DefaultPolicy() Policy {
	return Policy{TTL: 24 * time.Hour, MinTTL: 5 * time.Minute, MaxTTL: 24 * time.Hour, JWTTTL: 5 * time.Minute, MaxJWTTTL: time.Hour}
}

// Config says how to decide. TrustDomain, Authority, Authn and Directory are required.
type Config struct {
	TrustDomain spiffeid.TrustDomain
	// Aliases are other names of the trust domain, whose holders may have the same path of ours.
	Aliases   []spiffeid.TrustDomain
	Authority Authority
	Authn     authn.Authenticator
	Directory ca.Directory
	Policy    Policy
	// Ledger notes what was signed; nil for one of its own.
	Ledger *ledger.Ledger
	// Log gets an audit record of every decision, in the group "audit"; it and Registry may be nil. Now is time.Now unless set.
	Log      *slog.Logger
	Registry prometheus.Registerer
	Now      func() time.Time
}

// Service is the certificate authority as others call it.
type Service struct {
	cfg     Config
	metrics *metrics
	gate    *gate
	desk    *desk
}

// New gives a Service; Register makes it answer.
func New(cfg Config) (*Service, error) {
	if cfg.TrustDomain.IsZero() || cfg.Authority == nil || cfg.Authn == nil || cfg.Directory == nil {
		return nil, errors.New("make certificate service: trust domain, authority, authenticator and directory are required")
	}
	var err error
	if cfg.Policy, err = cfg.Policy.complete(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Ledger == nil {
		cfg.Ledger = ledger.New(0, cfg.Now)
	}
	m, err := newMetrics(cfg.Registry, cfg.Ledger)
	if err != nil {
		return nil, err
	}
	return &Service{cfg: cfg, metrics: m, gate: newGate(), desk: newDesk()}, nil
}

// Register makes a gRPC server answer for fairlead.ca.v1.CertificateAuthority and istio.v1.auth.IstioCertificateService.
func (s *Service) Register(r grpc.ServiceRegistrar) {
	r = reception{r, s}
	cav1.RegisterCertificateAuthorityServer(r, authorityService{s: s})
	istio.RegisterIstioCertificateServiceServer(r, istioService{s: s})
}

// Ledger is what was signed here and is still valid.
func (s *Service) Ledger() *ledger.Ledger { return s.cfg.Ledger }

func (p Policy) complete() (Policy, error) {
	d := DefaultPolicy()
	for _, f := range []struct{ have, otherwise *time.Duration }{
		{&p.TTL, &d.TTL},
		{&p.MinTTL, &d.MinTTL},
		{&p.MaxTTL, &d.MaxTTL},
		{&p.JWTTTL, &d.JWTTTL},
		{&p.MaxJWTTTL, &d.MaxJWTTTL},
	} {
		if *f.have == 0 {
			*f.have = *f.otherwise
		}
	}
	if p.MinTTL < time.Second || p.MinTTL > p.TTL || p.TTL > p.MaxTTL {
		return p, errors.New("make certificate service: the shortest TTL must be a second or more, the default not below it, and the longest not below the default")
	}
	if p.JWTTTL < time.Second || p.JWTTTL > p.MaxJWTTTL {
		return p, errors.New("make certificate service: the TTL of tokens must be a second or more, and not above their longest")
	}
	return p, nil
}

// bound gives the TTL for what was asked: the default for nothing.
func bound(asked, otherwise, least, most time.Duration) time.Duration {
	if asked == 0 {
		return otherwise
	}
	return min(max(asked, least), most)
}
