package main

import (
	"context"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"

	cav1 "fairlead.io/fairlead/api/ca/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/issue"
)

type always struct{ caller ca.Caller }

func (a always) Authenticate(context.Context) (*ca.Caller, error) { return &a.caller, nil }

// BenchmarkSignX509 is a decision with its signature, without transport and token.
func BenchmarkSignX509(b *testing.B) {
	td := spiffeid.RequireTrustDomainFromString(csrTrustDomain)
	service, err := issue.New(issue.Config{
		TrustDomain: td, Authority: signingAuthority(b, td), Directory: nothing{},
		Authn: always{ca.Caller{
			Kind: ca.Workload, Method: ca.TokenReview, ID: spiffeid.RequireFromPath(td, "/ns/bench-0/sa/web"),
			Pod: &ca.PodRef{Namespace: "bench-0", Name: "web-1", UID: "u", ServiceAccount: "web"}, Expires: time.Now().Add(time.Hour),
		}},
	})
	if err != nil {
		b.Fatal(err)
	}
	csr, err := newCSR()
	if err != nil {
		b.Fatal(err)
	}
	sign := &method{name: "SignX509"}
	service.Register(sign)
	b.ReportAllocs()
	for b.Loop() {
		res, err := sign.call(sign.on, b.Context(), func(m any) error {
			m.(*cav1.SignX509Request).Certificates = []*cav1.X509Request{{Csr: csr.der}}
			return nil
		}, nil)
		if err != nil || res.(*cav1.SignX509Response).Results[0].GetSvid() == nil {
			b.Fatal(err, res)
		}
	}
}

// method is one method of what is registered, without a server.
type method struct {
	name string
	call grpc.MethodHandler
	on   any
}

// RegisterService implements grpc.ServiceRegistrar.
func (m *method) RegisterService(desc *grpc.ServiceDesc, impl any) {
	for _, d := range desc.Methods {
		if d.MethodName == m.name {
			m.call, m.on = d.Handler, impl
		}
	}
}

// nothing is a cluster without anything.
type nothing struct{ ca.Directory }

var _ issue.Authority = (*authority.Authority)(nil)
