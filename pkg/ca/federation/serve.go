// Package federation exchanges trust bundles with other trust domains: it serves ours at a SPIFFE bundle endpoint, and fetches
// those of others (SPIFFE Federation).
//
//	authority ─► Handler ─► others            others' endpoints ─► Consumer ─► TrustBundle ─► table → … → push → agents
//
// See package ca for the line on which it stands.
package federation

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Own gives the bundle of our trust domain (*authority.Authority).
type Own interface {
	Bundle() *spiffebundle.Bundle
}

// The paths of a Handler.
const (
	BundlePath    = "/bundle"
	KeysPath      = "/keys"
	DiscoveryPath = "/.well-known/openid-configuration"
)

// Handler serves our bundle (SPIFFE Federation 5), the keys of JWT-SVIDs as a JWKS for those who know OIDC and not SPIFFE, and,
// when issuer (an https URL) is given, the discovery document that leads to them. Our JWT-SVIDs have no "iss": a verifier that
// wants one cannot use them.
func Handler(td spiffeid.TrustDomain, own Own, issuer string) (http.Handler, error) {
	bundle, err := federation.NewHandler(td, source{td, own})
	if err != nil {
		return nil, fmt.Errorf("serve bundle: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+BundlePath, bundle)
	mux.HandleFunc("GET "+KeysPath, func(w http.ResponseWriter, _ *http.Request) {
		reply(w, keys(own.Bundle()))
	})
	if issuer != "" {
		issuer = strings.TrimSuffix(issuer, "/")
		if !strings.HasPrefix(issuer, "https://") {
			return nil, fmt.Errorf("serve keys: issuer %q is no https URL", issuer)
		}
		mux.HandleFunc("GET "+DiscoveryPath, func(w http.ResponseWriter, _ *http.Request) {
			reply(w, map[string]any{
				"issuer": issuer, "jwks_uri": issuer + KeysPath, "response_types_supported": []string{"id_token"},
				"subject_types_supported": []string{"public"}, "id_token_signing_alg_values_supported": []string{"ES256"},
			})
		})
	}
	return mux, nil
}

type source struct {
	td  spiffeid.TrustDomain
	own Own
}

// GetBundleForTrustDomain implements spiffebundle.Source.
func (s source) GetBundleForTrustDomain(td spiffeid.TrustDomain) (*spiffebundle.Bundle, error) {
	b := s.own.Bundle()
	if td != s.td || b.Empty() {
		return nil, errors.New("there is no bundle yet")
	}
	return b, nil
}

// keys are the public keys of JWT-SVIDs alone.
func keys(b *spiffebundle.Bundle) jose.JSONWebKeySet {
	set := jose.JSONWebKeySet{Keys: []jose.JSONWebKey{}}
	for id, key := range b.JWTAuthorities() {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: key, KeyID: id, Algorithm: string(jose.ES256), Use: "sig"})
	}
	return set
}

func reply(w http.ResponseWriter, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "cannot write the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(data) // the client has gone
}

// NewServer serves a Handler by TLS 1.2 or later, with limits for what strangers may take of it. certificate is of an SVID of ours
// (profile https_spiffe) or a CertificateFile (https_web).
func NewServer(h http.Handler, certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error), log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: certificate},
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 5 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 30 * time.Second,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Serve answers on a listener until the server is closed.
func Serve(s *http.Server, lis net.Listener) error {
	if err := s.ServeTLS(lis, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// CertificateFile gives the certificate of two PEM files, read again when either is another. One that cannot be read does not
// replace the one before.
type CertificateFile struct {
	certificate, key string
	log              *slog.Logger

	mu    sync.Mutex // guards what follows
	stamp [2]stamp
	last  *tls.Certificate
}

// stamp tells two contents of a file apart.
type stamp struct {
	at   time.Time
	size int64
}

// NewCertificateFile reads the files for the first time.
func NewCertificateFile(certificate, key string, log *slog.Logger) (*CertificateFile, error) {
	f := &CertificateFile{certificate: certificate, key: key, log: log}
	if _, err := f.GetCertificate(nil); err != nil {
		return nil, err
	}
	return f, nil
}

// GetCertificate is one of a tls.Config.
func (f *CertificateFile) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := [2]stamp{stampOf(f.certificate), stampOf(f.key)}
	if f.last != nil && now == f.stamp {
		return f.last, nil
	}
	c, err := tls.LoadX509KeyPair(f.certificate, f.key)
	switch {
	case err == nil:
		f.last, f.stamp = &c, now
	case f.last == nil:
		return nil, fmt.Errorf("read certificate of the bundle endpoint: %w", err)
	default:
		// Perhaps one of the two is about to be replaced as well: the next handshake looks again.
		f.log.Warn("the certificate of the bundle endpoint cannot be read; going on with the last one", "error", err)
	}
	return f.last, nil
}

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info.ModTime(), info.Size()}
}
