package svid

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Check gives everything in which an X.509-SVID differs from X509Rules: nothing is right. chain is the leaf and its
// intermediates, roots verify at the time now. The root that the leaf leads to is looked at too.
func Check(chain, roots []*x509.Certificate, now time.Time) []Finding {
	c := newChecker(X509Rules())
	if len(chain) == 0 {
		c.found("leaf", "chain", "it is empty")
		return c.findings
	}
	domain := c.leaf(chain[0])
	for i, s := range chain[1:] {
		c.signing(fmt.Sprintf("signing certificate %d", i+1), s, domain)
	}
	if root := c.path(chain, roots, now); root != nil {
		c.signing("root", root, domain)
	}
	return c.findings
}

type checker struct {
	rules    map[string]Rule
	findings []Finding
}

func newChecker(rules []Rule) *checker {
	c := &checker{rules: make(map[string]Rule, len(rules))}
	for _, r := range rules {
		c.rules[r.ID] = r
	}
	return c
}

func (c *checker) found(rule, at, format string, args ...any) {
	r, ok := c.rules[rule]
	if !ok {
		panic("svid: no rule " + rule)
	}
	c.findings = append(c.findings, Finding{Rule: r, At: at, Detail: fmt.Sprintf(format, args...)})
}

// leaf checks the certificate that identifies somebody, and gives its trust domain; empty when it has none.
func (c *checker) leaf(cert *x509.Certificate) (domain string) {
	const at = "leaf"
	names := uris(cert)
	if len(names) != 1 {
		c.found("one-uri", at, "it has %d", len(names))
	}
	for i, name := range names {
		d, path := c.id(at, name)
		if i == 0 {
			domain = d
		}
		if path == "" || path == "/" {
			c.found("leaf-path", at, "%.100q", name)
		}
	}
	if san, ok := extension(cert, oidSAN); ok && !san.critical && emptyName(cert.RawSubject) {
		c.found("san-critical", at, "the subject is empty and the extension not critical")
	}
	if cert.IsCA {
		c.found("leaf-not-ca", at, "it is true")
	}
	if !cert.IsCA && pathLength(cert) {
		c.found("path-length", at, "it is there, and cA is false")
	}
	if c.keyUsage(at, cert) {
		c.need("leaf-digital-signature", at, cert.KeyUsage&x509.KeyUsageDigitalSignature != 0, "it is not set")
		c.need("leaf-cert-sign", at, cert.KeyUsage&x509.KeyUsageCertSign == 0, "it is set")
		c.need("leaf-crl-sign", at, cert.KeyUsage&x509.KeyUsageCRLSign == 0, "it is set")
	}
	if _, ok := extension(cert, oidEKU); !ok {
		c.found("eku", at, "it is not there")
	} else if !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageServerAuth) || !slices.Contains(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth) {
		c.found("eku-both", at, "one is not set")
	}
	c.need("aki", at, len(cert.AuthorityKeyId) > 0, "it is not there")
	c.any(at, cert)
	return domain
}

// signing checks a certificate that signs others.
func (c *checker) signing(at string, cert *x509.Certificate, domain string) {
	switch names := uris(cert); len(names) {
	case 0:
		c.found("signing-svid", at, "it has no SPIFFE ID")
	case 1:
		d, path := c.id(at, names[0])
		c.need("signing-no-path", at, path == "", "%.100q", names[0])
		c.need("signing-domain", at, d == domain, "it is of %.100q, the leaf of %.100q", d, domain)
	default:
		c.found("one-uri", at, "it has %d", len(names))
	}
	c.need("signing-ca", at, cert.IsCA, "it is not")
	if bc, ok := extension(cert, oidBasicConstraints); cert.IsCA && ok && !bc.critical {
		c.found("bc-critical", at, "it is not critical")
	}
	if !cert.IsCA && pathLength(cert) {
		c.found("path-length", at, "it is there, and cA is false")
	}
	if c.keyUsage(at, cert) {
		c.need("signing-cert-sign", at, cert.KeyUsage&x509.KeyUsageCertSign != 0, "it is not set")
		leafs := x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment | x509.KeyUsageKeyAgreement
		c.need("signing-usage", at, cert.KeyUsage&leafs == 0, "one is set on a signing certificate")
	}
	c.need("ski", at, len(cert.SubjectKeyId) > 0, "it is not there")
	if !bytes.Equal(cert.RawIssuer, cert.RawSubject) { // a self-signed one may leave it out
		c.need("aki", at, len(cert.AuthorityKeyId) > 0, "it is not there")
	}
	c.need("issuer-name", at, !emptyName(cert.RawSubject), "it is empty")
	c.any(at, cert)
}

