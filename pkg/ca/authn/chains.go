package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"slices"
	"sync/atomic"
	"time"
)

// chains remembers which certificates lead to which roots, because a signature costs more than all the rest of a call.
type chains struct {
	known *lru[[sha256.Size]byte, *path]
}

// path is a verified chain: with other roots, or after until, it is verified again.
type path struct {
	roots []*x509.Certificate
	until time.Time
	// seen says that a pod of its workload has been found once: when there is none now, they are gone, and not too new.
	seen atomic.Bool
}

const maxChains = 1 << 14

func newChains() *chains { return &chains{newLRU[[sha256.Size]byte, *path](maxChains)} }

func (c *chains) verify(chain, roots []*x509.Certificate, now time.Time) (*path, error) {
	key := digest(chain)
	was, ok := c.known.get(key)
	if ok && now.Before(was.until) && slices.Equal(was.roots, roots) {
		return was, nil
	}
	options := x509.VerifyOptions{
		Roots: pool(roots), Intermediates: pool(chain[1:]), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	paths, err := chain[0].Verify(options)
	if err != nil {
		return nil, err
	}
	until := paths[0][0].NotAfter
	for _, parent := range paths[0] {
		if parent.NotAfter.Before(until) {
			until = parent.NotAfter
		}
	}
	p := &path{roots: roots, until: until}
	if was != nil {
		p.seen.Store(was.seen.Load())
	}
	c.known.put(key, p)
	return p, nil
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
