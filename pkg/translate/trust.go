package translate

import (
	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// TrustBundleType is the type URL of what the agents of nodes verify with.
const TrustBundleType = "type.googleapis.com/fairlead.node.v1.TrustBundle"

// declareTrust publishes the bundle of every trust domain, for everybody.
func (o *Outputs) declareTrust() {
	t := o.res.Trust.Bundles
	o.declare(TrustBundleType, "xds trust bundles", func(r *table.Reader, name string) (*snapshot.Resource, bool) {
		b, ok := table.Get(r, t, name)
		if !ok {
			return nil, false
		}
		return encode(r, name, TrustBundle(b), []model.Ref{b.Ref})
	}, []table.Trigger{t})
}

// TrustBundle is what an agent verifies with.
func TrustBundle(b *model.TrustBundle) *nodev1.TrustBundle {
	out := &nodev1.TrustBundle{
		TrustDomain: b.Name, X509Authorities: b.X509, Sequence: b.Sequence, Signing: b.Signing, Local: b.Local,
	}
	for _, j := range b.JWT {
		out.JwtAuthorities = append(out.JwtAuthorities, &nodev1.JWTAuthority{KeyId: j.KeyID, PublicKey: j.PublicKey})
	}
	return out
}
