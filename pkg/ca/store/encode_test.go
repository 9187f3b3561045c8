package store_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/ca/authority"
	"fairlead.io/fairlead/pkg/ca/store"
)

// full has something in every field.
func full(t testing.TB) authority.State {
	t.Helper()
	s := first(t)
	root := newCA(t, "root", nil)
	policy := newCA(t, "policy", root)
	inter := newCA(t, "intermediate", policy)
	s, err := authority.Add(s, authority.Generation{
		ID: inter.id(), Issuer: inter.cert, Chain: []*x509.Certificate{policy.cert}, Roots: []*x509.Certificate{root.cert},
		Source: authority.Mounted, Created: time.Now().UTC().Truncate(time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	k, err := authority.GenerateJWTKey(time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	s.JWT = append(s.JWT, k)
	s.JWT[0].NotAfter = time.Now().UTC().Truncate(time.Second)
	s.Declined = []string{"0123456789abcdef"}
	now := time.Now().UTC()
	s.Rotation = authority.Rotation{
		Stage: authority.Retiring, From: s.Signing, To: inter.id(), Started: now, Since: now, Paused: true, Without: []string{"n1"}, Retire: now,
	}
	return s
}

func TestDecodeGivesWhatWasEncoded(t *testing.T) {
	s := full(t)
	b, err := store.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	got, err := store.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if !authority.Equal(s, got) || got.Revision != s.Revision {
		t.Errorf("another state came back:\n%v\n%v", s, got)
	}
	if want, key := s.Generations[0].Key, got.Generations[0].Key; !want.Public().(*ecdsa.PublicKey).Equal(key.Public()) {
		t.Error("another key came back")
	}
}

func TestEveryKindOfKeyIsKept(t *testing.T) {
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"P-384": p384, "Ed25519": ed, "RSA": r} {
		root := newCA(t, name, nil)
		template := *root.cert
		template.PublicKey, template.SignatureAlgorithm = nil, 0
		der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		s, err := authority.First(authority.Generation{
			ID: authority.GenerationID(cert), Issuer: cert, Roots: []*x509.Certificate{cert}, Key: key, Source: authority.Generated,
		}, time.Now())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for range 2 { // what was read can be written
			b, err := store.Encode(s)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if s, err = store.Decode(b); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if got := s.Generations[0].Key.Public().(interface{ Equal(crypto.PublicKey) bool }); !got.Equal(key.Public()) {
			t.Errorf("%s: another key came back", name)
		}
	}
}

func TestDecodeRefusesWhatIsBroken(t *testing.T) {
	s := full(t)
	other, err := store.Encode(first(t))
	if err != nil {
		t.Fatal(err)
	}
	b, err := store.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	leaf := newCA(t, "leaf", newCA(t, "root", nil), func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature })
	gens := func(d map[string]any) []any { return d["generations"].([]any) }
	gen := func(d map[string]any, i int) map[string]any { return gens(d)[i].(map[string]any) }
	jwt := func(d map[string]any, i int) map[string]any { return d["jwt"].([]any)[i].(map[string]any) }
	foreign := decodeMap(t, other)
	for name, c := range map[string]struct {
		change func(d map[string]any)
		want   string
	}{
		"format":           {func(d map[string]any) { d["format"] = 2 }, "format 2, and this version reads format 1"},
		"no format":        {func(d map[string]any) { delete(d, "format") }, "format 0"},
		"unknown field":    {func(d map[string]any) { d["extra"] = 1 }, "a field is unknown"},
		"another key":      {func(d map[string]any) { gen(d, 0)["key"] = gen(foreign, 0)["key"] }, "generations[0] (\"" + s.Signing + "\"): generation " + s.Signing + ": its key is not"},
		"no PEM key":       {func(d map[string]any) { gen(d, 0)["key"] = "secret" }, "key: no PEM"},
		"a JWT key's type": {func(d map[string]any) { jwt(d, 1)["key"] = "-----BEGIN FOO-----\n-----END FOO-----\n" }, "jwt[1]"},
		"no CA": {func(d map[string]any) {
			gen(d, 0)["issuer"], gen(d, 0)["id"] = string(certs(leaf)), leaf.id()
		}, "its issuer is no CA"},
		"another ID":     {func(d map[string]any) { gen(d, 1)["id"] = "0000" }, "generations[1] (\"0000\"): generation \"0000\": its issuer's ID is"},
		"another root":   {func(d map[string]any) { gen(d, 1)["roots"] = gen(foreign, 0)["roots"] }, "does not lead to its roots"},
		"no chain":       {func(d map[string]any) { delete(gen(d, 1), "chain") }, "does not lead to its roots"},
		"no roots":       {func(d map[string]any) { gen(d, 1)["roots"] = "" }, "roots: there is none"},
		"two issuers":    {func(d map[string]any) { gen(d, 1)["issuer"] = string(certs(leaf, leaf)) }, "2 certificates, one was expected"},
		"broken PEM":     {func(d map[string]any) { gen(d, 1)["chain"] = "-----BEGIN CERTIFICATE-----\nxx" }, "chain: broken PEM"},
		"key as a root":  {func(d map[string]any) { gen(d, 1)["roots"] = gen(d, 0)["key"] }, "a PEM block that is no certificate"},
		"twice":          {func(d map[string]any) { d["generations"] = append(gens(d), gens(d)[0]) }, "generations[2] (" + s.Signing + "): the ID is there twice"},
		"JWT twice":      {func(d map[string]any) { jwt(d, 1)["id"] = s.JWT[0].ID }, "jwt[1] (\"" + s.JWT[0].ID + "\"): the ID is there twice"},
		"JWT without ID": {func(d map[string]any) { jwt(d, 0)["id"] = "" }, "it has no ID"},
		"nobody signs":   {func(d map[string]any) { d["signing"] = "0000" }, "signing: there is no generation \"0000\""},
		"source":         {func(d map[string]any) { gen(d, 0)["source"] = "found" }, "unknown source"},
		"stage":          {func(d map[string]any) { d["rotation"].(map[string]any)["stage"] = "Later" }, "rotation: unknown stage"},
		"rotation to":    {func(d map[string]any) { d["rotation"].(map[string]any)["to"] = "0000" }, "rotation: there is no generation"},
		"type":           {func(d map[string]any) { d["sequence"] = "1" }, "\"sequence\""},
	} {
		d := decodeMap(t, b)
		c.change(d)
		broken, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		_, err = store.Decode(broken)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "-----BEGIN") {
			t.Errorf("%s: the error has a key: %v", name, err)
		}
	}
	for name, text := range map[string]string{"more": string(b) + "{}", "empty": "", "no JSON": "-----BEGIN", "null": "null"} {
		if _, err := store.Decode([]byte(text)); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func decodeMap(t testing.TB, b []byte) map[string]any {
	t.Helper()
	var d map[string]any
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func FuzzDecode(f *testing.F) {
	b, err := store.Encode(full(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":1,"generations":[{}],"jwt":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := store.Decode(b)
		if err != nil {
			return
		}
		again, err := store.Encode(s)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if got, err := store.Decode(again); err != nil || !authority.Equal(s, got) {
			t.Fatalf("what was written cannot be read: %v", err)
		}
	})
}
