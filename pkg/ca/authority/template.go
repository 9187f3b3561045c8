package authority

import (
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"net/url"
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
