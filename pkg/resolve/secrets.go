package resolve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// minRSA is the shortest RSA key that Envoy loads, in bits.
const minRSA = 2048

// CheckKeyPair tells why a PEM certificate chain and its PEM key cannot be served. It refuses what Envoy refuses, so that
// one bad Secret is named on its user's object instead of rejecting a whole response.
func CheckKeyPair(cert, key []byte) error {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return errors.New(plain(err))
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return fmt.Errorf("parse certificate: %s", plain(err))
	}
	switch pub := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := pub.N.BitLen(); n < minRSA {
			return fmt.Errorf("the RSA key has %d bits; at least %d are needed", n, minRSA)
		}
	case *ecdsa.PublicKey:
		if c := pub.Curve; c != elliptic.P256() && c != elliptic.P384() && c != elliptic.P521() {
			return fmt.Errorf("the curve %s is not supported; use P-256, P-384 or P-521", c.Params().Name)
		}
	}
	return nil
}

// CheckCABundle tells why a PEM bundle cannot be used to verify certificates. Text around the blocks is allowed.
func CheckCABundle(bundle []byte) error {
	n := 0
	for rest := bundle; ; n++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("block %d is a %s; only CERTIFICATE blocks belong into a CA bundle", n+1, block.Type)
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return fmt.Errorf("block %d: parse certificate: %s", n+1, plain(err))
		}
	}
	if n == 0 {
		return errors.New("no PEM block of type CERTIFICATE is in it")
	}
	return nil
}

// plain drops the package prefixes of the standard library's errors: the message is for the author of a Secret.
func plain(err error) string {
	s := err.Error()
	for _, p := range []string{"tls: ", "x509: ", "asn1: "} {
		s = strings.TrimPrefix(s, p)
	}
	return s
}
