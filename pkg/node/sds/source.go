package sds

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/anypb"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/snapshot"
)

const secretType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

// What secrets are made from, to ask how far Envoy is with them.
var (
	bundlesOrigin = model.Ref{Kind: "TrustBundle"}
	svidsOrigin   = model.Ref{Kind: "SVID"}
)

// publisher makes secrets of what the Keeper has. Only Run's goroutine touches it.
type publisher struct {
	source  *snapshot.Static
	begun   bool
	svids   map[string]*node.SVID // by name of the secret: what is published
	bundles *node.Bundles
	names   map[string]struct{} // of validation contexts
}

func newPublisher(s *snapshot.Static) *publisher {
	return &publisher{source: s, svids: map[string]*node.SVID{}, names: map[string]struct{}{}}
}

// Run publishes what the Keeper has, whenever it is another, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	defer s.waits.Wait()
	p := newPublisher(s.source)
	for {
		state, changed := s.cfg.Keeper.State()
		refs, err := p.publish(&state)
		if err != nil {
			return fmt.Errorf("serve SDS: %w", err)
		}
		s.setPublished(state.Bundles)
		for _, ref := range refs {
			s.time(ctx, ref)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// time measures how long the Envoys that are connected take for what was published now.
func (s *Server) time(ctx context.Context, ref model.Ref) {
	if !s.timing.TryAcquire(1) {
		return // the former one is not acknowledged yet, and says how long it takes
	}
	began := time.Now()
	s.waits.Go(func() {
		defer s.timing.Release(1)
		ctx, cancel := context.WithTimeout(ctx, timingEnds)
		defer cancel()
		if clients, err := s.acknowledged(ctx, ref); err == nil && clients > 0 {
			s.acked.Observe(time.Since(began).Seconds())
		}
	})
}

// publish brings the source to a state in one step, and gives what has got another content. A pod that has gone takes its
// secrets along; Envoy is told, and keeps nothing of it.
func (p *publisher) publish(state *keeper.State) ([]model.Ref, error) {
	var put []*snapshot.Resource
	var del []snapshot.Key
	var refs []model.Ref
	now := make(map[string]*node.SVID, 2*len(state.SVIDs)+1)
	if state.Node != nil {
		now[NodeName] = state.Node
	}
	for id, svid := range state.SVIDs {
		now[id.String()], now[ListenerPrefix+id.String()] = svid, svid
	}
	for name, svid := range now {
		if p.svids[name] == svid {
			continue
		}
		m, err := certificate(name, svid)
		if err != nil {
			return nil, err
		}
		r, err := snapshot.Encode(name, m, 0, svidsOrigin)
		if err != nil {
			return nil, err
		}
		put = append(put, r)
	}
	for name := range p.svids {
		if _, ok := now[name]; !ok {
			del = append(del, snapshot.Key{Type: secretType, Name: name})
		}
	}
	if len(put) > 0 {
		refs = append(refs, svidsOrigin)
	}
	p.svids = now
	if state.Bundles != nil && state.Bundles != p.bundles {
		more, gone, err := p.contexts(state.Bundles)
		if err != nil {
			return nil, err
		}
		put, del, refs = append(put, more...), append(del, gone...), append(refs, bundlesOrigin)
		p.bundles = state.Bundles
	}
	if len(put)+len(del) > 0 || !p.begun {
		// All is at position 0: what an Envoy brings from a former agent is neither newer nor older than what is here.
		p.source.Update(0, put, del...)
		p.begun = true
	}
	return refs, nil
}

// contexts makes the validation contexts of bundles.
func (p *publisher) contexts(b *node.Bundles) (put []*snapshot.Resource, gone []snapshot.Key, err error) {
	domains := make([]spiffeid.TrustDomain, 0, len(b.X509))
	for td := range b.X509 {
		domains = append(domains, td)
	}
	slices.SortFunc(domains, func(a, b spiffeid.TrustDomain) int { return strings.Compare(a.Name(), b.Name()) })
	spiffe := &tls.SPIFFECertValidatorConfig{}
	names := map[string]struct{}{BundlesName: {}}
	add := func(name string, ctx *tls.CertificateValidationContext) error {
		r, err := snapshot.Encode(name, &tls.Secret{Name: name, Type: &tls.Secret_ValidationContext{ValidationContext: ctx}}, 0, bundlesOrigin)
		put = append(put, r)
		return err
	}
	for _, td := range domains {
		if len(b.X509[td]) == 0 {
			continue // Envoy takes no trust domain without roots: nothing verifies there
		}
		roots := inline(certificates(b.X509[td]))
		spiffe.TrustDomains = append(spiffe.TrustDomains, &tls.SPIFFECertValidatorConfig_TrustDomain{Name: td.Name(), TrustBundle: roots})
		name := BundlePrefix + td.Name()
		names[name] = struct{}{}
		if err := add(name, &tls.CertificateValidationContext{TrustedCa: roots}); err != nil {
			return nil, nil, err
		}
	}
	validator, err := anypb.New(spiffe)
	if err != nil {
		return nil, nil, fmt.Errorf("encode the SPIFFE validator: %w", err)
	}
	err = add(BundlesName, &tls.CertificateValidationContext{
		CustomValidatorConfig: &core.TypedExtensionConfig{Name: "envoy.tls.cert_validator.spiffe", TypedConfig: validator},
	})
	if err != nil {
		return nil, nil, err
	}
	for name := range p.names {
		if _, ok := names[name]; !ok {
			gone = append(gone, snapshot.Key{Type: secretType, Name: name})
		}
	}
	p.names = names
	return put, gone, nil
}

// certificate makes the secret of an SVID (TlsCertificate, common.proto).
func certificate(name string, svid *node.SVID) (*tls.Secret, error) {
	der, err := x509.MarshalPKCS8PrivateKey(svid.Key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of %s: %w", svid.ID, err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return &tls.Secret{Name: name, Type: &tls.Secret_TlsCertificate{TlsCertificate: &tls.TlsCertificate{
		CertificateChain: inline(certificates(svid.Chain)), PrivateKey: inline(key),
	}}}, nil
}

func certificates(list []*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range list {
		b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return b.Bytes()
}

func inline(b []byte) *core.DataSource {
	return &core.DataSource{Specifier: &core.DataSource_InlineBytes{InlineBytes: b}}
}
