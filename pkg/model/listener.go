package model

import (
	"net/netip"
	"time"
)

// Bind is an address and port that Envoy listens on. Its table key is its String.
type Bind struct {
	Address netip.Addr
	Port    uint16
}

// String is "0.0.0.0:80", "[::]:80".
func (b Bind) String() string { return netip.AddrPortFrom(b.Address, b.Port).String() }

// Server is one listener of a Gateway, of either kind, as it was accepted: the unit that routes attach to.
// Its table key is "<group>/<namespace>/<gateway>/<section>".
type Server struct {
	// Gateway is the object; Section the listener's name in it.
	Gateway Ref
	Section string
	Bind    Bind
	// Protocol is HTTP, HTTPS, TLS or TCP.
	Protocol Protocol
	// Hosts that it serves; empty means all. A Gateway API listener has at most one.
	Hosts []ServerHost
	TLS   *DownstreamTLS
	// HTTPSRedirect answers plaintext by a redirect (Istio Gateway tls.httpsRedirect).
	HTTPSRedirect bool
	// Older wins when two gateways claim one host of one port.
	Meta *Meta
}

// ServerHost is a host of a server; routes of Namespace only may bind to it when Namespace is not empty (Istio's
// "namespace/host").
type ServerHost struct{ Namespace, Host string }

// DownstreamTLSMode is how a server terminates TLS.
type DownstreamTLSMode string

// The modes of a Gateway's TLS.
const (
	TerminateSimple         DownstreamTLSMode = "SIMPLE"
	TerminateMutual         DownstreamTLSMode = "MUTUAL"
	TerminateOptionalMutual DownstreamTLSMode = "OPTIONAL_MUTUAL"
	TerminateMesh           DownstreamTLSMode = "ISTIO_MUTUAL"
	Passthrough             DownstreamTLSMode = "PASSTHROUGH"
)

// DownstreamTLS is the server side of TLS. Secrets are named by their SDS resource.
type DownstreamTLS struct {
	Mode           DownstreamTLSMode
	Certificates   []string // SDS names
	ValidationName string   // SDS name of the CA that client certificates must chain to
	// AllowUntrusted lets in clients whose certificate does not verify (Gateway API AllowInsecureFallback).
	AllowUntrusted bool
	// Files, where a Gateway names paths instead of Secrets.
	CertificateFile, KeyFile, CAFile string
	SubjectAltNames                  []string
	SPKI, Hashes                     []string
	MinVersion, MaxVersion           string // TLSV1_2 …, empty: Envoy's default, at least 1.2
	CipherSuites                     []string
}

// SecretName names the SDS resource of a TLS Secret's key pair.
func SecretName(key string) string { return "secret/" + key }

// CAName names the SDS resource of a CA bundle: in a Secret (kind "Secret") or ConfigMap.
func CAName(kind, key string) string { return "ca/" + kind + "/" + key }

// TCPRoute is a connection-level route of one listener chain, in order of precedence.
type TCPRoute struct {
	Name string
	// SNI names (with wildcards), destination subnets and port that it takes; empty means all.
	SNI          []string
	Destinations []netip.Prefix
	Port         uint16
	Source       *SourceMatch
	SourceSubnet *netip.Prefix
	Backends     []Backend
	Connections  Connections
	Origins      []Ref
}

// Connections is what the DestinationRules of a route's destinations say for its connections.
type Connections struct {
	// IdleTimeout ends a connection without traffic: nil means Envoy's default of an hour, zero never. MaxDuration ends
	// any; nil means never.
	IdleTimeout, MaxDuration *time.Duration
	// HashSourceIP gives the load balancer the client's address to hash.
	HashSourceIP bool
}
