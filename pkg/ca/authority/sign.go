package authority

import (
	"crypto/x509"
	"encoding/hex"
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

// DER is an X.509-SVID as it goes over the wire.
type DER struct {
	// Raw is the certificate and the intermediates above it, leaf first, without a root.
	Raw [][]byte
	// Serial is in hexadecimal, without leading zeros.
	Serial              string
	NotBefore, NotAfter time.Time
	// Authority is the ID of the generation that has signed.
	Authority string
}

// X509 is an X.509-SVID that has been read again.
type X509 struct {
	DER
	// Chain is Raw as crypto/x509 reads it.
	Chain []*x509.Certificate
}

// SignX509 is SignDER for those who need what is in the certificate.
func (a *Authority) SignX509(t X509Template) (X509, error) {
	signed, err := a.SignDER(t)
	if err != nil {
		return X509{}, err
	}
	out := X509{DER: signed}
	for _, der := range signed.Raw {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return X509{}, fmt.Errorf("sign X.509-SVID: %w", err)
		}
		out.Chain = append(out.Chain, c)
	}
	return out, nil
}

// SignDER signs an X.509-SVID. The error is ErrNone while there is no authority, ErrNoKey where another replica has the key, and
// ErrNotValid when the issuer has ended or not begun.
func (a *Authority) SignDER(t X509Template) (DER, error) {
	p := a.current.Load()
	if p.x509Err != nil {
		return DER{}, fmt.Errorf("sign X.509-SVID: %w", p.x509Err)
	}
	now := a.cfg.Now()
	if err := p.x509.valid(now); err != nil {
		return DER{}, fmt.Errorf("sign X.509-SVID: %w", err)
	}
	l, err := a.leaf(t, p.x509, now)
	if err != nil {
		return DER{}, fmt.Errorf("sign X.509-SVID: %w", err)
	}
	raw, err := p.x509.sign(l)
	if err != nil {
		return DER{}, fmt.Errorf("sign X.509-SVID: %w", err)
	}
	return DER{Raw: raw, Serial: hex.EncodeToString(l.serial[:]), NotBefore: l.notBefore, NotAfter: l.notAfter, Authority: p.x509.id}, nil
}
