package authn

import (
	"crypto/x509"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"fairlead.io/fairlead/pkg/ca"
)

// certificate says who holds the certificate of the connection. TLS has verified the chain once, against everything it
// trusts; here it must end in a root of ours, and be valid now: connections live longer than certificates.
func (a *Authn) certificate(chain []*x509.Certificate) (*ca.Caller, *Refusal) {
	leaf := chain[0]
	id, err := x509svid.IDFromCert(leaf)
	if err != nil {
		return nil, refuse(CertificateProfile, "%v", err)
	}
	c, r := a.holder(id, chain)
	if r != nil {
		r.Claim = id.String()
	}
	return c, r
}

func (a *Authn) holder(id spiffeid.ID, chain []*x509.Certificate) (*ca.Caller, *Refusal) {
	leaf, now := chain[0], a.cfg.Now()
	mapped, ok := a.ours(id)
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
	if err := a.certificates.verify(chain, roots, now); err != nil {
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
	if _, _, ok := ca.ParseWorkloadID(mapped); !ok {
		return nil, refuse(CertificatePath, "%s is neither a workload nor a node", id)
	}
	return c, nil
}

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