// any checks what all certificates have in common.
func (c *checker) any(at string, cert *x509.Certificate) {
	if n := cert.SerialNumber; n == nil || n.Sign() <= 0 || n.BitLen() > 159 { // DER of 160 bits takes 21 octets
		c.found("serial", at, "it is zero, negative or longer")
	}
}

func (c *checker) need(rule, at string, ok bool, format string, args ...any) {
	if !ok {
		c.found(rule, at, format, args...)
	}
}

// keyUsage checks that the extension is there and critical; false when it is not there.
func (c *checker) keyUsage(at string, cert *x509.Certificate) bool {
	ku, ok := extension(cert, oidKeyUsage)
	if !ok {
		c.found("ku", at, "it is not there")
		return false
	}
	c.need("ku-critical", at, ku.critical, "it is not")
	return true
}

// path verifies as RFC 5280 6 does, and gives the root that the leaf leads to; nil when there is no path.
func (c *checker) path(chain, roots []*x509.Certificate, now time.Time) *x509.Certificate {
	opts := x509.VerifyOptions{
		Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}, // rules of their own look at the leaf's
	}
	for _, r := range roots {
		opts.Roots.AddCert(r)
	}
	for _, i := range chain[1:] {
		opts.Intermediates.AddCert(i)
	}
	paths, err := chain[0].Verify(opts)
	if err != nil {
		c.found("path", "chain", "%v", err)
		return nil
	}
	root := paths[0][len(paths[0])-1]
	if slices.ContainsFunc(chain, root.Equal) {
		return nil // it was looked at as part of the chain
	}
	return root
}

func oid(last int) asn1.ObjectIdentifier { return asn1.ObjectIdentifier{2, 5, 29, last} }

// The extensions of RFC 5280 4.2.1, id-ce.
const (
	oidKeyUsage         = 15
	oidSAN              = 17
	oidBasicConstraints = 19
	oidEKU              = 37
)

type ext struct {
	critical bool
	value    []byte
}

func extension(cert *x509.Certificate, number int) (ext, bool) {
	for _, e := range cert.Extensions {
		if e.Id.Equal(oid(number)) {
			return ext{e.Critical, e.Value}, true
		}
	}
	return ext{}, false
}

// uris are the URI names as they stand in the certificate; what crypto/x509 makes of them may differ.
func uris(cert *x509.Certificate) []string {
	san, ok := extension(cert, oidSAN)
	if !ok {
		return nil
	}
	var list []string
	in := cryptobyte.String(san.value)
	var names cryptobyte.String
	if !in.ReadASN1(&names, casn1.SEQUENCE) {
		return nil
	}
	for !names.Empty() {
		var name cryptobyte.String
		var tag casn1.Tag
		if !names.ReadAnyASN1(&name, &tag) {
			return list
		}
		if tag == casn1.Tag(6).ContextSpecific() {
			list = append(list, string(name))
		}
	}
	return list
}

// pathLength tells whether basic constraints have a pathLenConstraint, which crypto/x509 forgets without cA.
func pathLength(cert *x509.Certificate) bool {
	bc, ok := extension(cert, oidBasicConstraints)
	if !ok {
		return false
	}
	in := cryptobyte.String(bc.value)
	var seq cryptobyte.String
	if !in.ReadASN1(&seq, casn1.SEQUENCE) {
		return false
	}
	if seq.PeekASN1Tag(casn1.BOOLEAN) && !seq.SkipASN1(casn1.BOOLEAN) {
		return false
	}
	return seq.PeekASN1Tag(casn1.INTEGER)
}

// emptyName tells whether a distinguished name has no part: an empty SEQUENCE.
func emptyName(raw []byte) bool { return len(raw) == 0 || bytes.Equal(raw, []byte{0x30, 0}) }

// ID gives the SPIFFE ID of a certificate, without a check of anything else.
func ID(cert *x509.Certificate) (spiffeid.ID, error) {
	names := uris(cert)
	if len(names) != 1 {
		return spiffeid.ID{}, fmt.Errorf("read SPIFFE ID: the certificate has %d URI names, one was expected", len(names))
	}
	return spiffeid.FromString(names[0])
}
