package authn

import (
	"context"
	"crypto/x509"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"fairlead.io/fairlead/pkg/ca"
)

// certificate says who holds the certificate of the connection. TLS has verified the chain once, against everything it
// trusts; here it must end in a root of ours, and be valid now: connections live longer than certificates.
func (a *Authn) certificate(ctx context.Context, chain []*x509.Certificate) (*ca.Caller, *Refusal) {
	leaf := chain[0]
	id, err := x509svid.IDFromCert(leaf)
	if err != nil {
		return nil, refuse(CertificateProfile, "%v", err)
	}
	c, r := a.holder(ctx, id, chain)
	if r != nil {
		r.Claim = id.String()
	}
	return c, r
}

func (a *Authn) holder(ctx context.Context, id spiffeid.ID, chain []*x509.Certificate) (*ca.Caller, *Refusal) {
	leaf, now := chain[0], a.cfg.Now()
	mapped, ok := ca.Own(a.cfg.TrustDomain, a.cfg.Aliases, id)
	if !ok {
		return nil, refuse(CertificateDomain, "%s is neither of %s nor of an alias", id, a.cfg.TrustDomain)
	}
	if now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		return nil, refuse(CertificateExpired, "valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
	if leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0 {
		return nil, refuse(CertificateProfile, "it is the certificate of an authority")
	}
	roots := a.cfg.Roots(id.TrustDomain())
	known, err := a.certificates.verify(chain, roots, now)
	if err != nil {
		return nil, refuse(CertificateUntrusted, "%v", err)
	}
	c := &ca.Caller{Kind: ca.Workload, Method: ca.MTLS, ID: mapped, Expires: leaf.NotAfter, Certificate: leaf}
	if mapped == a.cfg.Server {
		c.Kind = ca.Replica
		return c, nil
	}
	if n, ok := ca.ParseNodeID(mapped); ok {
		c.Kind, c.Node = ca.Node, n
		if r := a.nodeLives(n); r != nil {
			return nil, r
		}
		return c, nil
	}
	namespace, account, ok := ca.ParseWorkloadID(mapped)
	if !ok {
		return nil, refuse(CertificatePath, "%s is neither a workload nor a node", id)
	}
	fresh := !known.seen.Load() && now.Sub(leaf.NotBefore) < certificateNew
	return a.await(ctx, fresh, func() (*ca.Caller, *Refusal, bool) {
		if !a.cfg.Directory.Runs(namespace, account) {
			return nil, refuse(IdentityNotRunning, "no pod of ServiceAccount %s/%s runs", namespace, account), true
		}
		known.seen.Store(true)
		return c, nil, false
	})
}

// certificateNew is the age of a certificate whose pod can be too new to be known here: one begins a minute before it is
// signed (authority.DefaultBackdate).
const certificateNew = podNew + time.Minute

// nodeLives refuses a node that is gone, or that was made anew under its old name.
func (a *Authn) nodeLives(n ca.NodeRef) *Refusal {
	uid, ok := a.cfg.Directory.Node(n.Name)
	if !ok {
		return refuse(NodeUnknown, "node %s is not known", n.Name)
	}
	if uid != n.UID {
		return refuse(NodeUID, "node %s has UID %s, not %s", n.Name, uid, n.UID)
	}
	return nil
}
