package main

import (
	"context"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

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
	b.ReportAllocs()
	for b.Loop() {
		res, err := service.SignX509(b.Context(), &cav1.SignX509Request{Certificates: []*cav1.X509Request{{Csr: csr.der}}})
		if err != nil || res.Results[0].GetSvid() == nil {
			b.Fatal(err, res)
		}
	}
}

// nothing is a cluster without anything.
type nothing struct{ ca.Directory }

var _ issue.Authority = (*authority.Authority)(nil)
