package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"time"
)

// chains remembers which certificates lead to which roots, because a signature costs more than all the rest of a call.
type chains struct {
	known *lru[[sha256.Size]byte, path]
}

// path is a verified chain: with other roots, or after until, it is verified again.
type path struct {
	roots []*x509.Certificate
	until time.Time
}

const maxChains = 1 << 14

func newChains() *chains { return &chains{newLRU[[sha256.Size]byte, path](maxChains)} }

func (c *chains) verify(chain, roots []*x509.Certificate, now time.Time) error {
	key := digest(chain)
	if p, ok := c.known.get(key); ok && now.Before(p.until) && slices.Equal(p.roots, roots) {
		return nil
	}
	options := x509.VerifyOptions{
		Roots: pool(roots), Intermediates: pool(chain[1:]), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	paths, err := chain[0].Verify(options)
	if err != nil {
		return err
	}
	until := paths[0][0].NotAfter
	for _, parent := range paths[0] {
		if parent.NotAfter.Before(until) {
			until = parent.NotAfter
		}
	}
	c.known.put(key, path{roots, until})
	return nil
}

func pool(certificates []*x509.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certificates {
		p.AddCert(c)
	}
	return p
}

func digest(chain []*x509.Certificate) (d [sha256.Size]byte) {
	h := sha256.New()
	for _, c := range chain {
		h.Write(c.Raw) // DER says its own length
	}
	h.Sum(d[:0])
	return d
}
