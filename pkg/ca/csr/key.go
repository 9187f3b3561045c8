package csr

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
)

const minRSA, maxRSA = 2048, 8192 // bits

// signatures are what a proof of possession may be made with.
var signatures = []x509.SignatureAlgorithm{
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519,
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA,
	x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
}

// readKey reads a SubjectPublicKeyInfo.
func readKey(spki []byte) (any, error) {
	key, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, refuse(UnsupportedKey, "%v", err)
	}
	return key, nil
}

// judge refuses a key that is weak, or not of a kind that everybody speaks.
func judge(key any) error {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		if k.Curve != elliptic.P256() && k.Curve != elliptic.P384() {
			return refuse(UnsupportedKey, "ECDSA on %s; use P-256 or P-384", k.Curve.Params().Name)
		}
	case ed25519.PublicKey:
	case *rsa.PublicKey:
		bits := k.N.BitLen()
		if bits < minRSA {
			return refuse(WeakKey, "RSA of %d bits; use %d or more", bits, minRSA)
		}
		if bits > maxRSA {
			return refuse(UnsupportedKey, "RSA of %d bits; use %d or fewer", bits, maxRSA)
		}
		if k.E < 1<<16+1 || k.E&1 == 0 || k.N.Bit(0) == 0 {
			return refuse(WeakKey, "RSA with exponent %d; use 65537", k.E)
		}
	default:
		return refuse(UnsupportedKey, "a key of type %T", key)
	}
	return nil
}
