package authority

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// JWTTemplate is what a JWT-SVID is to be. Whoever fills it in has decided that its holder may have it.
type JWTTemplate struct {
	ID       spiffeid.ID
	Audience []string
	TTL      time.Duration
}

type jwtSigner struct {
	key    JWTKey
	signer jose.Signer
}

func newJWTSigner(k JWTKey) (jwtSigner, error) {
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: Unseal(k.Key), KeyID: k.ID}},
		new(jose.SignerOptions).WithType("JWT"))
	if err != nil {
		return jwtSigner{}, fmt.Errorf("use key %s: %w", k.ID, err)
	}
	return jwtSigner{key: k, signer: signer}, nil
}

// SignJWT signs a JWT-SVID: the claims sub, aud, exp and iat, with ES256 (SPIFFE JWT-SVID 2 and 3). The token ends with its key
// at the latest. The error is ErrNone while there is no key that signs.
func (a *Authority) SignJWT(t JWTTemplate) (token string, expires time.Time, err error) {
	fail := func(err error) (string, time.Time, error) {
		return "", time.Time{}, fmt.Errorf("sign JWT-SVID: %w", err)
	}
	switch {
	case t.ID.IsZero(), t.ID.TrustDomain() != a.cfg.TrustDomain, t.ID.Path() == "":
		return fail(fmt.Errorf("%q is no workload of trust domain %s", t.ID, a.cfg.TrustDomain.Name()))
	case len(t.Audience) == 0:
		return fail(errors.New("no audience"))
	case t.TTL < time.Second:
		return fail(errors.New("the TTL is less than a second"))
	}
	now := a.cfg.Now()
	s, ok := a.current.Load().jwtSigner(now)
	if !ok {
		return fail(fmt.Errorf("no key of JWT-SVIDs: %w", ErrNone))
	}
	expires = now.Add(t.TTL)
	if !s.key.NotAfter.IsZero() {
		expires = earliest(expires, s.key.NotAfter)
	}
	expires = expires.UTC().Truncate(time.Second) // a NumericDate of whole seconds
	token, err = jwt.Signed(s.signer).Claims(jwt.Claims{
		Subject: t.ID.String(), Audience: jwt.Audience(t.Audience), Expiry: jwt.NewNumericDate(expires), IssuedAt: jwt.NewNumericDate(now),
	}).Serialize()
	if err != nil {
		return fail(err)
	}
	return token, expires, nil
}

// jwtSigner is the last key that is to sign now.
func (p *prepared) jwtSigner(now time.Time) (jwtSigner, bool) {
	for i := len(p.jwt) - 1; i >= 0; i-- {
		k := p.jwt[i].key
		if !now.Before(k.NotBefore) && (k.NotAfter.IsZero() || now.Before(k.NotAfter)) {
			return p.jwt[i], true
		}
	}
	return jwtSigner{}, false
}

// GenerateJWTKey makes a key that signs from notBefore on. Its ID is made of the public key.
func GenerateJWTKey(notBefore time.Time) (JWTKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return JWTKey{}, fmt.Errorf("generate JWT key: %w", err)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return JWTKey{}, fmt.Errorf("generate JWT key: %w", err)
	}
	sum := sha256.Sum256(der)
	return JWTKey{ID: hex.EncodeToString(sum[:8]), Key: Seal(key), NotBefore: notBefore.UTC().Truncate(time.Second)}, nil
}
