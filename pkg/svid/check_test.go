package svid_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"

	"fairlead.io/fairlead/pkg/svid"
)

// world is a leaf below an intermediate below a root, each as good as it can be until a case breaks it.
type world struct {
	root, inter, leaf template
	now               time.Time
	chain             func(leaf, inter, root *x509.Certificate) []*x509.Certificate
	roots             func(root *x509.Certificate) []*x509.Certificate
}

type template struct {
	x509.Certificate
	noAKI  bool
	serial []byte // DER, in place of SerialNumber
}

func id(s string) []*url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return []*url.URL{u}
}

func good() *world {
	now := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	ca := func(name string) template {
		return template{Certificate: x509.Certificate{
			SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
			KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, BasicConstraintsValid: true, IsCA: true, URIs: id("spiffe://cluster.local"),
		}}
	}
	return &world{
		root: ca("root"), inter: ca("intermediate"), now: now,
		leaf: template{Certificate: x509.Certificate{
			SerialNumber: big.NewInt(8), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Minute),
			KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true, URIs: id("spiffe://cluster.local/ns/shop/sa/web"),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}},
		chain: func(leaf, inter, _ *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{leaf, inter} },
		roots: func(root *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{root} },
	}
}

// extra puts an extension in place of the one that crypto/x509 would make; der is a hand-made value.
func (t *template) extra(number int, critical bool, der []byte) {
	t.ExtraExtensions = append(t.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, number}, Critical: critical, Value: der})
}

// san puts hand-made URI names into a template.
func (t *template) san(names ...string) {
	t.URIs = nil
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		for _, n := range names {
			b.AddASN1(casn1.Tag(6).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(n)) })
		}
	})
	t.extra(17, true, b.BytesOrPanic())
}

func sign(t testing.TB, what template, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = &what.Certificate
	}
	by := *parent
	if what.noAKI {
		by.SubjectKeyId = nil
	}
	der, err := x509.CreateCertificate(rand.Reader, &what.Certificate, &by, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	if what.serial != nil {
		der = replaceSerial(t, der, what.serial, key)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// replaceSerial makes the certificate with another serial number, which crypto/x509 would not write, and signs it again.
func replaceSerial(t testing.TB, der, serial []byte, key crypto.Signer) []byte {
	t.Helper()
	var cert struct {
		TBS       asn1.RawValue
		Algorithm asn1.RawValue
		Signature asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &cert); err != nil {
		t.Fatal(err)
	}
	in := cryptobyte.String(cert.TBS.Bytes)
	var version cryptobyte.String
	if !in.ReadASN1Element(&version, casn1.Tag(0).ContextSpecific().Constructed()) || !in.SkipASN1(casn1.INTEGER) {
		t.Fatal("no serial number")
	}
	tbs := cryptobyte.NewBuilder(nil)
	tbs.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(version)
		b.AddBytes(serial)
		b.AddBytes(in)
	})
	signature, err := crypto.SignMessage(key, rand.Reader, tbs.BytesOrPanic(), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	out := cryptobyte.NewBuilder(nil)
	out.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs.BytesOrPanic())
		b.AddBytes(cert.Algorithm.FullBytes)
		b.AddASN1BitString(signature)
	})
	return out.BytesOrPanic()
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (w *world) check(t testing.TB) []svid.Finding {
	t.Helper()
	rk, ik, lk := newKey(t), newKey(t), newKey(t)
	root := sign(t, w.root, nil, rk.Public(), rk)
	inter := sign(t, w.inter, root, ik.Public(), rk)
	leaf := sign(t, w.leaf, inter, lk.Public(), ik)
	return svid.Check(w.chain(leaf, inter, root), w.roots(root), w.now)
}

