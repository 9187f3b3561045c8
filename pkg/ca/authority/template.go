package authority

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// leaf is an X.509-SVID before it is signed (SPIFFE X509-SVID 3 and 4, RFC 5280 4.2). The subject is empty, so the subject
// alternative names are critical: go-spiffe, Envoy and ztunnel read the identity there and nowhere else.
func (a *Authority) leaf(t X509Template, by *issuer, now time.Time) (*x509.Certificate, error) {
	switch {
	case t.ID.IsZero():
		return nil, errors.New("no SPIFFE ID")
	case t.ID.TrustDomain() != a.cfg.TrustDomain:
		return nil, errors.New("the SPIFFE ID is of trust domain " + t.ID.TrustDomain().Name() + ", the authority of " + a.cfg.TrustDomain.Name())
	case t.ID.Path() == "":
		return nil, errors.New("the SPIFFE ID has no path: it names the authority")
	case t.TTL < time.Second:
		return nil, errors.New("the TTL is less than a second")
	}
	if len(t.ID.String()) > maxID {
		return nil, errors.New("the SPIFFE ID is longer than 2048 bytes")
	}
	for _, name := range t.DNSNames {
		if !dnsName(name) {
			return nil, fmt.Errorf("%.80q is no DNS name", name)
		}
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	ski, err := subjectKeyID(t.PublicKey)
	if err != nil {
		return nil, err
	}
	usage := x509.KeyUsageDigitalSignature
	if _, ok := t.PublicKey.(*rsa.PublicKey); ok {
		usage |= x509.KeyUsageKeyEncipherment
	}
	return &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             latest(now.Add(-a.cfg.Backdate), by.begin),
		NotAfter:              earliest(now.Add(t.TTL), by.end),
		KeyUsage:              usage,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		SubjectKeyId:          ski,
		URIs:                  []*url.URL{t.ID.URL()},
		DNSNames:              t.DNSNames,
	}, nil
}

// maxID is the length that every implementation takes (SPIFFE-ID 2.3).
const maxID = 2048

// dnsName tells whether a name may stand in a certificate: letters, digits, hyphens and dots, in labels, no wildcard.
func dnsName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return false
			}
		}
	}
	return true
}

func latest(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
