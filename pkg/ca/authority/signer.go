package authority

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/ca"
)

var (
	// ErrNoKey says that the generation which is to sign has no key here: another replica, or a former process, has it.
	ErrNoKey = errors.New("the key of the authority that is to sign is not here")
	// ErrNotValid says that the authority which is to sign is not valid now.
	ErrNotValid = errors.New("the authority is not valid")
)

// issuer is a generation made ready to sign.
type issuer struct {
	id        string
	ca        *x509.Certificate
	key       crypto.Signer
	algorithm algorithm
	encoded   encoded
	// above is the chain that goes with each leaf: the issuer, unless it is a root, and its intermediates.
	above []*x509.Certificate
	// begin and end are when the whole path to a root is valid.
	begin, end time.Time
}

// newIssuer makes the signing generation of s ready.
func newIssuer(s State, cfg *Config) (*issuer, error) {
	if len(s.Generations) == 0 {
		return nil, ErrNone
	}
	g, ok := s.Generation(s.Signing)
	if !ok {
		return nil, fmt.Errorf("generation %q is to sign and is not there: %w", s.Signing, ErrNone)
	}
	if g.Key == nil {
		return nil, fmt.Errorf("%w: generation %s (%s)", ErrNoKey, g.ID, g.Source)
	}
	if !samePublicKey(g.Key.Public(), g.Issuer.PublicKey) {
		return nil, fmt.Errorf("generation %s: its key is not that of its certificate", g.ID)
	}
	// X509-SVID 3.2: where a signing certificate has a SPIFFE ID, it should be of the trust domain that it signs for. An alias is
	// that trust domain by another name: nobody could get to one of the new name without the old one.
	for _, u := range g.Issuer.URIs {
		if u.Scheme != "spiffe" {
			continue
		}
		if td, err := spiffeid.TrustDomainFromURI(u); err != nil || !ca.Ours(cfg.TrustDomain, cfg.Aliases, td) {
			own := cfg.TrustDomain.Name()
			return nil, fmt.Errorf("generation %s is of trust domain %s, and this is %s: mount one of %s, or have %s for an alias and then rotate", g.ID, u.Host, own, own, u.Host)
		}
	}
	path, err := g.path(cfg.Now())
	if err != nil {
		return nil, err
	}
	alg, err := newAlgorithm(g.Issuer.PublicKey)
	if err == nil {
		err = alg.try(g.Issuer, g.Key)
	}
	if err != nil {
		return nil, fmt.Errorf("generation %s: %w", g.ID, err)
	}
	i := &issuer{id: g.ID, ca: g.Issuer, key: g.Key, algorithm: alg, begin: path[0].NotBefore, end: path[0].NotAfter}
	for _, c := range path[1:] {
		i.begin, i.end = latest(i.begin, c.NotBefore), earliest(i.end, c.NotAfter)
	}
	if len(path) > 1 {
		i.above = append([]*x509.Certificate{g.Issuer}, g.Chain...)
	}
	if i.encoded, err = i.encode(); err != nil {
		return nil, fmt.Errorf("generation %s: %w", g.ID, err)
	}
	return i, nil
}

func (i *issuer) valid(now time.Time) error {
	switch {
	case now.Before(i.begin):
		return fmt.Errorf("%w: generation %s begins %s", ErrNotValid, i.id, i.begin.UTC().Format(time.RFC3339))
	case !now.Before(i.end):
		return fmt.Errorf("%w: generation %s has ended %s; rotate it", ErrNotValid, i.id, i.end.UTC().Format(time.RFC3339))
	}
	return nil
}

// sign gives the certificate with the chain above it.
func (i *issuer) sign(l *leaf) ([][]byte, error) {
	der, err := i.certificate(l)
	if err != nil {
		return nil, err
	}
	raw := append(make([][]byte, 0, 1+len(i.above)), der)
	for _, c := range i.above {
		raw = append(raw, c.Raw)
	}
	return raw, nil
}

// path finds how the issuer leads to one of its roots, issuer first. Of several ways it is the one that is valid now and ends last.
func (g Generation) path(now time.Time) ([]*x509.Certificate, error) {
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	times := []time.Time{now, g.Issuer.NotBefore}
	for _, c := range g.Chain {
		opts.Intermediates.AddCert(c)
		times = append(times, c.NotBefore)
	}
	for _, c := range g.Roots {
		opts.Roots.AddCert(c)
		times = append(times, c.NotBefore)
	}
	// What is not valid now has a path at another time; that it is not valid is said when it is to sign.
	var last error
	for _, t := range times {
		opts.CurrentTime = t
		paths, err := g.Issuer.Verify(opts)
		if err != nil {
			last = err
			continue
		}
		best, bestEnd := paths[0], time.Time{}
		for _, p := range paths {
			end := p[0].NotAfter
			for _, c := range p[1:] {
				end = earliest(end, c.NotAfter)
			}
			if end.After(bestEnd) {
				best, bestEnd = p, end
			}
		}
		return best, nil
	}
	return nil, fmt.Errorf("generation %s does not lead to its roots: %w", g.ID, last)
}

// samePublicKey compares keys of any type that crypto/x509 knows.
func samePublicKey(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