// ids are the rules that findings are about, each once, sorted.
func ids(findings []svid.Finding) []string {
	var list []string
	for _, f := range findings {
		list = append(list, f.ID)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func usage(b ...byte) []byte { return append([]byte{3, byte(len(b))}, b...) }

func TestEveryRuleIsFound(t *testing.T) {
	notCA := []byte{0x30, 0}
	broken := map[string]bool{}
	for name, c := range map[string]struct {
		change func(w *world)
		want   string
	}{
		"nothing": {func(*world) {}, ""},
		"no chain": {func(w *world) {
			w.chain = func(_, _, _ *x509.Certificate) []*x509.Certificate { return nil }
		}, "leaf"},
		"no intermediate": {func(w *world) {
			w.chain = func(l, _, _ *x509.Certificate) []*x509.Certificate { return []*x509.Certificate{l} }
		}, "path"},
		"no roots":      {func(w *world) { w.roots = func(*x509.Certificate) []*x509.Certificate { return nil } }, "path"},
		"expired":       {func(w *world) { w.now = w.now.Add(2 * time.Minute) }, "path"},
		"not yet valid": {func(w *world) { w.now = w.now.Add(-2 * time.Minute) }, "path"},
		"root constrains": {func(w *world) {
			w.root.PermittedURIDomains, w.root.PermittedDNSDomainsCritical = []string{"other"}, true
		}, "path"},
		"path too long": {func(w *world) { w.root.MaxPathLenZero = true }, "path"},

		"no URI":   {func(w *world) { w.leaf.URIs, w.leaf.Subject = nil, pkix.Name{CommonName: "web"} }, "one-uri signing-domain"},
		"two URIs": {func(w *world) { w.leaf.URIs = append(w.leaf.URIs, id("spiffe://cluster.local/a")...) }, "one-uri"},
		"two URIs of an intermediate": {func(w *world) {
			w.inter.URIs = append(w.inter.URIs, id("spiffe://other")...)
		}, "one-uri"},
		"http":                      {func(w *world) { w.leaf.san("https://cluster.local/a") }, "id-scheme signing-domain"},
		"upper scheme":              {func(w *world) { w.leaf.san("SPIFFE://cluster.local/a") }, "id-scheme signing-domain"},
		"query":                     {func(w *world) { w.leaf.san("spiffe://cluster.local/a?b") }, "id-query"},
		"fragment":                  {func(w *world) { w.leaf.san("spiffe://cluster.local/a#b") }, "id-query"},
		"no domain":                 {func(w *world) { w.leaf.san("spiffe:///a") }, "id-domain signing-domain"},
		"upper domain":              {func(w *world) { w.leaf.san("spiffe://Cluster.local/a") }, "id-domain signing-domain"},
		"port":                      {func(w *world) { w.leaf.san("spiffe://cluster.local:80/a") }, "id-authority signing-domain"},
		"user":                      {func(w *world) { w.leaf.san("spiffe://a@cluster.local/a") }, "id-authority signing-domain"},
		"percent":                   {func(w *world) { w.leaf.san("spiffe://cluster.local/a%41") }, "id-path"},
		"empty segment":             {func(w *world) { w.leaf.san("spiffe://cluster.local/a//b") }, "id-path"},
		"dots":                      {func(w *world) { w.leaf.san("spiffe://cluster.local/a/../b") }, "id-path"},
		"slash at the end":          {func(w *world) { w.leaf.san("spiffe://cluster.local/a/") }, "id-path"},
		"long ID":                   {func(w *world) { w.leaf.san("spiffe://cluster.local/" + strings.Repeat("a", 2048)) }, "id-length"},
		"no path":                   {func(w *world) { w.leaf.san("spiffe://cluster.local") }, "leaf-path"},
		"root path":                 {func(w *world) { w.leaf.san("spiffe://cluster.local/") }, "id-path leaf-path"},
		"SAN not critical":          {func(w *world) { w.leaf.san("spiffe://cluster.local/a"); w.leaf.ExtraExtensions[0].Critical = false }, "san-critical"},
		"leaf CA":                   {func(w *world) { w.leaf.IsCA = true }, "leaf-not-ca"},
		"leaf path length":          {func(w *world) { w.leaf.extra(19, true, []byte{0x30, 3, 2, 1, 0}) }, "path-length"},
		"no KU":                     {func(w *world) { w.leaf.KeyUsage = 0 }, "ku"},
		"KU not critical":           {func(w *world) { w.leaf.extra(15, false, usage(7, 0x80)) }, "ku-critical"},
		"KU of an intermediate":     {func(w *world) { w.inter.extra(15, false, usage(1, 6)) }, "ku-critical"},
		"no digital signature":      {func(w *world) { w.leaf.KeyUsage = x509.KeyUsageKeyAgreement }, "leaf-digital-signature"},
		"leaf signs certificates":   {func(w *world) { w.leaf.KeyUsage |= x509.KeyUsageCertSign }, "leaf-cert-sign"},
		"leaf signs CRLs":           {func(w *world) { w.leaf.KeyUsage |= x509.KeyUsageCRLSign }, "leaf-crl-sign"},
		"no EKU":                    {func(w *world) { w.leaf.ExtKeyUsage = nil }, "eku"},
		"one EKU":                   {func(w *world) { w.leaf.ExtKeyUsage = w.leaf.ExtKeyUsage[:1] }, "eku-both"},
		"any EKU":                   {func(w *world) { w.leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} }, "eku-both"},
		"intermediate is no CA":     {func(w *world) { w.inter.extra(19, true, notCA) }, "path signing-ca"},
		"intermediate without KU":   {func(w *world) { w.inter.KeyUsage = 0 }, "ku"},
		"intermediate may not sign": {func(w *world) { w.inter.KeyUsage = x509.KeyUsageCRLSign }, "path signing-cert-sign"},
		"root may not sign":         {func(w *world) { w.root.KeyUsage = x509.KeyUsageCRLSign }, "path"},
		"no SVID":                   {func(w *world) { w.inter.URIs = nil }, "signing-svid"},
		"root no SVID":              {func(w *world) { w.root.URIs = nil }, "signing-svid"},
		"signer with a path":        {func(w *world) { w.inter.URIs = id("spiffe://cluster.local/ca") }, "signing-no-path"},
		"signer of another domain":  {func(w *world) { w.inter.URIs = id("spiffe://other") }, "signing-domain"},
		"root of another domain":    {func(w *world) { w.root.URIs = id("spiffe://other") }, "signing-domain"},
		"signer of TLS":             {func(w *world) { w.inter.KeyUsage |= x509.KeyUsageDigitalSignature }, "signing-usage"},
		"serial zero":               {func(w *world) { w.leaf.serial = []byte{2, 1, 0} }, "serial"},
		"long serial":               {func(w *world) { w.leaf.serial = append([]byte{2, 21, 1}, make([]byte, 20)...) }, "serial"},
		"BC not critical":           {func(w *world) { w.inter.extra(19, false, []byte{0x30, 3, 1, 1, 0xff}) }, "bc-critical"},
		"no SKI": {func(w *world) {
			w.inter.IsCA = false // crypto/x509 would make one
			w.inter.extra(19, true, []byte{0x30, 3, 1, 1, 0xff})
		}, "aki ski"},
		"no AKI":         {func(w *world) { w.leaf.noAKI = true }, "aki"},
		"no issuer name": {func(w *world) { w.inter.Subject = pkix.Name{} }, "aki issuer-name"},
	} {
		w := good()
		c.change(w)
		findings := w.check(t)
		if got := strings.Join(ids(findings), " "); got != c.want {
			t.Errorf("%s: found %q, want %q:\n%v", name, got, c.want, findings)
		}
		for _, id := range ids(findings) {
			broken[id] = true
		}
	}
	for _, r := range svid.X509Rules() {
		if !broken[r.ID] {
			t.Errorf("no case breaks %s: %s", r.ID, r.Words)
		}
	}
}
