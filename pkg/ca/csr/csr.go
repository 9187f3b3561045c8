// Package csr reads certificate signing requests of strangers: a public key with a proof of possession, and nothing that could
// smuggle another name into a certificate.
//
// See package ca for the line on which it stands.
package csr

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	// MaxDER and MaxPEM bound a request before anything of it is read, in bytes.
	MaxDER = 16 << 10
	MaxPEM = MaxDER/48*65 + 256
	// maxNames bounds the subject alternative names.
	maxNames = 64
)

// Reason is why a request is refused: a closed set, for metrics, audit and tests.
type Reason string

const (
	Oversized          Reason = "csr-oversized"
	Malformed          Reason = "csr-malformed"
	BrokenSignature    Reason = "csr-signature"
	WeakSignature      Reason = "csr-signature-algorithm"
	UnsupportedKey     Reason = "csr-key-unsupported"
	WeakKey            Reason = "csr-key-weak"
	AsksCA             Reason = "csr-asks-ca"
	AsksCertSign       Reason = "csr-asks-cert-sign"
	CriticalExtension  Reason = "csr-critical-extension"
	DuplicateExtension Reason = "csr-duplicate-extension"
	SecondURI          Reason = "csr-second-uri"
	OtherURI           Reason = "csr-uri"
	DNSName            Reason = "csr-dns"
	Email              Reason = "csr-email"
	IPAddress          Reason = "csr-ip"
	OtherName          Reason = "csr-other-name"
	NameEncoding       Reason = "csr-name-encoding"
)

// Error is a refusal. Detail is for the log: it quotes the request, so it is not for metrics.
type Error struct {
	Reason Reason
	Detail string
}

func (e *Error) Error() string {
	return "read certificate request: " + string(e.Reason) + ": " + e.Detail
}

func refuse(r Reason, format string, args ...any) error {
	return &Error{r, fmt.Sprintf(format, args...)}
}

// Request is a request that has proved possession of an acceptable key.
type Request struct {
	// PublicKey is *ecdsa.PublicKey (P-256, P-384), ed25519.PublicKey or *rsa.PublicKey (2048 to 8192 bits).
	PublicKey any
	// URI and DNSNames are the subject alternative names that are asked; URI is "" without one.
	URI      string
	DNSNames []string
}

// ParseDER reads a PKCS #10 request (RFC 2986). Errors are *Error.
func ParseDER(der []byte) (*Request, error) {
	if len(der) > MaxDER {
		return nil, refuse(Oversized, "%d bytes are more than %d", len(der), MaxDER)
	}
	spki, wanted, err := scan(der)
	if err != nil {
		return nil, err
	}
	parsed, err := x509.ParseCertificateRequest(der)
	if err != nil {
		if _, err := readKey(spki); err != nil {
			return nil, err // it was the key
		}
		return nil, refuse(Malformed, "%v", err)
	}
	key := parsed.PublicKey
	if key == nil { // crypto/x509 does not know the algorithm, and passes over it
		if key, err = readKey(spki); err != nil {
			return nil, err
		}
	}
	// The key is judged before the signature is verified, which a huge key would make expensive.
	if err := judge(key); err != nil {
		return nil, err
	}
	if !slices.Contains(signatures, parsed.SignatureAlgorithm) {
		return nil, refuse(WeakSignature, "signature algorithm %v", parsed.SignatureAlgorithm)
	}
	if err := parsed.CheckSignature(); err != nil {
		return nil, refuse(BrokenSignature, "%v", err)
	}
	return &Request{PublicKey: key, URI: wanted.uri, DNSNames: wanted.dns}, nil
}

// ParsePEM reads exactly one block of PEM (RFC 7468). Errors are *Error.
func ParsePEM(text []byte) (*Request, error) {
	if len(text) > MaxPEM {
		return nil, refuse(Oversized, "%d bytes are more than %d", len(text), MaxPEM)
	}
	text = bytes.TrimSpace(text)
	block, rest := pem.Decode(text)
	switch {
	case block == nil || !bytes.HasPrefix(text, []byte("-----BEGIN "+block.Type+"-----")):
		return nil, refuse(Malformed, "not one block of PEM")
	case len(rest) > 0:
		return nil, refuse(Malformed, "%d bytes follow the block of PEM", len(rest))
	case block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST":
		return nil, refuse(Malformed, "a block of %.40q", block.Type)
	case len(block.Headers) > 0:
		return nil, refuse(Malformed, "the block of PEM has headers")
	}
	return ParseDER(block.Bytes)
}

// Check refuses names that will not be in the certificate: everything but the identity, and the DNS names that are allowed.
// Errors are *Error.
func (r *Request) Check(id spiffeid.ID, dnsNames []string) error {
	if r.URI != "" && r.URI != id.String() {
		return refuse(OtherURI, "URI %.300q where %s will be issued", r.URI, id)
	}
	for _, n := range r.DNSNames {
		if !slices.Contains(dnsNames, n) {
			return refuse(DNSName, "DNS name %.300q was not asked beside the request, or is not allowed", n)
		}
	}
	return nil
}
