package csr

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"
)

var web = spiffeid.RequireFromString("spiffe://cluster.local/ns/shop/sa/web")

func newKey(t testing.TB, c elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(c, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func create(t testing.TB, template *x509.CertificateRequest, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// name is a GeneralName of RFC 5280: the number of its choice and its bytes.
type name struct {
	choice byte
	value  string
}

// san is a subjectAltName extension as crypto/x509 would never write it.
func san(names ...name) pkix.Extension {
	var b cryptobyte.Builder
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, n := range names {
			t := tag.Tag(n.choice).ContextSpecific()
			if n.choice == 0 || n.choice == 4 {
				t = t.Constructed()
			}
			b.AddASN1(t, func(b *cryptobyte.Builder) { b.AddBytes([]byte(n.value)) })
		}
	})
	return pkix.Extension{Id: oidSubjectAltName, Value: b.BytesOrPanic()}
}

func mustMarshal(t testing.TB, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

const webURI = "spiffe://cluster.local/ns/shop/sa/web"

func TestRequestsThatAskTooMuch(t *testing.T) {
	key := newKey(t, elliptic.P256())
	ext := func(e ...pkix.Extension) *x509.CertificateRequest {
		return &x509.CertificateRequest{ExtraExtensions: e}
	}
	uri := func(list ...string) (out []*url.URL) {
		for _, s := range list {
			u, err := url.Parse(s)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, u)
		}
		return out
	}
	many := make([]name, maxNames+1)
	for i := range many {
		many[i] = name{2, "web.shop.svc"}
	}
	unknown := asn1.ObjectIdentifier{1, 2, 3, 4}
	for name, c := range map[string]struct {
		template *x509.CertificateRequest
		dns      []string
		want     Reason
	}{
		"nothing":                 {&x509.CertificateRequest{}, nil, ""},
		"a subject":               {&x509.CertificateRequest{Subject: pkix.Name{CommonName: "admin", Organization: []string{"system:masters"}}}, nil, ""},
		"its own URI":             {&x509.CertificateRequest{URIs: uri(webURI)}, nil, ""},
		"another URI":             {&x509.CertificateRequest{URIs: uri("spiffe://cluster.local/ns/shop/sa/bank")}, nil, OtherURI},
		"its URI with a slash":    {&x509.CertificateRequest{URIs: uri(webURI + "/")}, nil, OtherURI},
		"its URI in capitals":     {ext(san(ofURI("SPIFFE://cluster.local/ns/shop/sa/web"))), nil, OtherURI},
		"an empty URI":            {ext(san(ofURI(""))), nil, NameEncoding},
		"a second URI":            {&x509.CertificateRequest{URIs: uri(webURI, "spiffe://cluster.local/ns/shop/sa/bank")}, nil, SecondURI},
		"its URI twice":           {&x509.CertificateRequest{URIs: uri(webURI, webURI)}, nil, SecondURI},
		"a DNS name":              {&x509.CertificateRequest{DNSNames: []string{"web.shop.svc"}}, []string{"web.shop.svc"}, ""},
		"a DNS name not asked":    {&x509.CertificateRequest{DNSNames: []string{"bank.shop.svc"}}, []string{"web.shop.svc"}, DNSName},
		"an email address":        {&x509.CertificateRequest{EmailAddresses: []string{"root@cluster.local"}}, nil, Email},
		"an IP address":           {&x509.CertificateRequest{IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}}, nil, IPAddress},
		"an otherName":            {ext(san(other(0, "\x06\x03\x2a\x03\x04\xa0\x03\x0c\x01x"))), nil, OtherName},
		"a directoryName":         {ext(san(other(4, "\x30\x00"))), nil, OtherName},
		"a registeredID":          {ext(san(other(8, "\x2a\x03\x04"))), nil, OtherName},
		"NUL in the URI":          {ext(san(ofURI(webURI + "\x00.evil"))), nil, NameEncoding},
		"NUL in a DNS name":       {ext(san(other(2, "web.shop.svc\x00.evil"))), []string{"web.shop.svc"}, NameEncoding},
		"letters beyond ASCII":    {ext(san(ofURI("spiffe://cluster.local/ns/shop/sa/w\xc3\xa9b"))), nil, NameEncoding},
		"more names than we read": {ext(san(many...)), []string{"web.shop.svc"}, Malformed},
		"no list of names":        {ext(pkix.Extension{Id: oidSubjectAltName, Value: []byte{4, 0}}), nil, Malformed},
		"CA:true":                 {ext(pkix.Extension{Id: oidBasicConstraints, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}}), nil, AsksCA},
		"CA:false":                {ext(pkix.Extension{Id: oidBasicConstraints, Value: []byte{0x30, 0}}), nil, ""},
		"keyCertSign":             {ext(pkix.Extension{Id: oidKeyUsage, Value: mustMarshal(t, asn1.BitString{Bytes: []byte{0x04}, BitLength: 6})}), nil, AsksCertSign},
		"cRLSign":                 {ext(pkix.Extension{Id: oidKeyUsage, Value: mustMarshal(t, asn1.BitString{Bytes: []byte{0x02}, BitLength: 7})}), nil, AsksCertSign},
		"digitalSignature":        {ext(pkix.Extension{Id: oidKeyUsage, Value: mustMarshal(t, asn1.BitString{Bytes: []byte{0x80}, BitLength: 1})}), nil, ""},
		"an unknown one, critical": {
			ext(pkix.Extension{Id: unknown, Critical: true, Value: []byte{5, 0}}), nil, CriticalExtension,
		},
		"an unknown one":     {ext(pkix.Extension{Id: unknown, Value: []byte{5, 0}}), nil, ""},
		"an extension twice": {ext(pkix.Extension{Id: unknown, Value: []byte{5, 0}}, pkix.Extension{Id: unknown, Value: []byte{5, 0}}), nil, DuplicateExtension},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := ParseDER(create(t, c.template, key))
			if err == nil {
				if !key.PublicKey.Equal(r.PublicKey) {
					t.Error("the public key is another one")
				}
				err = r.Check(web, c.dns)
			}
			wantReason(t, err, c.want)
		})
	}
}

