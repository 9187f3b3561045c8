package model

import "crypto/x509"

// TrustBundle is what certificates and tokens of one trust domain are verified with. Its Meta is made by the authority, not by
// an author: Ref is TrustBundleRef, Generation is the sequence number, UID is of the trust domain.
type TrustBundle struct {
	Meta
	// X509 are the roots, DER, in the order of their age.
	X509 [][]byte
	JWT  []JWTAuthority
	// Sequence grows whenever the bundle changes (SPIFFE Trust Domain and Bundle 4.1, "spiffe_sequence").
	Sequence uint64
	// Signing is the authority that signs; empty for a federated trust domain.
	Signing string
	// Local is set for our own trust domain and its aliases.
	Local bool
}

// JWTAuthority is a public key of JWT-SVIDs: PKIX, DER.
type JWTAuthority struct {
	KeyID     string
	PublicKey []byte
}

// TrustBundleKind is the Kind of a TrustBundle. No API server knows it.
const TrustBundleKind = "TrustBundle"

// TrustBundleRef names the bundle of a trust domain.
func TrustBundleRef(trustDomain string) Ref {
	return Ref{Group: Group, Kind: TrustBundleKind, Name: trustDomain}
}

// Faults tells which of the roots are none: a message each.
func (b *TrustBundle) Faults() []string {
	var out []string
	for _, der := range b.X509 {
		if _, err := x509.ParseCertificate(der); err != nil {
			out = append(out, "a root is no certificate: "+err.Error())
		}
	}
	if len(b.X509) == 0 && len(b.JWT) == 0 {
		out = append(out, "there is nothing to verify with")
	}
	return out
}
