package svid_test

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"

	"fairlead.io/fairlead/pkg/svid"
)

var jwtNow = time.Now()

type claims map[string]any

func goodClaims() claims {
	return claims{
		"sub": "spiffe://cluster.local/ns/shop/sa/web", "aud": []string{"bank"}, "exp": jwtNow.Add(time.Hour).Unix(), "iat": jwtNow.Unix(),
	}
}

func token(t testing.TB, key any, alg jose.SignatureAlgorithm, header map[jose.HeaderKey]any, c claims) string {
	t.Helper()
	o := &jose.SignerOptions{}
	for k, v := range header {
		o = o.WithHeader(k, v)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, o)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	jws, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	s, err := jws.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryJWTRuleIsFound(t *testing.T) {
	key, other := newKey(t), newKey(t)
	keys := map[string]crypto.PublicKey{"k1": key.Public()}
	change := func(c claims) string {
		all := goodClaims()
		maps.Copy(all, c)
		maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
		return token(t, key, jose.ES256, map[jose.HeaderKey]any{"typ": "JWT"}, all)
	}
	header := func(h map[jose.HeaderKey]any) string { return token(t, key, jose.ES256, h, goodClaims()) }
	plain := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	valid := change(nil)
	part := strings.Split(valid, ".")
	broken := map[string]bool{}
	for name, c := range map[string]struct{ token, want string }{
		"nothing":            {valid, ""},
		"no typ":             {header(nil), ""},
		"JOSE":               {header(map[jose.HeaderKey]any{"typ": "JOSE"}), ""},
		"one audience":       {change(claims{"aud": "bank"}), ""},
		"empty":              {"", "compact"},
		"JSON serialization": {`{"payload":"` + part[1] + `"}`, "compact"},
		"padding":            {part[0] + "=." + part[1] + "." + part[2], "compact"},
		"more parts":         {valid + ".x", "compact"},
		"a header":           {header(map[jose.HeaderKey]any{"jku": "https://x"}), "header"},
		"none":               {plain(`{"alg":"none"}`) + "." + part[1] + ".", "alg"},
		"HMAC":               {token(t, []byte(strings.Repeat("s", 32)), jose.HS256, nil, goodClaims()), "alg"},
		"EdDSA":              {token(t, keyKinds(t)["Ed25519"], jose.EdDSA, nil, goodClaims()), "alg"},
		"typ":                {header(map[jose.HeaderKey]any{"typ": "at+jwt"}), "typ"},
		"no subject":         {change(claims{"sub": nil}), "sub"},
		"a trust domain":     {change(claims{"sub": "spiffe://cluster.local"}), "sub"},
		"no SPIFFE ID":       {change(claims{"sub": "web"}), "id-scheme"},
		"a broken SPIFFE ID": {change(claims{"sub": "spiffe://cluster.local/a//b"}), "id-path"},
		"no audience":        {change(claims{"aud": nil}), "aud"},
		"empty audience":     {change(claims{"aud": []string{}}), "aud"},
		"another audience":   {change(claims{"aud": []string{"shop"}}), "aud-us"},
		"two audiences":      {change(claims{"aud": []string{"shop", "bank"}}), "aud-one"},
		"no end":             {change(claims{"exp": nil}), "exp"},
		"an end in words":    {change(claims{"exp": "tomorrow"}), "exp"},
		"past":               {change(claims{"exp": jwtNow.Unix() - 1}), "exp-past"},
		"another key":        {token(t, other, jose.ES256, nil, goodClaims()), "signature"},
		"another signature":  {part[0] + "." + part[1] + "." + strings.Repeat("A", len(part[2])), "signature"},
	} {
		found := svid.CheckJWT(c.token, keys, "bank", jwtNow)
		if got := strings.Join(ids(found), " "); got != c.want {
			t.Errorf("%s: found %q, want %q: %v", name, got, c.want, found)
		}
		for _, id := range ids(found) {
			broken[id] = true
		}
	}
	for _, r := range svid.JWTRules() {
		if !broken[r.ID] {
			t.Errorf("no case breaks %s: %s", r.ID, r.Words)
		}
	}
}

func FuzzCheckJWT(f *testing.F) {
	key := fixedKey(f, 1)
	keys := map[string]crypto.PublicKey{"k1": key.Public()}
	f.Add(token(f, key, jose.ES256, map[jose.HeaderKey]any{"typ": "JWT"}, goodClaims()))
	f.Add("e30.e30.")
	f.Fuzz(func(t *testing.T, s string) {
		if len(svid.CheckJWT(s, keys, "bank", jwtNow)) > 0 {
			return
		}
		if _, err := jwtsvid.ParseAndValidate(s, jwtbundle.FromJWTAuthorities(td, keys), []string{"bank"}); err != nil {
			t.Fatalf("go-spiffe: %v", err)
		}
	})
}
