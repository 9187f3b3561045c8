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
	source  *source
	begun   bool
	node    *node.SVID
	svids   map[spiffeid.ID]*node.SVID // what is published
	bundles *node.Bundles
	names   map[string]struct{} // of validation contexts
}

func newPublisher(s *source) *publisher {
	return &publisher{source: s, svids: map[spiffeid.ID]*node.SVID{}, names: map[string]struct{}{}}
}

// Run publishes what the Keeper has, whenever it is another, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	defer s.waits.Wait()
	p := newPublisher(s.source)
	for seq := uint64(0); ; {
		c, changed := s.cfg.Keeper.Changes(seq)
		seq = c.Seq
		refs, err := p.publish(&c)
		if err != nil {
			return fmt.Errorf("serve SDS: %w", err)
		}
		s.setPublished(c.Bundles)
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

// publish brings the source to what has changed in one step, and gives what has got another content. A pod that has gone takes its
// secrets along; Envoy is told, and keeps nothing of it.
func (p *publisher) publish(c *keeper.Changes) ([]model.Ref, error) {
	b := &batch{}
	if c.Node != p.node {
		if err := b.svid(c.Node, NodeName); err != nil {
			return nil, err
		}
		p.node = c.Node
	}
	for id, svid := range c.SVIDs {
		if err := p.identity(b, id, svid); err != nil {
			return nil, err
		}
	}
	if c.All {
		for id := range p.svids {
			if _, ok := c.SVIDs[id]; !ok {
				_ = p.identity(b, id, nil)
			}
		}
	}
	var refs []model.Ref
	if len(b.put) > 0 {
		refs = append(refs, svidsOrigin)
	}
	if c.Bundles != nil && c.Bundles != p.bundles {
		more, gone, err := p.contexts(c.Bundles)
		if err != nil {
			return nil, err
		}
		b.put, b.del, refs = append(b.put, more...), append(b.del, gone...), append(refs, bundlesOrigin)
		p.bundles = c.Bundles
	}
	if len(b.put)+len(b.del) > 0 || !p.begun {
		p.source.update(b.put, b.del)
		p.begun = true
	}
	return refs, nil
}

// identity puts the secrets of an identity, or takes them away when svid is nil.
func (p *publisher) identity(b *batch, id spiffeid.ID, svid *node.SVID) error {
	if p.svids[id] == svid {
		return nil
	}
	if svid == nil {
		delete(p.svids, id)
	} else {
		p.svids[id] = svid
	}
	return b.svid(svid, id.String(), ListenerPrefix+id.String())
}

// batch is what becomes another in one step.
type batch struct {
	put []*snapshot.Resource
	del []snapshot.Key
}

// svid puts an SVID under some names; nil takes them away.
func (b *batch) svid(svid *node.SVID, names ...string) error {
	var pair *tls.TlsCertificate
	if svid != nil {
		var err error
		if pair, err = certificate(svid); err != nil {
			return err
		}
	}
	for _, name := range names {
		if pair == nil {
			b.del = append(b.del, snapshot.Key{Type: secretType, Name: name})
			continue
		}
		r, err := snapshot.Encode(name, &tls.Secret{Name: name, Type: &tls.Secret_TlsCertificate{TlsCertificate: pair}}, 0, svidsOrigin)
		if err != nil {
			return err
		}
		b.put = append(b.put, r)
	}
	return nil
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

// certificate makes what Envoy takes an SVID as (TlsCertificate, common.proto).
func certificate(svid *node.SVID) (*tls.TlsCertificate, error) {
	der, err := x509.MarshalPKCS8PrivateKey(svid.Key)
	if err != nil {
		return nil, fmt.Errorf("encode the key of %s: %w", svid.ID, err)
	}
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	return &tls.TlsCertificate{CertificateChain: inline(certificates(svid.Chain)), PrivateKey: inline(key)}, nil
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