func other(choice byte, value string) name { return name{choice, value} }
func ofURI(uri string) name                { return name{6, uri} }

func wantReason(t testing.TB, err error, want Reason) {
	t.Helper()
	var e *Error
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && (!errors.As(err, &e) || e.Reason != want):
		t.Errorf("%v; want reason %s", err, want)
	}
}

func TestKeys(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaOf := func(bits int) crypto.Signer {
		k, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	for name, c := range map[string]struct {
		key  crypto.Signer
		want Reason
	}{
		"P-256":    {newKey(t, elliptic.P256()), ""},
		"P-384":    {newKey(t, elliptic.P384()), ""},
		"P-224":    {newKey(t, elliptic.P224()), UnsupportedKey},
		"P-521":    {newKey(t, elliptic.P521()), UnsupportedKey},
		"Ed25519":  {ed, ""},
		"RSA 2048": {rsaOf(2048), ""},
		"RSA 1024": {rsaOf(1024), WeakKey},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseDER(create(t, &x509.CertificateRequest{}, c.key))
			wantReason(t, err, c.want)
		})
	}
}

// TestKeysWithoutPossession judges keys before it looks at the signature, which these do not have.
func TestKeysWithoutPossession(t *testing.T) {
	modulus := func(bits uint) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return n.SetBit(n, 0, 1)
	}
	for name, c := range map[string]struct {
		key  any
		want Reason
	}{
		"RSA 8192":             {&rsa.PublicKey{N: modulus(8192), E: 65537}, BrokenSignature},
		"RSA 8193":             {&rsa.PublicKey{N: modulus(8193), E: 65537}, UnsupportedKey},
		"RSA 65536":            {&rsa.PublicKey{N: modulus(65536), E: 65537}, UnsupportedKey},
		"RSA with exponent 3":  {&rsa.PublicKey{N: modulus(2048), E: 3}, WeakKey},
		"RSA, exponent even":   {&rsa.PublicKey{N: modulus(2048), E: 65538}, WeakKey},
		"RSA, modulus is even": {&rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 65537}, WeakKey},
	} {
		t.Run(name, func(t *testing.T) {
			spki, err := x509.MarshalPKIXPublicKey(c.key)
			if err != nil {
				t.Fatal(err)
			}
			_, err = ParseDER(forge(spki))
			wantReason(t, err, c.want)
		})
	}
	t.Run("secp256k1", func(t *testing.T) {
		type algorithm struct{ ID, Curve asn1.ObjectIdentifier }
		spki := mustMarshal(t, struct {
			Algorithm algorithm
			Key       asn1.BitString
		}{algorithm{asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, asn1.ObjectIdentifier{1, 3, 132, 0, 10}}, asn1.BitString{Bytes: make([]byte, 65), BitLength: 520}})
		_, err := ParseDER(forge(spki))
		wantReason(t, err, UnsupportedKey)
	})
}

// forge makes a request for a key that nobody has.
func forge(spki []byte) []byte {
	var b cryptobyte.Builder
	b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1Int64(0)
			b.AddASN1(tag.SEQUENCE, func(*cryptobyte.Builder) {})
			b.AddBytes(spki)
			b.AddASN1(tag.Tag(0).ContextSpecific().Constructed(), func(*cryptobyte.Builder) {})
		})
		b.AddASN1(tag.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11})
			b.AddBytes([]byte{5, 0})
		})
		b.AddASN1BitString(make([]byte, 256))
	})
	return b.BytesOrPanic()
}

