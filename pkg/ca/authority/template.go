package authority

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"strings"
	"time"
)

// leaf decides what an X.509-SVID says (SPIFFE X509-SVID 3 and 4, RFC 5280 4.2). The subject is empty, so the subject
// alternative names are critical: go-spiffe, Envoy and ztunnel read the identity there and nowhere else.
func (a *Authority) leaf(t X509Template, by *issuer, now time.Time) (*leaf, error) {
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
	spki, ski, err := encodeKey(t.PublicKey)
	if err != nil {
		return nil, err
	}
	_, isRSA := t.PublicKey.(*rsa.PublicKey)
	return &leaf{
		serial: serial,
		// What is encoded has no fractions of a second.
		notBefore:    latest(now.Add(-a.cfg.Backdate), by.begin).UTC().Truncate(time.Second),
		notAfter:     earliest(now.Add(t.TTL), by.end).UTC().Truncate(time.Second),
		encipherment: isRSA,
		spki:         spki, subjectKeyID: ski,
		id: t.ID.String(), dnsNames: t.DNSNames,
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
