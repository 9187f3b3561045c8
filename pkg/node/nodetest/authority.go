// Package nodetest has the other ends of a node's agent, for tests: an authority, and a control plane that fails when it is told
// to.
//
// It stands outside the line; only tests use it.
package nodetest

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/keeper"
)

// Domain is the trust domain of tests.
var Domain = spiffeid.RequireTrustDomainFromString("cluster.local")

// NodeID is the node's identity in tests.
var NodeID = spiffeid.RequireFromSegments(Domain, "node", "node-a", "n-1")

// ServerID is the control plane's.
var ServerID = spiffeid.RequireFromSegments(Domain, "ns", "fairlead-system", "sa", "fairlead")

// Authority is a certificate authority in memory.
type Authority struct {
	t testing.TB
	*authority.Authority
}

// NewAuthority makes one that signs.
func NewAuthority(t testing.TB) *Authority {
	t.Helper()
	a := &Authority{t, authority.New(authority.Config{TrustDomain: Domain, Store: store.NewMemory()})}
	a.update(func(authority.State) (authority.State, error) {
		return authority.First(a.generate(), time.Now())
	})
	return a
}

func (a *Authority) generate() authority.Generation {
	g, err := authority.Generate(Domain, time.Now())
	if err != nil {
		a.t.Fatal(err)
	}
	return g
}

func (a *Authority) update(fn func(authority.State) (authority.State, error)) {
	a.t.Helper()
	if _, err := a.Update(context.Background(), fn); err != nil {
		a.t.Fatal(err)
	}
}

// Trust has one more authority trusted, and gives its ID.
func (a *Authority) Trust() string {
	g := a.generate()
	a.update(func(s authority.State) (authority.State, error) { return authority.Add(s, g) })
	return g.ID
}

// Sign has that authority sign from now on.
func (a *Authority) Sign(id string) {
	a.update(func(s authority.State) (authority.State, error) {
		s.Signing = id
		return s, nil
	})
}

// Issue signs for a key.
func (a *Authority) Issue(id spiffeid.ID, public crypto.PublicKey, ttl time.Duration) (authority.X509, error) {
	return a.SignX509(authority.X509Template{ID: id, PublicKey: public, TTL: ttl})
}

// Result signs a certificate request as a control plane does.
func (a *Authority) Result(id spiffeid.ID, r keeper.Request) keeper.Result {
	csr, err := x509.ParseCertificateRequest(r.CSR)
	if err != nil {
		return keeper.Result{Err: err}
	}
	x, err := a.Issue(id, csr.PublicKey, r.TTL)
	if err != nil {
		return keeper.Result{Err: err}
	}
	return keeper.Result{ID: id, Chain: x.Chain, Authority: x.Authority}
}

// Subject is whom a request is for.
func Subject(p *ca.PodRef) spiffeid.ID {
	if p == nil {
		return NodeID
	}
	return spiffeid.RequireFromSegments(Domain, "ns", p.Namespace, "sa", p.ServiceAccount)
}

// Pod is a pod of a ServiceAccount.
func Pod(uid, serviceAccount string) keeper.Pod {
	ref := ca.PodRef{Namespace: "shop", Name: "pod-" + uid, UID: uid, ServiceAccount: serviceAccount}
	return keeper.Pod{PodRef: ref, ID: Subject(&ref)}
}

// Bundles are what the authority trusts now.
func (a *Authority) Bundles() *node.Bundles {
	s := a.State()
	return &node.Bundles{
		Local: []spiffeid.TrustDomain{Domain}, Signing: s.Signing, X509: map[spiffeid.TrustDomain][]*x509.Certificate{Domain: s.Roots()},
		JWT: map[spiffeid.TrustDomain]map[string]crypto.PublicKey{Domain: a.Bundle().JWTAuthorities()},
	}
}

// RootsPEM is a file of what the authority trusts now.
func (a *Authority) RootsPEM() []byte {
	var out []byte
	for _, c := range a.State().Roots() {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}

// Resource is the TrustBundle of the authority.
func (a *Authority) Resource() *nodev1.TrustBundle {
	s := a.State()
	b := &nodev1.TrustBundle{TrustDomain: Domain.Name(), Sequence: s.Sequence, Signing: s.Signing, Local: true}
	for _, c := range s.Roots() {
		b.X509Authorities = append(b.X509Authorities, c.Raw)
	}
	for id, key := range a.Bundle().JWTAuthorities() {
		der, err := x509.MarshalPKIXPublicKey(key)
		if err != nil {
			a.t.Fatal(err)
		}
		b.JwtAuthorities = append(b.JwtAuthorities, &nodev1.JWTAuthority{KeyId: id, PublicKey: der})
	}
	return b
}
