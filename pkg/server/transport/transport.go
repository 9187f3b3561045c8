package transport

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
)

// Transport is the TLS port. It is safe for concurrent use.
type Transport struct {
	cfg      Config
	metrics  *metrics
	identity *identity
	sessions sessions
	turns    *turns
}

// New makes a Transport; it has no certificate before Run.
func New(cfg Config) (*Transport, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	t := &Transport{cfg: cfg, metrics: newMetrics(cfg.Registry), turns: newTurns(), sessions: sessions{open: map[*session]struct{}{}, of: map[string]int{}}}
	t.identity = &identity{cfg: &t.cfg}
	return t, nil
}

// Run keeps the certificate fresh until ctx ends, and reviews the streams when moved is told that nodes or pods have gone,
// and when another state of the authority is there.
func (t *Transport) Run(ctx context.Context, moved <-chan struct{}) {
	done := make(chan struct{})
	go func() { defer close(done); t.identity.run(ctx) }()
	defer func() { <-done }()
	for {
		changed := t.cfg.Authority.Changed()
		select {
		case <-ctx.Done():
			return
		case <-changed:
			t.review()
		case <-moved:
			t.review()
		}
	}
}

// ServerOptions are those of the port's gRPC server, beside those of what it serves.
func (t *Transport) ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.Creds(t.credentials()), grpc.ConnectionTimeout(t.cfg.Handshake), grpc.MaxHeaderListSize(64 << 10), grpc.MaxConcurrentStreams(200),
		// What comes is small, and there are thousands who mostly are silent: they would hold 32 kB each.
		grpc.ReadBufferSize(4 << 10),
		grpc.ChainStreamInterceptor(t.intercept), grpc.ChainUnaryInterceptor(unguarded),
	}
}

// Listener is the port's listener with its gate.
func (t *Transport) Listener(l net.Listener) net.Listener { return newGate(l, &t.cfg, t.metrics) }

// Services registers unary services so that a call is known to be allowed before its message is read: their methods become
// streams of one message each, which on the wire are the same.
func (t *Transport) Services(r grpc.ServiceRegistrar) grpc.ServiceRegistrar { return streaming{r} }

// unguarded refuses the calls of a service that was registered past Services.
func unguarded(_ context.Context, _ any, info *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
	return nil, status.Error(codes.PermissionDenied, info.FullMethod+" is not served here")
}

type streaming struct{ grpc.ServiceRegistrar }

// RegisterService implements grpc.ServiceRegistrar.
func (s streaming) RegisterService(desc *grpc.ServiceDesc, impl any) {
	out := *desc
	out.Methods, out.Streams = nil, append([]grpc.StreamDesc{}, desc.Streams...)
	for _, m := range desc.Methods {
		// ServerStreams: grpc asks no interceptor about a stream that streams in neither direction.
		out.Streams = append(out.Streams, grpc.StreamDesc{StreamName: m.MethodName, ServerStreams: true, Handler: func(srv any, ss grpc.ServerStream) error {
			read := ss.RecvMsg
			if p, _ := ss.Context().Value(proofKey{}).(proof); p.err != nil {
				read = func(any) error { return nil } // nothing of a caller who is nobody is read
			}
			answer, err := m.Handler(srv, ss.Context(), read, nil)
			if err != nil {
				return err
			}
			return ss.SendMsg(answer)
		}})
	}
	s.ServiceRegistrar.RegisterService(&out, impl)
}

// Local is the interceptor of a plaintext port: its callers are whoever may open it.
func Local(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(srv, &stream{ss, authn.With(ss.Context(), &ca.Caller{Method: ca.Local})})
}

// Credentials are for calls to other replicas: with our certificate, and to nobody but a holder of the same identity.
func (t *Transport) Credentials() credentials.TransportCredentials {
	c := tlsconfig.MTLSClientConfig(t, t, tlsconfig.AuthorizeID(t.cfg.Server))
	c.MinVersion = tls.VersionTLS13
	return credentials.NewTLS(c)
}

// GetCertificate is one of a tls.Config: the certificate that the port serves.
func (t *Transport) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s := t.identity.current.Load()
	if s == nil {
		return nil, errNoAuthority
	}
	return &s.cert, nil
}

// GetX509SVID implements x509svid.Source.
func (t *Transport) GetX509SVID() (*x509svid.SVID, error) {
	s := t.identity.current.Load()
	if s == nil {
		return nil, errNoAuthority
	}
	var chain []*x509.Certificate
	for _, der := range s.cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	return &x509svid.SVID{ID: t.cfg.Server, Certificates: chain, PrivateKey: s.cert.PrivateKey.(crypto.Signer)}, nil
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (t *Transport) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	if td != t.cfg.TrustDomain {
		return nil, errNoAuthority
	}
	return x509bundle.FromX509Authorities(td, t.cfg.Authority.State().Roots()), nil
}
