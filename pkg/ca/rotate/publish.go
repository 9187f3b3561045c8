package rotate

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strconv"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/model"
)

// Put replaces the bundles of the named trust domains in the tables, all of them in one pass; one that is named and not given
// is no more. (*resolve.Inputs).SetTrust is one.
type Put func(domains []string, bundles []*model.TrustBundle)

// Publish puts what the authority trusts, for its trust domain and the aliases, into the tables: at once what there is, and then
// whatever changes, until ctx ends, which is no error. Whoever wires it waits for Authority.Ready and for the first Put before
// nodes are served, so that no replica shows a node less than another has.
func Publish(ctx context.Context, a Authority, td spiffeid.TrustDomain, aliases []spiffeid.TrustDomain, put Put) error {
	var last uint64
	for ctx.Err() == nil {
		changed := a.Changed()
		if s := a.State(); s.Sequence > last {
			bundles := Bundles(&s, td, aliases)
			domains := make([]string, len(bundles))
			for i, b := range bundles {
				domains[i] = b.Name
			}
			put(domains, bundles)
			last = s.Sequence
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return nil
}

// Bundles are what a state trusts: the same roots for the trust domain and each alias. Public keys only.
func Bundles(s *authority.State, td spiffeid.TrustDomain, aliases []spiffeid.TrustDomain) []*model.TrustBundle {
	var roots [][]byte
	for _, c := range s.Roots() {
		roots = append(roots, c.Raw)
	}
	var keys []model.JWTAuthority
	for _, k := range s.JWT {
		if k.Key == nil {
			continue
		}
		der, err := x509.MarshalPKIXPublicKey(k.Key.Public())
		if err != nil {
			continue // a P-256 key, which has a form
		}
		keys = append(keys, model.JWTAuthority{KeyID: k.ID, PublicKey: der})
	}
	var out []*model.TrustBundle
	seen := map[spiffeid.TrustDomain]bool{}
	for _, d := range append([]spiffeid.TrustDomain{td}, aliases...) {
		if seen[d] {
			continue
		}
		seen[d] = true
		b := &model.TrustBundle{
			Meta: model.Meta{
				Ref: model.TrustBundleRef(d.Name()), UID: d.IDString(), Generation: int64(s.Sequence),
			},
			X509: roots, JWT: keys, Sequence: s.Sequence, Signing: s.Signing, Local: true,
		}
		b.ResourceVersion = BundleVersion(b)
		out = append(out, b)
	}
	return out
}

// BundleVersion tells two bundles of one trust domain apart by all that they hold.
func BundleVersion(b *model.TrustBundle) string {
	h := sha256.New()
	part := func(p []byte) {
		_, _ = h.Write([]byte(strconv.Itoa(len(p)) + ":"))
		_, _ = h.Write(p)
	}
	for _, r := range b.X509 {
		part(r)
	}
	part(nil)
	for _, j := range b.JWT {
		part([]byte(j.KeyID))
		part(j.PublicKey)
	}
	part([]byte(b.Signing))
	return strconv.FormatUint(b.Sequence, 10) + "-" + hex.EncodeToString(h.Sum(nil)[:8])
}