func TestBytes(t *testing.T) {
	key := newKey(t, elliptic.P256())
	good := create(t, &x509.CertificateRequest{}, key)
	broken := slices.Clone(good)
	broken[len(broken)-1] ^= 1
	foreign := slices.Clone(good)
	i := strings.Index(string(foreign), string(key.X.Bytes()))
	copy(foreign[i:], newKey(t, elliptic.P256()).X.Bytes()) // off the curve: another's key, without its proof
	for name, c := range map[string]struct {
		der  []byte
		want Reason
	}{
		"good":                {good, ""},
		"nothing":             {nil, Malformed},
		"a broken signature":  {broken, BrokenSignature},
		"another key":         {foreign, UnsupportedKey},
		"half":                {good[:len(good)/2], Malformed},
		"more than it":        {append(slices.Clone(good), 0), Malformed},
		"oversized":           {make([]byte, MaxDER+1), Oversized},
		"deeply nested":       {[]byte(strings.Repeat("\x30\x82\x3f\xf0", MaxDER/4)), Malformed},
		"a certificate in it": {[]byte("\x30\x03\x02\x01\x00"), Malformed},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseDER(c.der)
			wantReason(t, err, c.want)
		})
	}
}

func TestSHA1IsRefused(t *testing.T) {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&k.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	der := forge(spki)
	sha1 := strings.Replace(string(der), "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b", "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05", 1)
	_, err = ParseDER([]byte(sha1))
	wantReason(t, err, WeakSignature)
}

func TestPEM(t *testing.T) {
	der := create(t, &x509.CertificateRequest{}, newKey(t, elliptic.P256()))
	block := func(b *pem.Block) string { return string(pem.EncodeToMemory(b)) }
	good := block(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	for name, c := range map[string]struct {
		text string
		want Reason
	}{
		"good":              {good, ""},
		"space around":      {"\n" + good + "\n\n", ""},
		"the old name":      {block(&pem.Block{Type: "NEW CERTIFICATE REQUEST", Bytes: der}), ""},
		"DER":               {string(der), Malformed},
		"words before":      {"hello\n" + good, Malformed},
		"words behind":      {good + "hello", Malformed},
		"two blocks":        {good + good, Malformed},
		"headers":           {block(&pem.Block{Type: "CERTIFICATE REQUEST", Headers: map[string]string{"a": "b"}, Bytes: der}), Malformed},
		"a certificate":     {block(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Malformed},
		"oversized":         {strings.Repeat("-", MaxPEM+1), Oversized},
		"oversized, inside": {block(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: make([]byte, MaxDER+1)}), Oversized},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParsePEM([]byte(c.text))
			wantReason(t, err, c.want)
		})
	}
	if n := len(block(&pem.Block{Type: "NEW CERTIFICATE REQUEST", Bytes: make([]byte, MaxDER)})); n > MaxPEM {
		t.Errorf("the largest request has %d bytes of PEM, more than %d", n, MaxPEM)
	}
}

func FuzzParse(f *testing.F) {
	key := newKey(f, elliptic.P256())
	u, err := url.Parse(webURI)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(create(f, &x509.CertificateRequest{URIs: []*url.URL{u}, DNSNames: []string{"web.shop.svc"}}, key))
	f.Add(create(f, &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{san(ofURI(webURI), other(0, "\x06\x01\x2a"))}}, key))
	f.Add([]byte("-----BEGIN CERTIFICATE REQUEST-----\nMAA=\n-----END CERTIFICATE REQUEST-----\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		for _, parse := range []func([]byte) (*Request, error){ParseDER, ParsePEM} {
			r, err := parse(in)
			var e *Error
			if err != nil {
				if !errors.As(err, &e) || e.Reason == "" {
					t.Fatalf("an error without a reason: %v", err)
				}
				continue
			}
			// What the parser of the standard library sees must be what was judged.
			der := in
			if b, _ := pem.Decode(in); b != nil {
				der = b.Bytes
			}
			std, err := x509.ParseCertificateRequest(der)
			if err != nil {
				t.Fatal(err)
			}
			if len(std.IPAddresses)+len(std.EmailAddresses) > 0 || len(std.URIs) > 1 || len(std.URIs) == 1 && r.URI == "" || !slices.Equal(std.DNSNames, r.DNSNames) {
				t.Fatalf("crypto/x509 sees %v %v %v %v, we %q %q", std.URIs, std.DNSNames, std.EmailAddresses, std.IPAddresses, r.URI, r.DNSNames)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	der := create(b, &x509.CertificateRequest{}, newKey(b, elliptic.P256()))
	for b.Loop() {
		if _, err := ParseDER(der); err != nil {
			b.Fatal(err)
		}
	}
}
