package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Why certificates are not made by x509.CreateCertificate: it verifies each signature that it has just made, which takes half of its
// time, and encodes by reflection what never changes here. So the part to be signed is built here, byte for byte as
// CreateCertificate builds it, which a test and a fuzzer hold; and the signature is made by the same crypto.SignMessage.
// For the same reason it is not read again: SignX509 does that for those who need it as crypto/x509 has it.
// What the verification was for is covered otherwise: a key that does not fit its certificate, or that signs wrongly, is found
// when a generation is made ready (algorithm.try); RSA verifies in itself; ECDSA takes fresh randomness for each signature, and
// no serial number comes twice, so that a fault in a computation says nothing of the key; and the agent verifies what it gets.

// algorithm is how an issuer signs.
type algorithm struct {
	identifier []byte // AlgorithmIdentifier, DER
	opts       crypto.SignerOpts
	x509       x509.SignatureAlgorithm
}

// newAlgorithm chooses as x509.CreateCertificate does.
func newAlgorithm(pub crypto.PublicKey) (algorithm, error) {
	id := pkix.AlgorithmIdentifier{}
	a := algorithm{}
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			id.Algorithm, a.opts, a.x509 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, crypto.SHA256, x509.ECDSAWithSHA256
		case 384:
			id.Algorithm, a.opts, a.x509 = asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, crypto.SHA384, x509.ECDSAWithSHA384
		default:
			return a, errors.New("an issuer's ECDSA key must be of P-256 or P-384")
		}
	case ed25519.PublicKey:
		id.Algorithm, a.opts, a.x509 = asn1.ObjectIdentifier{1, 3, 101, 112}, crypto.Hash(0), x509.PureEd25519
	case *rsa.PublicKey:
		id.Algorithm, a.opts, a.x509 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, crypto.SHA256, x509.SHA256WithRSA
		id.Parameters = asn1.NullRawValue
	default:
		return a, fmt.Errorf("an issuer's key is of unknown type %T", pub)
	}
	der, err := asn1.Marshal(id)
	a.identifier = der
	return a, err
}

// try makes a signature and has the issuer's certificate verify it.
func (a algorithm) try(ca *x509.Certificate, key crypto.Signer) error {
	message := []byte("fairlead: does this key sign for its certificate?")
	signature, err := crypto.SignMessage(key, rand.Reader, message, a.opts)
	if err != nil {
		return fmt.Errorf("the issuer's key does not sign: %w", err)
	}
	if err := ca.CheckSignature(a.x509, message, signature); err != nil {
		return fmt.Errorf("the issuer's key does not sign for its certificate: %w", err)
	}
	return nil
}

// leaf is an X.509-SVID before it is encoded.
type leaf struct {
	serial              [16]byte // positive, without leading zeros
	notBefore, notAfter time.Time
	encipherment        bool
	spki, subjectKeyID  []byte
	id                  string
	dnsNames            []string
}

// encoded are the parts of all leaves of an issuer that are the same.
type encoded struct {
	names       []byte // AlgorithmIdentifier and issuer
	usages      []byte // the extensions that come first: key usage, extended key usage, basic constraints
	rsaUsages   []byte // the same for a key that can encipher
	authorityID []byte // the extension authority key identifier; empty where the issuer has none
}

func (i *issuer) encode() (e encoded, err error) {
	e.names = append(append(e.names, i.algorithm.identifier...), i.ca.RawSubject...)
	for _, one := range []struct {
		into *[]byte
		add  func(*cryptobyte.Builder)
	}{
		{&e.usages, func(b *cryptobyte.Builder) { addUsages(b, []byte{3, 2, 7, 0x80}) }},    // BIT STRING: digitalSignature
		{&e.rsaUsages, func(b *cryptobyte.Builder) { addUsages(b, []byte{3, 2, 5, 0xa0}) }}, // and keyEncipherment
		{&e.authorityID, i.addAuthorityKeyID},
	} {
		b := cryptobyte.NewBuilder(nil)
		one.add(b)
		if *one.into, err = b.Bytes(); err != nil {
			return e, err
		}
	}
	return e, nil
}

