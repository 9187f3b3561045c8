package issue

import (
	"context"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/csr"
	"fairlead.io/fairlead/pkg/ca/ledger"
)

// authorityService answers fairlead.ca.v1.CertificateAuthority.
type authorityService struct {
	cav1.UnimplementedCertificateAuthorityServer
	s *Service
}

// SignX509 implements fairlead.ca.v1.CertificateAuthority.
func (a authorityService) SignX509(ctx context.Context, request *cav1.SignX509Request) (*cav1.SignX509Response, error) {
	s, v := a.s, visitOf(ctx)
	n := len(request.GetCertificates())
	if n == 0 || n > MaxBatch {
		f := invalid(BatchTooLarge, "%d certificates are asked; 1 to %d may be", n, MaxBatch)
		f.message = fmt.Sprintf("a call may ask for 1 to %d certificates", MaxBatch)
		s.refuse(ctx, v.record, f)
		return nil, f.status()
	}
	g := s.grants(v.caller)
	pieces := make([]piece, n)
	for i, one := range request.GetCertificates() {
		if err := ctx.Err(); err != nil {
			return nil, err // nobody waits for the rest
		}
		p := &pieces[i]
		p.began, p.record, p.want = time.Now(), *v.record, one
		p.to, p.refusal = g.subject(ctx, one.GetSubject(), &p.record)
	}
	if err := s.desk.work(ctx, n, func(i int) { s.one(ctx, &pieces[i]) }); err != nil {
		return nil, err
	}
	response := &cav1.SignX509Response{Results: make([]*cav1.X509Result, n)}
	for i := range pieces {
		p := &pieces[i]
		if f := p.refusal; f != nil {
			s.refuse(ctx, &p.record, f)
			if f.reason == NoAuthority {
				return nil, f.status()
			}
			response.Results[i] = &cav1.X509Result{Outcome: &cav1.X509Result_Error{Error: &cav1.Error{Code: int32(f.code), Message: f.message}}} //nolint:gosec // 0 to 16
			continue
		}
		response.Results[i] = &cav1.X509Result{Outcome: &cav1.X509Result_Svid{Svid: &cav1.X509SVID{
			SpiffeId: p.record.identity, Chain: p.svid.Raw, NotAfter: timestamppb.New(p.svid.NotAfter), Authority: p.svid.Authority,
		}}}
	}
	return response, nil
}

// piece is one certificate of a batch: what is asked, and what became of it.
type piece struct {
	want    *cav1.X509Request
	to      grant
	record  record
	began   time.Time
	svid    authority.DER
	refusal *refusal
}

// one decides about one certificate of a batch whose subject has been decided about, and has it signed.
func (s *Service) one(ctx context.Context, p *piece) {
	if p.refusal != nil {
		return
	}
	p.record.identity = p.to.id.String()
	ttl, f := askedTTL(p.want.GetTtl())
	if f == nil {
		f = s.dnsNames(p.to, p.want.GetDnsNames())
	}
	if f != nil {
		p.refusal = f
		return
	}
	request, err := csr.ParseDER(p.want.GetCsr())
	if err != nil {
		p.refusal = badCSR(err)
		return
	}
	p.svid, p.refusal = s.sign(ctx, p.to, request, p.want.GetDnsNames(), ttl, p.began, &p.record)
}

// sign has a certificate signed that was granted.
func (s *Service) sign(ctx context.Context, to grant, request *csr.Request, dnsNames []string, ttl time.Duration, began time.Time, r *record) (authority.DER, *refusal) {
	if err := request.Check(to.id, dnsNames); err != nil {
		return authority.DER{}, badCSR(err)
	}
	svid, err := s.cfg.Authority.SignDER(authority.X509Template{
		ID: to.id, PublicKey: request.PublicKey, DNSNames: dnsNames,
		TTL: bound(ttl, s.cfg.Policy.TTL, s.cfg.Policy.MinTTL, s.cfg.Policy.MaxTTL),
	})
	if err != nil {
		return authority.DER{}, unsigned(err)
	}
	r.serial, r.notAfter, r.authority = svid.Serial, svid.NotAfter, svid.Authority
	s.note(to, svid, r)
	s.metrics.latency.WithLabelValues(to.kind).Observe(time.Since(began).Seconds())
	s.allow(ctx, r)
	return svid, nil
}

