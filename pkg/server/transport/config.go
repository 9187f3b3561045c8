package transport

import (
	"crypto/x509"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/ca/authority"
)

// Authority signs the certificate that is served, and says what verifies others' (*authority.Authority).
type Authority interface {
	SignX509(authority.X509Template) (authority.X509, error)
	State() authority.State
	Changed() <-chan struct{}
}

// Config is what a Transport needs. TrustDomain, Server, Authority, Authn and Directory are required.
type Config struct {
	TrustDomain spiffeid.TrustDomain
	// Aliases are further names of the trust domain, whose certificates are of the same roots.
	Aliases []spiffeid.TrustDomain
	// Server is the identity of the control plane; DNS are names beside it in the certificate that is served.
	Server    spiffeid.ID
	DNS       []string
	Authority Authority
	Authn     authn.Authenticator
	Directory ca.Directory
	// TTL is that of the certificate that is served. Default 24 h.
	TTL time.Duration
	// Ready tells why nobody but replicas is served yet; nil is always ready.
	Ready func() error
	// Handshake is how long a connection may take until its holder is known. Default 10 s.
	Handshake time.Duration
	// Strangers is how many connections may be there whose holders are not known yet: beyond it the oldest of them is
	// closed. Default 2048.
	Strangers int
	// Streams bounds the streams of one node, Calls those of one other identity. Defaults 16 and 1000.
	Streams, Calls int

	Log      *slog.Logger
	Registry prometheus.Registerer
	Now      func() time.Time
}

func (c *Config) complete() error {
	if c.TrustDomain.IsZero() || c.Server.IsZero() || c.Authority == nil || c.Authn == nil || c.Directory == nil {
		return errors.New("make transport: trust domain, server, authority, authenticator and directory are required")
	}
	if !c.Server.MemberOf(c.TrustDomain) {
		return errors.New("make transport: the server's identity is of another trust domain")
	}
	setDefault(&c.TTL, 24*time.Hour)
	setDefault(&c.Handshake, 10*time.Second)
	setDefault(&c.Strangers, 2048)
	setDefault(&c.Streams, 16)
	setDefault(&c.Calls, 1000)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Ready == nil {
		c.Ready = func() error { return nil }
	}
	return nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// pool is what verifies certificates of the trust domain and its aliases: never what is federated.
func pool(s authority.State) *x509.CertPool {
	p := x509.NewCertPool()
	for _, r := range s.Roots() {
		p.AddCert(r)
	}
	return p
}
