package csr

import (
	"encoding/asn1"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	tag "golang.org/x/crypto/cryptobyte/asn1"
)

var (
	oidExtensionRequest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 14}
	oidSubjectAltName   = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidBasicConstraints = asn1.ObjectIdentifier{2, 5, 29, 19}
	oidKeyUsage         = asn1.ObjectIdentifier{2, 5, 29, 15}
	oidExtKeyUsage      = asn1.ObjectIdentifier{2, 5, 29, 37}
	oidSubjectKeyID     = asn1.ObjectIdentifier{2, 5, 29, 14}
)

// wanted is what a request asks for beside its key.
type wanted struct {
	uri string
	dns []string
}

// scan walks a request before crypto/x509 reads it, because that one passes over names it does not know (otherName), takes a
// NUL for a character, and does not say what it stumbles over. It gives the SubjectPublicKeyInfo and what is asked.
func scan(der []byte) (spki []byte, w wanted, err error) {
	in := cryptobyte.String(der)
	var request, info, subject, key, attributes cryptobyte.String
	var version int
	if !in.ReadASN1(&request, tag.SEQUENCE) || !in.Empty() ||
		!request.ReadASN1(&info, tag.SEQUENCE) || !info.ReadASN1Integer(&version) ||
		!info.ReadASN1(&subject, tag.SEQUENCE) || !info.ReadASN1Element(&key, tag.SEQUENCE) {
		return nil, w, refuse(Malformed, "not a PKCS #10 request")
	}
	hasAttributes := false
	if !info.ReadOptionalASN1(&attributes, &hasAttributes, tag.Tag(0).ContextSpecific().Constructed()) || !info.Empty() {
		return nil, w, refuse(Malformed, "attributes cannot be read")
	}
	asked := false
	for !attributes.Empty() {
		var attribute, values cryptobyte.String
		var oid asn1.ObjectIdentifier
		if !attributes.ReadASN1(&attribute, tag.SEQUENCE) || !attribute.ReadASN1ObjectIdentifier(&oid) ||
			!attribute.ReadASN1(&values, tag.SET) || !attribute.Empty() {
			return nil, w, refuse(Malformed, "an attribute cannot be read")
		}
		if !oid.Equal(oidExtensionRequest) {
			continue // a challenge password, for example: it asks for nothing
		}
		if asked {
			return nil, w, refuse(DuplicateExtension, "two requests of extensions")
		}
		asked = true
		if err := w.extensions(values); err != nil {
			return nil, w, err
		}
	}
	return key, w, nil
}

// extensions reads the one value of an extensionRequest (RFC 2985 section 5.4.2).
func (w *wanted) extensions(values cryptobyte.String) error {
	var list cryptobyte.String
	if !values.ReadASN1(&list, tag.SEQUENCE) || !values.Empty() {
		return refuse(Malformed, "extensions cannot be read")
	}
	seen := map[string]bool{}
	for !list.Empty() {
		var extension, value cryptobyte.String
		var oid asn1.ObjectIdentifier
		critical := false
		if !list.ReadASN1(&extension, tag.SEQUENCE) || !extension.ReadASN1ObjectIdentifier(&oid) ||
			!readFlag(&extension, &critical) ||
			!extension.ReadASN1(&value, tag.OCTET_STRING) || !extension.Empty() {
			return refuse(Malformed, "an extension cannot be read")
		}
		if seen[oid.String()] {
			return refuse(DuplicateExtension, "extension %s is there twice", oid)
		}
		seen[oid.String()] = true
		if err := w.extension(oid, critical, value); err != nil {
			return err
		}
	}
	return nil
}

func (w *wanted) extension(oid asn1.ObjectIdentifier, critical bool, value cryptobyte.String) error {
	switch {
	case oid.Equal(oidSubjectAltName):
		return w.names(value)
	case oid.Equal(oidBasicConstraints):
		return basicConstraints(value)
	case oid.Equal(oidKeyUsage):
		return keyUsage(value)
	case oid.Equal(oidExtKeyUsage), oid.Equal(oidSubjectKeyID): // the authority writes its own
	case critical:
		return refuse(CriticalExtension, "critical extension %s", oid)
	}
	return nil
}

// readFlag reads a BOOLEAN that is false by default.
func readFlag(s *cryptobyte.String, out *bool) bool {
	return !s.PeekASN1Tag(tag.BOOLEAN) || s.ReadASN1Boolean(out)
}

func basicConstraints(value cryptobyte.String) error {
	var c cryptobyte.String
	isCA := false
	if !value.ReadASN1(&c, tag.SEQUENCE) || !value.Empty() || !readFlag(&c, &isCA) {
		return refuse(Malformed, "basic constraints cannot be read")
	}
	if isCA {
		return refuse(AsksCA, "basic constraints with CA:true")
	}
	return nil
}

func keyUsage(value cryptobyte.String) error {
	var bits asn1.BitString
	if !value.ReadASN1BitString(&bits) || !value.Empty() {
		return refuse(Malformed, "key usage cannot be read")
	}
	const keyCertSign, cRLSign = 5, 6 // RFC 5280 section 4.2.1.3
	if bits.At(keyCertSign) != 0 || bits.At(cRLSign) != 0 {
		return refuse(AsksCertSign, "key usage with keyCertSign or cRLSign")
	}
	return nil
}

// names reads the subject alternative names (RFC 5280 section 4.2.1.6).
func (w *wanted) names(value cryptobyte.String) error {
	var list cryptobyte.String
	if !value.ReadASN1(&list, tag.SEQUENCE) || !value.Empty() {
		return refuse(Malformed, "subject alternative names cannot be read")
	}
	const email, dns, uri, ip = 1, 2, 6, 7
	for n := 0; !list.Empty(); n++ {
		var name cryptobyte.String
		var t tag.Tag
		if n == maxNames || !list.ReadAnyASN1(&name, &t) {
			return refuse(Malformed, "subject alternative name %d cannot be read, or is one too many", n+1)
		}
		switch t {
		case tag.Tag(email).ContextSpecific():
			return refuse(Email, "email address %.300q", []byte(name))
		case tag.Tag(ip).ContextSpecific():
			return refuse(IPAddress, "IP address % .40x", []byte(name))
		case tag.Tag(dns).ContextSpecific():
			if !printable(name) {
				return refuse(NameEncoding, "DNS name %.300q", []byte(name))
			}
			w.dns = append(w.dns, string(name))
		case tag.Tag(uri).ContextSpecific():
			if !printable(name) {
				return refuse(NameEncoding, "URI %.300q", []byte(name))
			}
			if w.uri != "" {
				return refuse(SecondURI, "URI %.300q beside %.300q", []byte(name), w.uri)
			}
			w.uri = string(name)
		default:
			return refuse(OtherName, "a name of tag %d", t&0x1f)
		}
	}
	return nil
}

// printable tells whether a name is one or more visible ASCII characters.
func printable(name []byte) bool {
	return len(name) > 0 && !slices.ContainsFunc(name, func(c byte) bool { return c <= ' ' || c > '~' })
}
