package svid

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// CheckJWT gives everything in which a JWT-SVID differs from JWTRules, and from SPIFFE-ID: nothing is right. keys are those of the trust
// domain by "kid"; audience is what the validator identifies with, "" when it is none of the token's.
func CheckJWT(token string, keys map[string]crypto.PublicKey, audience string, now time.Time) []Finding {
	c := newChecker(slices.Concat(JWTRules(), X509Rules())) // the rules of SPIFFE IDs are the same
	parts := strings.Split(token, ".")
	var header, claims map[string]json.RawMessage
	if len(parts) != 3 || !decodePart(parts[0], &header) || !decodePart(parts[1], &claims) {
		c.found("compact", "token", "it is not header.claims.signature")
		return c.findings
	}
	alg := c.header(header)
	c.claims(claims, audience, now)
	c.signature(token, alg, text(header["kid"]), keys)
	return c.findings
}

func decodePart(part string, into *map[string]json.RawMessage) bool {
	b, err := base64.RawURLEncoding.Strict().DecodeString(part)
	return err == nil && json.Unmarshal(b, into) == nil && *into != nil
}

// text is a JSON string; "" when it is something else.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512, jose.PS256, jose.PS384, jose.PS512,
	}
}

func (c *checker) header(h map[string]json.RawMessage) (alg jose.SignatureAlgorithm) {
	for name := range h {
		if name != "alg" && name != "kid" && name != "typ" {
			c.found("header", "header", "%.40q", name)
		}
	}
	alg = jose.SignatureAlgorithm(text(h["alg"]))
	c.need("alg", "header", slices.Contains(algorithms(), alg), "%.40q", string(alg))
	if raw, ok := h["typ"]; ok {
		c.need("typ", "header", text(raw) == "JWT" || text(raw) == "JOSE", "%.40q", text(raw))
	}
	return alg
}

func (c *checker) claims(claims map[string]json.RawMessage, audience string, now time.Time) {
	const at = "claims"
	if sub := text(claims["sub"]); sub == "" {
		c.found("sub", at, "it is not there")
	} else if _, path := c.id(at, sub); path == "" || path == "/" {
		c.found("sub", at, "%.100q is no workload", sub)
	}
	var aud []string
	if one := text(claims["aud"]); one != "" {
		aud = []string{one}
	} else if json.Unmarshal(claims["aud"], &aud) != nil {
		aud = nil
	}
	switch {
	case len(aud) == 0:
		c.found("aud", at, "it is not there")
	case !slices.Contains(aud, audience):
		c.found("aud-us", at, "%.100q is not in it", audience)
	}
	c.need("aud-one", at, len(aud) < 2, "there are %d", len(aud))
	var exp float64
	if raw, ok := claims["exp"]; !ok || json.Unmarshal(raw, &exp) != nil || exp == 0 {
		c.found("exp", at, "it is not there")
	} else if float64(now.UnixNano())/1e9 >= exp {
		c.found("exp-past", at, "it is %.0f", exp)
	}
}

func (c *checker) signature(token string, alg jose.SignatureAlgorithm, kid string, keys map[string]crypto.PublicKey) {
	if !slices.Contains(algorithms(), alg) {
		return // said already
	}
	jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{alg})
	if err != nil {
		c.found("signature", "token", "%v", err)
		return
	}
	for id, key := range keys {
		if kid != "" && id != kid {
			continue
		}
		if _, err := jws.Verify(key); err == nil {
			return
		}
	}
	c.found("signature", "token", "no key verifies it (kid %.40q)", kid)
}
