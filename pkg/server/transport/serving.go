package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"fairlead.io/fairlead/pkg/ca/authority"
)

// serving is our own certificate, and what others' are verified with.
type serving struct {
	cert  tls.Certificate
	roots *x509.CertPool
	// signing is the authority of the certificate, half when it is replaced.
	signing string
	half    time.Time
}

// errNoAuthority is the state of a replica that has not read its authority yet.
var errNoAuthority = errors.New("there is no certificate to serve yet")

// identity keeps a certificate of ours fresh.
type identity struct {
	cfg     *Config
	current atomic.Pointer[serving]
}

// run signs a certificate when there is none, at half its life, and when another authority signs, until ctx ends. What
// verifies follows every change.
func (i *identity) run(ctx context.Context) {
	retry := time.Second
	for ctx.Err() == nil {
		changed := i.cfg.Authority.Changed()
		next, err := i.refresh()
		wait := retry
		switch {
		case err != nil && !errors.Is(err, authority.ErrNone):
			i.cfg.Log.Warn("cannot renew the certificate that is served; trying again", "error", err)
			retry = min(2*retry, time.Minute)
		case err == nil:
			retry = time.Second
			wait = max(next.Sub(i.cfg.Now()), time.Millisecond)
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-t.C:
		}
		t.Stop()
	}
}

// refresh brings the certificate up to the state of the authority, and tells when to look again.
func (i *identity) refresh() (time.Time, error) {
	state, was := i.cfg.Authority.State(), i.current.Load()
	roots := pool(state)
	if was != nil && was.signing == state.Signing && i.cfg.Now().Before(was.half) {
		next := *was
		next.roots = roots
		i.current.Store(&next)
		return was.half, nil
	}
	next, err := i.sign(state)
	if err != nil {
		if was != nil { // the old one is better than none, but who is trusted is not a matter of it
			kept := *was
			kept.roots = roots
			i.current.Store(&kept)
		}
		return time.Time{}, err
	}
	next.roots = roots
	i.current.Store(next)
	i.cfg.Log.Info("certificate for the TLS port", "identity", i.cfg.Server.String(), "authority", next.signing, "until", next.cert.Leaf.NotAfter)
	return next.half, nil
}

func (i *identity) sign(state authority.State) (*serving, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	svid, err := i.cfg.Authority.SignX509(authority.X509Template{ID: i.cfg.Server, PublicKey: &key.PublicKey, TTL: i.cfg.TTL, DNSNames: i.cfg.DNS})
	if err != nil {
		return nil, err
	}
	out := &serving{cert: tls.Certificate{PrivateKey: key, Leaf: svid.Chain[0]}, signing: svid.Authority}
	out.cert.Certificate = append(out.cert.Certificate, svid.Raw...)
	// A client that knows only the hash of a root finds the root here.
	if g, ok := state.Generation(svid.Authority); ok {
		for _, r := range g.Roots {
			out.cert.Certificate = append(out.cert.Certificate, r.Raw)
		}
	}
	now := i.cfg.Now()
	out.half = now.Add(svid.NotAfter.Sub(now) / 2)
	return out, nil
}

// tls is the configuration of the port. TLS 1.3 is what Envoy, ztunnel, istio-agent and gRPC speak; a ticket would let a
// client in again by what was believed of it once.
func (i *identity) tls(verify func(tls.ConnectionState) error) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			s := i.current.Load()
			if s == nil {
				return nil, errNoAuthority
			}
			return &s.cert, nil
		},
		// No hint of what we trust is sent: a client would hide what does not fit, and look like nobody.
		ClientAuth:             tls.RequestClientCert,
		VerifyConnection:       verify,
		SessionTicketsDisabled: true,
	}
}
