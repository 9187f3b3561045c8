package authority

import (
	"crypto/x509"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// X509Template is what an X.509-SVID is to be. Whoever fills it in has decided that its holder may have it.
type X509Template struct {
	ID spiffeid.ID
	// PublicKey is of ECDSA, Ed25519 or RSA: *ecdsa.PublicKey, ed25519.PublicKey, *rsa.PublicKey.
	PublicKey any
	// TTL counts from now; the certificate ends with its issuer at the latest.
	TTL      time.Duration
	DNSNames []string
}

// X509 is an X.509-SVID.
type X509 struct {
	// Chain is the certificate and the intermediates above it, leaf first, without a root; Raw is the same as DER.
	Chain    []*x509.Certificate
	Raw      [][]byte
	NotAfter time.Time
	// Authority is the ID of the generation that has signed.
	Authority string
}

// SignX509 signs an X.509-SVID. The error is ErrNone while there is no authority, ErrNoKey where another replica has the key, and
// ErrNotValid when the issuer has ended or not begun.
func (a *Authority) SignX509(t X509Template) (X509, error) {
	p := a.current.Load()
	if p.x509Err != nil {
		return X509{}, fmt.Errorf("sign X.509-SVID: %w", p.x509Err)
	}
	now := a.cfg.Now()
	if err := p.x509.valid(now); err != nil {
		return X509{}, fmt.Errorf("sign X.509-SVID: %w", err)
	}
	template, err := a.leaf(t, p.x509, now)
	if err != nil {
		return X509{}, fmt.Errorf("sign X.509-SVID: %w", err)
	}
	svid, err := p.x509.sign(template, t.PublicKey)
	if err != nil {
		return X509{}, fmt.Errorf("sign X.509-SVID: %w", err)
	}
	return svid, nil
}
