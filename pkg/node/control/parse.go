package control

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/keeper"
)

// parsePod takes a Workload to the pod that it is. A workload without an identity gives false.
func parsePod(name, here string, w *nodev1.Workload) (keeper.Pod, bool, error) {
	switch {
	case w.GetUid() == "" || w.GetUid() != name:
		return keeper.Pod{}, false, fmt.Errorf("workload %q has the UID %q: its name must be its UID", name, w.GetUid())
	case w.GetNode() != here:
		return keeper.Pod{}, false, fmt.Errorf("workload %s/%s runs on node %q, and this is %q", w.GetNamespace(), w.GetName(), w.GetNode(), here)
	case w.GetSpiffeId() == "":
		return keeper.Pod{}, false, nil
	}
	id, err := spiffeid.FromString(w.GetSpiffeId())
	if err != nil {
		return keeper.Pod{}, false, fmt.Errorf("workload %s/%s: identity %q: %w", w.GetNamespace(), w.GetName(), w.GetSpiffeId(), err)
	}
	if ns, sa, ok := ca.ParseWorkloadID(id); !ok || ns != w.GetNamespace() || sa != w.GetServiceAccount() {
		return keeper.Pod{}, false, fmt.Errorf("workload %s/%s: identity %s is not that of ServiceAccount %q", w.GetNamespace(), w.GetName(), id, w.GetServiceAccount())
	}
	ref := ca.PodRef{Namespace: w.GetNamespace(), Name: w.GetName(), UID: w.GetUid(), ServiceAccount: w.GetServiceAccount()}
	return keeper.Pod{PodRef: ref, ID: id}, true, nil
}

// bundle is a TrustBundle that has been read.
type bundle struct {
	td      spiffeid.TrustDomain
	x509    []*x509.Certificate
	jwt     map[string]crypto.PublicKey
	signing string
	local   bool
	seq     uint64
}

func parseBundle(name string, b *nodev1.TrustBundle) (*bundle, error) {
	td, err := spiffeid.TrustDomainFromString(b.GetTrustDomain())
	if err != nil || td.Name() != name {
		return nil, errors.Join(fmt.Errorf("trust bundle %q is of the trust domain %q: its name must be that", name, b.GetTrustDomain()), err)
	}
	out := &bundle{td: td, jwt: map[string]crypto.PublicKey{}, signing: b.GetSigning(), local: b.GetLocal(), seq: b.GetSequence()}
	for i, der := range b.GetX509Authorities() {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("trust bundle %s: root %d: %w", name, i, err)
		}
		out.x509 = append(out.x509, c)
	}
	if len(out.x509) == 0 && out.local {
		return nil, fmt.Errorf("trust bundle %s has no roots: nothing of this mesh could be verified", name)
	}
	for _, j := range b.GetJwtAuthorities() {
		key, err := x509.ParsePKIXPublicKey(j.GetPublicKey())
		if err != nil || j.GetKeyId() == "" {
			return nil, fmt.Errorf("trust bundle %s: JWT key %q: %w", name, j.GetKeyId(), errors.Join(err, errNoKeyID(j.GetKeyId())))
		}
		out.jwt[j.GetKeyId()] = key
	}
	return out, nil
}

func errNoKeyID(id string) error {
	if id == "" {
		return errors.New("it has no ID")
	}
	return nil
}

// join makes one value of all bundles; nil without that of our own trust domain.
func join(own spiffeid.TrustDomain, all map[string]*bundle) *node.Bundles {
	mine := all[own.Name()]
	if mine == nil {
		return nil
	}
	out := &node.Bundles{
		Local: []spiffeid.TrustDomain{own}, Signing: mine.signing,
		X509: map[spiffeid.TrustDomain][]*x509.Certificate{}, JWT: map[spiffeid.TrustDomain]map[string]crypto.PublicKey{},
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		b := all[name]
		if b.local && b.td != own {
			out.Local = append(out.Local, b.td)
		}
		out.X509[b.td], out.JWT[b.td] = b.x509, b.jwt
	}
	return out
}
