// Package idtest has the identities of a node's pods as a test wants them: signed by a real authority, changed when the test says.
package idtest

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
	"fairlead.io/fairlead/pkg/node"
)

// TTL is how long what is signed lives.
const TTL = time.Hour

// Identities implements node.Identities.
type Identities struct {
	t         testing.TB
	td        spiffeid.TrustDomain
	authority *authority.Authority

	mu      sync.Mutex
	pods    map[string]*pod
	bundles *node.Bundles
	trust   chan struct{}
	foreign map[spiffeid.TrustDomain][]*x509.Certificate
	signed  int
	refuse  error
}

type pod struct {
	id      spiffeid.ID
	svid    *node.SVID
	err     error
	changed chan struct{}
}

// New makes identities of a trust domain with one authority.
func New(t testing.TB, td string) *Identities {
	t.Helper()
	i := &Identities{
		t: t, td: spiffeid.RequireTrustDomainFromString(td), pods: map[string]*pod{}, trust: make(chan struct{}),
		foreign: map[spiffeid.TrustDomain][]*x509.Certificate{},
	}
	i.authority = authority.New(authority.Config{TrustDomain: i.td, Store: store.NewMemory()})
	g, err := authority.Generate(i.td, time.Now())
	i.check(err)
	i.update(func(authority.State) (authority.State, error) { return authority.First(g, time.Now()) })
	return i
}

func (i *Identities) check(err error) {
	i.t.Helper()
	if err != nil {
		i.t.Fatal(err)
	}
}

// update makes another state of the authority, and publishes the bundles.
func (i *Identities) update(fn func(authority.State) (authority.State, error)) {
	i.t.Helper()
	s, err := i.authority.Update(context.Background(), fn)
	i.check(err)
	b := &node.Bundles{
		Local: []spiffeid.TrustDomain{i.td}, X509: map[spiffeid.TrustDomain][]*x509.Certificate{i.td: s.Roots()},
		JWT: map[spiffeid.TrustDomain]map[string]crypto.PublicKey{i.td: {}}, Signing: s.Signing,
	}
	for _, k := range s.JWT {
		b.JWT[i.td][k.ID] = k.Key.Public()
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for td, roots := range i.foreign {
		b.X509[td] = roots
	}
	i.bundles = b
	close(i.trust)
	i.trust = make(chan struct{})
}

// Federate trusts another trust domain too.
func (i *Identities) Federate(td string, roots []*x509.Certificate) {
	i.t.Helper()
	i.mu.Lock()
	i.foreign[spiffeid.RequireTrustDomainFromString(td)] = roots
	i.mu.Unlock()
	i.update(func(s authority.State) (authority.State, error) { s.Sequence++; return s, nil })
}

// Distribute makes a new authority that is trusted beside the old one, which signs still. It gives the new root.
func (i *Identities) Distribute() *x509.Certificate {
	i.t.Helper()
	g, err := authority.Generate(i.td, time.Now())
	i.check(err)
	i.update(func(s authority.State) (authority.State, error) { return authority.Add(s, g) })
	return g.Roots[0]
}

// Sign has the newest authority sign, and everybody have a new SVID.
func (i *Identities) Sign() {
	i.t.Helper()
	key, err := authority.GenerateJWTKey(time.Now())
	i.check(err)
	i.update(func(s authority.State) (authority.State, error) {
		s.Signing = s.Generations[len(s.Generations)-1].ID
		s.JWT = append(slices.Clone(s.JWT), key)
		s.Sequence++
		return s, nil
	})
	i.Renew()
}

// Retire trusts only the newest authority.
func (i *Identities) Retire() {
	i.t.Helper()
	i.update(func(s authority.State) (authority.State, error) {
		s.Generations, s.JWT = s.Generations[len(s.Generations)-1:], s.JWT[len(s.JWT)-1:]
		s.Sequence++
		return s, nil
	})
}

// Renew signs new SVIDs for all pods that have one.
func (i *Identities) Renew() {
	i.t.Helper()
	i.mu.Lock()
	uids := make([]string, 0, len(i.pods))
	for uid, p := range i.pods {
		if p.svid != nil {
			uids = append(uids, uid)
		}
	}
	i.mu.Unlock()
	for _, uid := range uids {
		i.Set(uid)
	}
}

// Set signs a new SVID for a pod.
func (i *Identities) Set(uid string) {
	i.t.Helper()
	id := spiffeid.RequireFromPath(i.td, "/ns/test/sa/pod-"+uid)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	i.check(err)
	x, err := i.authority.SignX509(authority.X509Template{ID: id, PublicKey: key.Public(), TTL: TTL})
	i.check(err)
	i.put(uid, &node.SVID{ID: id, Chain: x.Chain, Key: key, Authority: x.Authority}, nil)
}

// Pend has a pod without a SVID yet; Remove has none.
func (i *Identities) Pend(uid string)   { i.put(uid, nil, node.ErrPending) }
func (i *Identities) Remove(uid string) { i.put(uid, nil, node.ErrUnknown) }

func (i *Identities) put(uid string, svid *node.SVID, err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	p := i.pod(uid)
	close(p.changed)
	p.svid, p.err, p.changed = svid, err, make(chan struct{})
	if svid != nil {
		p.id = svid.ID
	}
}

// pod is a pod's entry, made unknown; mu is held.
func (i *Identities) pod(uid string) *pod {
	if i.pods[uid] == nil {
		i.pods[uid] = &pod{err: node.ErrUnknown, changed: make(chan struct{})}
	}
	return i.pods[uid]
}

// X509 implements node.Identities.
func (i *Identities) X509(uid string) (*node.SVID, <-chan struct{}, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	p := i.pod(uid)
	return p.svid, p.changed, p.err
}

// RefuseJWT has the signing of tokens fail.
func (i *Identities) RefuseJWT(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refuse = err
}

// Signed counts the JWT-SVIDs.
func (i *Identities) Signed() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.signed
}

// JWT implements node.Identities.
func (i *Identities) JWT(_ context.Context, uid string, audience []string) (node.JWT, error) {
	i.mu.Lock()
	p, refuse := *i.pod(uid), i.refuse
	i.signed++
	i.mu.Unlock()
	if p.err != nil {
		return node.JWT{}, p.err
	}
	if refuse != nil {
		return node.JWT{}, refuse
	}
	token, expires, err := i.authority.SignJWT(authority.JWTTemplate{ID: p.id, Audience: audience, TTL: TTL})
	return node.JWT{ID: p.id, Token: token, Expires: expires}, err
}

// Bundles implements node.Identities.
func (i *Identities) Bundles() (*node.Bundles, <-chan struct{}, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.bundles, i.trust, nil
}
