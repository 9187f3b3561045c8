package authority

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"net/url"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// RootLifetime is how long a generated root is valid. It is long, because what ends it is a rotation, not its date.
const RootLifetime = 10 * 365 * 24 * time.Hour

// rootBackdate is more than Config.Backdate, so that no certificate begins before its root.
const rootBackdate = time.Hour

// Where a Generation came from.
const (
	Generated = "generated"
	Mounted   = "mounted"
)

// Generate makes a self-signed authority for the trust domain, with a new ECDSA P-256 key: a root that signs leaves only, valid
// for RootLifetime, whose SPIFFE ID is the trust domain's (X509-SVID 4.1: a signing certificate has an ID without a path).
func Generate(td spiffeid.TrustDomain, now time.Time) (Generation, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Generation{}, fmt.Errorf("generate authority: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return Generation{}, fmt.Errorf("generate authority: %w", err)
	}
	ski, err := subjectKeyID(key.Public())
	if err != nil {
		return Generation{}, fmt.Errorf("generate authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: new(big.Int).SetBytes(serial[:]),
		// RFC 5280 4.1.2.6: an issuer has a name. It differs from generation to generation, so that verifiers which look for
		// issuers by name find the right one at once.
		Subject:               pkix.Name{Organization: []string{"Fairlead"}, CommonName: td.Name() + " " + hex.EncodeToString(ski[:4])},
		NotBefore:             now.Add(-rootBackdate).UTC().Truncate(time.Second),
		NotAfter:              now.Add(RootLifetime).UTC().Truncate(time.Second),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
		SubjectKeyId:          ski,
		URIs:                  []*url.URL{td.ID().URL()},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Generation{}, fmt.Errorf("generate authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return Generation{}, fmt.Errorf("generate authority: %w", err)
	}
	return Generation{
		ID: GenerationID(cert), Issuer: cert, Roots: []*x509.Certificate{cert},
		Key: Seal(key), Source: Generated, Created: now.UTC().Truncate(time.Second),
	}, nil
}

// GenerationID is the ID of the generation whose issuer is cert: see Generation.ID.
func GenerationID(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:8])
}

// newSerial gives a random number of 128 bits, which is positive and takes 16 octets (RFC 5280 4.1.2.2 allows 20): the highest bit
// is clear, so that DER needs no octet more, and the next is set, so that it is never zero.
func newSerial() (b [16]byte, err error) {
	if _, err := rand.Read(b[:]); err != nil {
		return b, fmt.Errorf("make serial number: %w", err)
	}
	b[0] = b[0]&0x7f | 0x40
	return b, nil
}

// pointP256 is the beginning of every SubjectPublicKeyInfo of P-256 (RFC 5480): id-ecPublicKey, prime256v1, an uncompressed point.
var pointP256 = []byte{
	0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
	0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
}

// encodeKey gives a SubjectPublicKeyInfo, as x509.MarshalPKIXPublicKey does, and its key identifier.
func encodeKey(pub crypto.PublicKey) (spki, id []byte, err error) {
	if id, err = subjectKeyID(pub); err != nil {
		return nil, nil, err
	}
	if k, ok := pub.(*ecdsa.PublicKey); ok && k.Curve == elliptic.P256() {
		point, err := k.Bytes()
		return slices.Concat(pointP256, point), id, err
	}
	spki, err = x509.MarshalPKIXPublicKey(pub)
	return spki, id, err
}

// subjectKeyID is RFC 7093 2(1): the leftmost 160 bits of the SHA-256 of what the BIT STRING of the public key holds.
func subjectKeyID(pub crypto.PublicKey) ([]byte, error) {
	var bits []byte
	switch k := pub.(type) {
	case *ecdsa.PublicKey:
		b, err := k.Bytes()
		if err != nil {
			return nil, fmt.Errorf("encode public key: %w", err)
		}
		bits = b
	case ed25519.PublicKey:
		bits = k
	case *rsa.PublicKey:
		bits = x509.MarshalPKCS1PublicKey(k)
	default:
		return nil, fmt.Errorf("encode public key: unknown type %T", pub)
	}
	sum := sha256.Sum256(bits)
	return sum[:20], nil
}
