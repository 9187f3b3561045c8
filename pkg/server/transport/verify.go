package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"fairlead.io/fairlead/pkg/ca"
)

// refusal is why a handshake failed, for the metric.
type refusal string

const (
	plaintext   refusal = "plaintext"    // what came is no TLS
	version     refusal = "version"      // older than TLS 1.3
	timeout     refusal = "timeout"      // not done in time
	abandoned   refusal = "abandoned"    // the client went
	crowded     refusal = "crowded"      // too many strangers, and this was the oldest
	noAuthority refusal = "no-authority" // we have no certificate yet
	untrusted   refusal = "untrusted"    // of no root of ours
	expired     refusal = "expired"
	profile     refusal = "profile" // no SVID
	domain      refusal = "trust-domain"
	alert       refusal = "alert" // the client refused our certificate
	other       refusal = "other"
)

// refused is the error of a handshake of which the reason is known.
type refused struct {
	why refusal
	err error
}

func (r *refused) Error() string { return string(r.why) + ": " + r.err.Error() }
func (r *refused) Unwrap() error { return r.err }

// verify checks the certificate that a client has given: an SVID of our trust domain or an alias, by a root of ours, valid now.
func (t *Transport) verify(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return nil // somebody with a token, or nobody
	}
	leaf := state.PeerCertificates[0]
	id, err := x509svid.IDFromCert(leaf)
	if err != nil {
		return &refused{profile, err}
	}
	if !ca.Ours(t.cfg.TrustDomain, t.cfg.Aliases, id.TrustDomain()) {
		return &refused{domain, fmt.Errorf("%s is of neither our trust domain nor an alias", id)}
	}
	s := t.identity.current.Load()
	if s == nil {
		return &refused{noAuthority, errNoAuthority}
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{
		Roots: s.roots, Intermediates: between, CurrentTime: t.cfg.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return &refused{expired, err}
	case err != nil:
		return &refused{untrusted, err}
	}
	return nil
}

// reasonOf tells why a handshake failed.
func reasonOf(err error, c *conn) refusal {
	var known *refused
	var header tls.RecordHeaderError
	var told tls.AlertError
	switch {
	case errors.As(err, &known):
		return known.why
	case c != nil && c.evicted.Load():
		return crowded
	case c != nil && c.late.Load(), errors.Is(err, os.ErrDeadlineExceeded):
		return timeout
	case errors.As(err, &header):
		return plaintext
	case errors.Is(err, errNoAuthority):
		return noAuthority
	case errors.As(err, &told), strings.Contains(err.Error(), "remote error: tls:"):
		return alert
	case strings.Contains(err.Error(), "unsupported versions"), strings.Contains(err.Error(), "protocol version"):
		return version
	case errors.Is(err, io.EOF), errors.Is(err, errGone), errors.Is(err, net.ErrClosed), strings.Contains(err.Error(), "connection reset"):
		return abandoned
	}
	return other
}
