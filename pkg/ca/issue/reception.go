package issue

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/ca"
)

// reception registers services so that a caller is proved, and has a place among the calls of that caller, before the message
// is read: one that sends many large ones holds the memory of maxWorking of them.
type reception struct {
	grpc.ServiceRegistrar
	s *Service
}

// recordName is how the audit names a method.
func recordName(method string) string {
	switch method {
	case "SignX509":
		return "x509"
	case "SignJWT":
		return "jwt"
	case "CreateCertificate":
		return "istio"
	}
	return method
}

// RegisterService implements grpc.ServiceRegistrar.
func (r reception) RegisterService(desc *grpc.ServiceDesc, impl any) {
	out := *desc
	out.Methods = slices.Clone(desc.Methods)
	for i, m := range desc.Methods {
		out.Methods[i].Handler = func(srv any, ctx context.Context, read func(any) error, next grpc.UnaryServerInterceptor) (any, error) {
			v := &visit{record: newRecord(ctx, recordName(m.MethodName))}
			leave, f := r.s.receive(ctx, v)
			if f != nil {
				r.s.refuse(ctx, v.record, f)
				return nil, f.status()
			}
			defer leave()
			return m.Handler(srv, context.WithValue(ctx, visitKey{}, v), func(message any) error {
				if err := read(message); err != nil {
					return err
				}
				if n := proto.Size(message.(proto.Message)); n > MaxMessage {
					f := busy(errOversized)
					f.reason, f.message = BatchTooLarge, "the message is larger than 2 MiB"
					r.s.refuse(ctx, v.record, f)
					return f.status()
				}
				return nil
			}, next)
		}
	}
	r.ServiceRegistrar.RegisterService(&out, impl)
}

// visit is a call whose caller has been proved.
type visit struct {
	caller *ca.Caller
	record *record
}

type visitKey struct{}

func visitOf(ctx context.Context) *visit { return ctx.Value(visitKey{}).(*visit) }

// receive proves who calls and takes a place among the calls of that caller; leave gives it back.
func (s *Service) receive(ctx context.Context, v *visit) (leave func(), f *refusal) {
	c, err := s.cfg.Authn.Authenticate(ctx)
	if err != nil {
		return nil, unauthenticated(err)
	}
	v.record.caller = c
	id, ok := ca.Own(s.cfg.TrustDomain, s.cfg.Aliases, c.ID)
	if !ok {
		return nil, denied(TrustDomain, "%s is neither of %s nor of an alias", c.ID, s.cfg.TrustDomain)
	}
	if id != c.ID {
		mapped := *c
		mapped.ID = id
		c = &mapped
	}
	v.caller = c
	leave, err = s.gate.enter(ctx, callerKey(c))
	if err != nil {
		return nil, busy(err)
	}
	return leave, nil
}