// certificate signs a leaf: DER of RFC 5280 4.1.
func (i *issuer) certificate(l *leaf) ([]byte, error) {
	tbs, err := i.tbs(l)
	if err != nil {
		return nil, err
	}
	signature, err := crypto.SignMessage(i.key, rand.Reader, tbs, i.algorithm.opts)
	if err != nil {
		return nil, err
	}
	b := cryptobyte.NewBuilder(make([]byte, 0, len(tbs)+len(signature)+64))
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes(tbs)
		b.AddBytes(i.algorithm.identifier)
		b.AddASN1BitString(signature)
	})
	return b.Bytes()
}

// tbs is the part of a leaf that is signed.
func (i *issuer) tbs(l *leaf) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, len(l.spki)+len(i.encoded.names)+len(l.id)+384))
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes([]byte{0xa0, 3, 2, 1, 2}) // [0] INTEGER 2: v3
		b.AddBytes([]byte{2, byte(len(l.serial))})
		b.AddBytes(l.serial[:])
		b.AddBytes(i.encoded.names)
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			addTime(b, l.notBefore)
			addTime(b, l.notAfter)
		})
		b.AddBytes([]byte{0x30, 0}) // no subject
		b.AddBytes(l.spki)
		b.AddASN1(casn1.Tag(3).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) { i.addExtensions(b, l) })
		})
	})
	return b.Bytes()
}

// addTime is RFC 5280 4.1.2.5: UTCTime until 2049.
func addTime(b *cryptobyte.Builder, t time.Time) {
	if t = t.UTC(); t.Year() < 2050 {
		b.AddASN1UTCTime(t)
		return
	}
	b.AddASN1GeneralizedTime(t)
}

// addExtensions is RFC 5280 4.2.1, in the order of crypto/x509.
func (i *issuer) addExtensions(b *cryptobyte.Builder, l *leaf) {
	if l.encipherment {
		b.AddBytes(i.encoded.rsaUsages)
	} else {
		b.AddBytes(i.encoded.usages)
	}
	addExtension(b, 14, false, func(b *cryptobyte.Builder) { b.AddASN1OctetString(l.subjectKeyID) })
	b.AddBytes(i.encoded.authorityID)
	addExtension(b, 17, true, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for _, name := range l.dnsNames {
				b.AddASN1(casn1.Tag(2).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
			}
			b.AddASN1(casn1.Tag(6).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes([]byte(l.id)) })
		})
	})
}

// addUsages adds the extensions that say what a leaf is for.
func addUsages(b *cryptobyte.Builder, keyUsage []byte) {
	addExtension(b, 15, true, func(b *cryptobyte.Builder) { b.AddBytes(keyUsage) })
	addExtension(b, 37, false, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 1}) // serverAuth
			b.AddASN1ObjectIdentifier(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 2}) // clientAuth
		})
	})
	addExtension(b, 19, true, func(b *cryptobyte.Builder) { b.AddASN1(casn1.SEQUENCE, func(*cryptobyte.Builder) {}) }) // CA:false
}

func (i *issuer) addAuthorityKeyID(b *cryptobyte.Builder) {
	if len(i.ca.SubjectKeyId) == 0 {
		return
	}
	addExtension(b, 35, false, func(b *cryptobyte.Builder) {
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.Tag(0).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(i.ca.SubjectKeyId) })
		})
	})
}

// addExtension adds id-ce <number>.
func addExtension(b *cryptobyte.Builder, number byte, critical bool, value cryptobyte.BuilderContinuation) {
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddBytes([]byte{6, 3, 0x55, 0x1d, number})
		if critical {
			b.AddASN1Boolean(true)
		}
		b.AddASN1(casn1.OCTET_STRING, value)
	})
}