func (s *Service) note(to grant, svid authority.DER, r *record) {
	e := ledger.Entry{
		Identity: r.identity, Node: to.node, Serial: r.serial,
		NotBefore: svid.NotBefore, NotAfter: svid.NotAfter, Authority: r.authority,
	}
	if to.pod != nil {
		e.Pod = to.pod.Namespace + "/" + to.pod.Name
	}
	s.cfg.Ledger.Add(e)
}

// dnsNames refuses names that are not of a Service which selects the pod.
func (s *Service) dnsNames(to grant, asked []string) *refusal {
	if len(asked) == 0 {
		return nil
	}
	if to.pod == nil {
		return denied(DNSNames, "DNS names are asked where no pod is known that could have them")
	}
	allowed := s.cfg.Directory.DNSNames(to.pod.Namespace, to.pod.Name)
	for i, n := range asked {
		if !slices.Contains(allowed, n) || slices.Contains(asked[:i], n) {
			return denied(DNSNames, "DNS name %.300q is not of a Service that selects pod %s/%s, or is asked twice", n, to.pod.Namespace, to.pod.Name)
		}
	}
	return nil
}

// askedTTL reads a TTL; 0 for none.
func askedTTL(d *durationpb.Duration) (time.Duration, *refusal) {
	if d == nil {
		return 0, nil
	}
	if d.CheckValid() != nil || d.AsDuration() < 0 {
		return 0, invalid(TTL, "a TTL of %d s is asked", d.GetSeconds())
	}
	return d.AsDuration(), nil
}

const maxAudiences, maxAudience = 16, 256

// SignJWT implements fairlead.ca.v1.CertificateAuthority.
func (a authorityService) SignJWT(ctx context.Context, request *cav1.SignJWTRequest) (*cav1.SignJWTResponse, error) {
	s, v := a.s, visitOf(ctx)
	response, f := s.signJWT(ctx, request, v)
	if f != nil {
		s.refuse(ctx, v.record, f)
		return nil, f.status()
	}
	s.allow(ctx, v.record)
	return response, nil
}

func (s *Service) signJWT(ctx context.Context, request *cav1.SignJWTRequest, v *visit) (*cav1.SignJWTResponse, *refusal) {
	began, r := time.Now(), v.record
	to, f := s.grants(v.caller).subject(ctx, request.GetSubject(), r)
	if f != nil {
		return nil, f
	}
	r.identity = to.id.String()
	ttl, f := askedTTL(request.GetTtl())
	if f != nil {
		return nil, f
	}
	audience := request.GetAudience()
	if n := len(audience); n == 0 || n > maxAudiences {
		return nil, invalid(Audience, "%d audiences are asked; 1 to %d may be", n, maxAudiences)
	}
	for _, a := range audience {
		if a == "" || len(a) > maxAudience {
			return nil, invalid(Audience, "an audience of %d bytes is asked; 1 to %d may be", len(a), maxAudience)
		}
	}
	r.audience = fmt.Sprintf("%q", audience)
	p := s.cfg.Policy
	var token string
	var expires time.Time
	var err error
	if unserved := s.desk.work(ctx, 1, func(int) {
		token, expires, err = s.cfg.Authority.SignJWT(authority.JWTTemplate{ID: to.id, Audience: audience, TTL: bound(ttl, p.JWTTTL, time.Second, p.MaxJWTTTL)})
	}); unserved != nil {
		return nil, busy(unserved)
	}
	if err != nil {
		return nil, unsigned(err)
	}
	r.notAfter = expires
	s.metrics.latency.WithLabelValues("jwt").Observe(time.Since(began).Seconds())
	return &cav1.SignJWTResponse{SpiffeId: r.identity, Token: token, Expires: timestamppb.New(expires)}, nil
}
