package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"

	"fairlead.io/fairlead/pkg/ca/federation"
)

// Federation is what other trust domains are told, and what is asked of them.
type Federation struct {
	// Relations are the trust domains whose bundles are fetched. Their certificates are nobody's here: they are for workloads.
	Relations []federation.Relation
	// Address serves our bundle and the keys of JWT-SVIDs by HTTPS, host:port; empty is nowhere.
	Address string
	// Certificate is for https_web; nil serves the certificate of the TLS port (https_spiffe). Issuer is the https URL of
	// Address for OIDC discovery; empty is none.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	Issuer      string
}

// wireFederation makes what fetches bundles, and opens the address where ours is served.
func (s *Server) wireFederation(reg prometheus.Registerer) error {
	i := s.identity
	f := i.cfg.Federation
	if f == nil {
		return nil
	}
	if len(f.Relations) > 0 {
		var err error
		i.consumer, err = federation.New(federation.Config{
			Local: append([]spiffeid.TrustDomain{i.td}, i.cfg.Aliases...), Relations: f.Relations,
			Put: s.flow.Resolved.Inputs.SetTrust, Log: s.cfg.Log, Registry: reg,
		})
		if err != nil {
			return err
		}
	}
	if f.Address == "" {
		return nil
	}
	h, err := federation.Handler(i.td, i.authority, f.Issuer)
	if err != nil {
		return err
	}
	certificate := f.Certificate
	if certificate == nil {
		certificate = i.transport.GetCertificate
	}
	i.bundles = federation.NewServer(h, certificate, s.cfg.Log)
	if s.bundleListener, err = net.Listen("tcp", f.Address); err != nil {
		return fmt.Errorf("serve bundle: %w", err)
	}
	return nil
}

// runFederation starts what wireFederation made; it ends with ctx.
func (s *Server) runFederation(ctx context.Context, g *errgroup.Group) {
	i := s.identity
	if i.consumer != nil {
		g.Go(func() error { return wrap("fetch bundles", i.consumer.Run(ctx)) })
	}
	if i.bundles == nil {
		return
	}
	g.Go(func() error { return wrap("serve bundle", federation.Serve(i.bundles, s.bundleListener)) })
	g.Go(func() error {
		<-ctx.Done()
		if err := i.bundles.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("close bundle endpoint: %w", err)
		}
		return nil
	})
}

// Bundles is the address where our bundle is served; empty where it is not.
func (s *Server) Bundles() string { return addressOf(s.bundleListener) }
