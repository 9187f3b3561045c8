package issue

import (
	"context"
	"encoding/pem"
	"math"
	"strings"
	"time"

	istio "istio.io/api/security/v1alpha1"

	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/csr"
)

// istioService answers Istio's agents as istiod does: the chain has one PEM certificate an element, and all roots in the last.
type istioService struct {
	istio.UnimplementedIstioCertificateServiceServer
	s *Service
}

// impersonatedIdentity is the key of the request's metadata by which ztunnel names the identity that it wants.
const impersonatedIdentity = "ImpersonatedIdentity"

// CreateCertificate implements istio.v1.auth.IstioCertificateService.
func (i istioService) CreateCertificate(ctx context.Context, request *istio.IstioCertificateRequest) (*istio.IstioCertificateResponse, error) {
	s, v := i.s, visitOf(ctx)
	svid, f := i.create(ctx, request, v)
	if f != nil {
		s.refuse(ctx, v.record, f)
		return nil, f.status()
	}
	return &istio.IstioCertificateResponse{CertChain: chain(svid.Raw, s.cfg.Authority.State())}, nil
}

func (i istioService) create(ctx context.Context, request *istio.IstioCertificateRequest, v *visit) (svid authority.DER, f *refusal) {
	s, r := i.s, v.record
	began := time.Now()
	g := s.grants(v.caller)
	to := g.self()
	if field, ok := request.GetMetadata().GetFields()[impersonatedIdentity]; ok {
		r.asked = cut(field.GetStringValue())
		if to, f = g.impersonated(field.GetStringValue()); f != nil {
			return svid, f
		}
	}
	r.identity = to.id.String()
	seconds := request.GetValidityDuration()
	if seconds < 0 {
		return svid, invalid(TTL, "a TTL of %d s is asked", seconds)
	}
	ttl := time.Duration(min(seconds, math.MaxInt32)) * time.Second
	if err := s.desk.work(ctx, 1, func(int) {
		parsed, err := csr.ParsePEM([]byte(request.GetCsr()))
		if err != nil {
			f = badCSR(err)
			return
		}
		svid, f = s.sign(ctx, to, parsed, nil, ttl, began, r)
	}); err != nil {
		return svid, busy(err)
	}
	return svid, f
}

// chain is a certificate with its intermediates, then in one element every root that is trusted: a client takes the last
// element for its roots, and during a rotation there are two.
func chain(raw [][]byte, state authority.State) []string {
	out := make([]string, 0, len(raw)+1)
	for _, der := range raw {
		out = append(out, encode(der))
	}
	var roots strings.Builder
	for _, root := range state.Roots() {
		roots.WriteString(encode(root.Raw))
	}
	return append(out, roots.String())
}

func encode(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
