package model

import "time"

// VirtualHost is the routes of one host: the unit that one edit changes.
type VirtualHost struct {
	// Config is the route table that it belongs to ("gateway/0.0.0.0:80", "outbound"); Host its key there, a host name,
	// possibly a wildcard ("*.example.com", "*").
	Config, Host string
	// Domains are the spellings of :authority that select it. Empty for a table that is keyed by address.
	Domains []string
	// Routes in the order of their precedence.
	Routes  []Route
	Origins []Ref
	// RequireTLS answers plaintext requests by a redirect to HTTPS.
	RequireTLS bool
	// Audience are the clients that see the host where it is one of the mesh; nil at a gateway, which all nodes serve.
	Audience *Audience
}

// Route is one match and what happens to the requests that it takes. Exactly one of Forward, Redirect and Direct is set.
type Route struct {
	// Name says where the route comes from: "HTTPRoute ns/name rule 0 match 1".
	Name  string
	Match RouteMatch

	Forward  *Forward
	Redirect *Redirect
	Direct   *DirectResponse

	RequestHeaders  HeaderMods
	ResponseHeaders HeaderMods
	CORS            *CORS
	Fault           *Fault
	Origins         []Ref
}

// StringMatchKind is how a StringMatch compares.
type StringMatchKind int

// The kinds of StringMatch.
const (
	MatchExact StringMatchKind = iota
	MatchPrefix
	MatchRegex // RE2, the whole value
	MatchPresent
)

// StringMatch compares one value.
type StringMatch struct {
	Kind       StringMatchKind
	Value      string
	IgnoreCase bool
}

// HeaderMatch compares one header or query parameter. Invert takes what does not match, absence included.
type HeaderMatch struct {
	Name   string
	Value  StringMatch
	Invert bool
}

// PathMatchKind is how a path is compared.
type PathMatchKind int

// The kinds of PathMatch.
const (
	// PathAny takes every path.
	PathAny PathMatchKind = iota
	PathExact
	// PathPrefix compares whole segments: /a takes /a and /a/b, not /ab (Gateway API).
	PathPrefix
	// PathStringPrefix compares characters: /a takes /ab (VirtualService).
	PathStringPrefix
	PathRegex
)

// PathMatch compares the path without the query.
type PathMatch struct {
	Kind       PathMatchKind
	Value      string
	IgnoreCase bool
}

// RouteMatch holds conditions that must all be true.
type RouteMatch struct {
	Path      PathMatch
	Method    *StringMatch
	Scheme    *StringMatch
	Authority *StringMatch
	Headers   []HeaderMatch
	Query     []HeaderMatch
	// Source limits the route to some clients of the mesh; nil takes all.
	Source *SourceMatch
	// GRPC takes only gRPC requests.
	GRPC bool
	// Port limits a route of the mesh to one port of its host, 0 takes all; at a gateway the server has the port.
	Port uint16
	// Fraction takes only this part of the requests, in millionths; nil takes all.
	Fraction *uint32
}

// SourceMatch tells mesh clients apart by what their stub listener says of them.
type SourceMatch struct {
	// Namespaces lists those that match; empty means all.
	Namespaces []string
	// Labels must all be on the client's pod.
	Labels map[string]string
}

// Backend is one weighted destination. A Backend whose Cluster is empty is invalid: its share of requests is answered
// by 500 (Gateway API HTTPBackendRef).
type Backend struct {
	Cluster         string
	Weight          uint32
	RequestHeaders  HeaderMods
	ResponseHeaders HeaderMods
	// HostRewrite replaces the :authority for this destination when set.
	HostRewrite string
}

// Forward sends requests to backends.
type Forward struct {
	Backends []Backend
	// Timeout of the whole request with its retries; nil means the default (none), zero disables.
	Timeout     *time.Duration
	IdleTimeout *time.Duration
	Retry       *Retry
	HostRewrite string
	// AutoHostRewrite takes the authority of the chosen upstream host (DNS clusters).
	AutoHostRewrite bool
	PathRewrite     *PathRewrite
	Mirrors         []Mirror
	Hash            []HashPolicy
	// Upgrades are the protocols that may be switched to ("websocket").
	Upgrades []string
	// MaxStreamDuration ends a stream (gRPC, WebSocket) after this time.
	MaxStreamDuration *time.Duration
}

// PathRewrite changes the path. One of the fields is set.
type PathRewrite struct {
	// Full replaces the path, Prefix the matched prefix; both pointers as "" is a value.
	Full   *string
	Prefix *string
	// Regex replaces what Pattern (RE2) matches by Substitution (\1 …).
	Regex *RegexRewrite
}

// RegexRewrite is an RE2 pattern with its substitution.
type RegexRewrite struct{ Pattern, Substitution string }

// Retry is a retry policy. On is Envoy's retry_on list.
type Retry struct {
	Attempts      uint32
	PerTryTimeout *time.Duration
	On            string
	StatusCodes   []uint32
	BackoffBase   time.Duration // zero: Envoy's 25 ms
	BackoffMax    time.Duration
	// IgnorePreviousHosts and RemoteLocalities choose the next host (VirtualService retries).
	IgnorePreviousHosts bool
	RemoteLocalities    bool
}

// Mirror copies a share of requests to a cluster and drops the answers.
type Mirror struct {
	Cluster string
	// Millionths of the requests.
	Millionths uint32
}

// HashPolicy says what consistent hashing hashes. One of the first four is set.
type HashPolicy struct {
	Header, Query string
	SourceIP      bool
	Cookie        string
	CookiePath    string
	CookieTTL     *time.Duration
}

// Redirect answers by a redirect. Empty fields keep the request's part.
type Redirect struct {
	Scheme, Host string
	Port         uint32 // 0: by scheme, or kept
	// Path is the whole path; Prefix replaces the matched prefix. Pointers as "" is a value.
	Path   *string
	Prefix *string
	Code   int // 301, 302, 303, 307, 308
	// KeepPort keeps the port of the request where Port is 0 and the scheme does not change. Behind a new Host Envoy
	// writes none; RequestPort asks for it, and is settled where the table of a port is made.
	KeepPort, RequestPort bool
}

// DirectResponse answers without a backend.
type DirectResponse struct {
	Status int
	Body   []byte
}

// HeaderMods changes headers: Remove first, then Set, then Add.
type HeaderMods struct {
	Set, Add []Header
	Remove   []string
}

// Empty tells that nothing is changed.
func (h HeaderMods) Empty() bool { return len(h.Set)+len(h.Add)+len(h.Remove) == 0 }

// Header is a name and a literal value; the translation escapes what Envoy would interpolate.
type Header struct{ Name, Value string }

// CORS is a cross-origin policy. Origins that are absent from AllowOrigins get no CORS headers.
type CORS struct {
	AllowOrigins     []StringMatch
	AllowMethods     []string
	AllowHeaders     []string
	ExposeHeaders    []string
	MaxAge           *time.Duration
	AllowCredentials bool
	// ForwardUnmatched sends preflights of unmatched origins on to the backend.
	ForwardUnmatched bool
}

// Fault injects delays and aborts. Shares in millionths of the requests.
type Fault struct {
	Delay           time.Duration
	DelayMillionths uint32
	AbortHTTP       uint32
	AbortGRPC       *uint32
	AbortMillionths uint32
}
