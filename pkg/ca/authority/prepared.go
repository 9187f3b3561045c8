package authority

import (
	"crypto/x509"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
)

// prepared is a state with all that can be made of it once, so that signing looks nothing up. It is immutable.
type prepared struct {
	state   State
	bundle  *spiffebundle.Bundle
	changed chan struct{}

	x509    *issuer
	x509Err error
	jwt     []jwtSigner // in the order of State.JWT
}

func prepare(cfg *Config, s State) *prepared {
	p := &prepared{state: s, changed: make(chan struct{})}
	p.x509, p.x509Err = newIssuer(s, cfg)
	for _, k := range s.JWT {
		signer, err := newJWTSigner(k)
		if err != nil {
			cfg.Log.Error("a key of JWT-SVIDs cannot sign", "kid", k.ID, "error", err)
			continue
		}
		p.jwt = append(p.jwt, signer)
	}
	p.bundle = s.bundle(cfg)
	return p
}

// bundle is the SPIFFE bundle of the state (SPIFFE Trust Domain and Bundle 4).
func (s State) bundle(cfg *Config) *spiffebundle.Bundle {
	b := spiffebundle.New(cfg.TrustDomain)
	b.SetX509Authorities(s.Roots())
	for _, k := range s.JWT {
		if k.Key == nil {
			continue
		}
		if err := b.AddJWTAuthority(k.ID, k.Key.Public()); err != nil {
			cfg.Log.Error("a key of JWT-SVIDs cannot be published", "kid", k.ID, "error", err)
		}
	}
	b.SetSequenceNumber(s.Sequence)
	b.SetRefreshHint(cfg.RefreshHint)
	return b
}

// Roots are what verifies X.509-SVIDs of all generations, each once.
func (s State) Roots() []*x509.Certificate {
	var roots []*x509.Certificate
	for _, g := range s.Generations {
		for _, c := range g.Roots {
			if !contains(roots, c) {
				roots = append(roots, c)
			}
		}
	}
	return roots
}

// Generation gives the generation of an ID.
func (s State) Generation(id string) (Generation, bool) {
	for _, g := range s.Generations {
		if g.ID == id {
			return g, true
		}
	}
	return Generation{}, false
}

func contains(list []*x509.Certificate, c *x509.Certificate) bool {
	for _, l := range list {
		if l.Equal(c) {
			return true
		}
	}
	return false
}
