// Package control is how the agent of a node speaks with the control plane: one delta ADS stream, by which it learns the pods
// of its node and what to trust, and the calls that have certificates signed.
//
//	server ── Workload, TrustBundle ─► control ─► keeper
//	server ◄── CSR, SVID ───────────── control ◄─ keeper
//
// What was learnt stays while no server is there. See package node for the line.
package control

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/node"
)

// LinkConfig is what a Link needs. All but Log is required.
type LinkConfig struct {
	// Servers are HOST:PORT; a host of several addresses is as many servers.
	Servers []string
	// ServerID is whom every server must prove to be.
	ServerID spiffeid.ID
	// Trust verifies servers.
	Trust *Trust
	// Token is a file with the agent's ServiceAccount token. It is read at each use.
	Token string
	// SVID gives the node's own while it is valid, nil else.
	SVID func() *node.SVID
	Log  *slog.Logger
}

// Link holds a connection to one of the servers, always with the newest credential: the node's SVID, and before there is one,
// or when it is refused, the token.
type Link struct {
	cfg LinkConfig

	mu   sync.Mutex // guards what follows
	next int        // the server to be tried next
	conn *Conn      // what new calls use; nil when it is to be made
	// refused is the SVID that a server did not take.
	refused *node.SVID
}

// Conn is one connection with one credential, counted.
type Conn struct {
	*grpc.ClientConn
	// Server is the address, SVID what it shows; nil for a token.
	Server string
	svid   *node.SVID
	link   *Link
	uses   int  // guarded by link.mu
	old    bool // guarded by link.mu: closed after its last use
}

// NewLink gives a Link that connects when it is used.
func NewLink(cfg LinkConfig) *Link {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Link{cfg: cfg, next: rand.IntN(max(1, len(cfg.Servers)))}
}

// Use gives the connection for one call or stream, which ends with Done.
func (l *Link) Use() (*Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil || l.conn.svid != l.credential() {
		l.retire()
		c, err := l.dial()
		if err != nil {
			return nil, err
		}
		l.conn = c
	}
	l.conn.uses++
	return l.conn, nil
}

// credential is what a new connection shows: nil is the token.
func (l *Link) credential() *node.SVID {
	if s := l.cfg.SVID(); s != nil && s != l.refused {
		return s
	}
	return nil
}

// Newer tells whether a connection made now would show another credential.
func (l *Link) Newer(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return c.svid != l.credential()
}

// retire closes the present connection as soon as nobody uses it.
func (l *Link) retire() {
	if c := l.conn; c != nil {
		l.conn, c.old = nil, true
		c.closeIdle()
	}
}

// Close closes the connection; what uses it fails.
func (l *Link) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		_ = l.conn.Close()
		l.conn = nil
	}
}

// Done ends a use with its outcome. An error of the connection has the next use go to the next server; a credential that is
// not taken has it show the token.
func (c *Conn) Done(err error) {
	l := c.link
	l.mu.Lock()
	defer l.mu.Unlock()
	c.uses--
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Unimplemented:
		if l.conn == c {
			l.next++
			l.retire()
		}
	case codes.Unauthenticated:
		if c.svid != nil && l.refused != c.svid {
			l.refused = c.svid
			l.cfg.Log.Warn("the control plane does not take the node's SVID; the token is shown instead", "server", c.Server, "id", c.svid.ID, "error", err)
		}
		if l.conn == c {
			l.next++
			l.retire()
		}
	}
	c.closeIdle()
}

func (c *Conn) closeIdle() {
	if c.old && c.uses == 0 {
		_ = c.ClientConn.Close()
	}
}

// dial makes a connection to the server whose turn it is. Nothing is sent yet.
func (l *Link) dial() (*Conn, error) {
	if len(l.cfg.Servers) == 0 {
		return nil, errors.New("connect: no server is named")
	}
	server, svid := l.cfg.Servers[l.next%len(l.cfg.Servers)], l.credential()
	target := "dns:///" + server
	if strings.HasPrefix(server, "unix:") {
		target = server
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(l.tls(svid))),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 15 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.5, MaxDelay: 5 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"pick_first":{"shuffleAddressList":true}}]}`),
		grpc.WithDisableServiceConfig(),
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16 << 20)),
	}
	if svid == nil {
		opts = append(opts, grpc.WithPerRPCCredentials(token(l.cfg.Token)))
	}
	conn, err := grpc.NewClient(target, opts...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", server, err)
	}
	return &Conn{ClientConn: conn, Server: server, svid: svid, link: l}, nil
}

func (l *Link) tls(svid *node.SVID) *tls.Config {
	return &tls.Config{
		MinVersion:            tls.VersionTLS13,
		InsecureSkipVerify:    true, // names are no identities: VerifyPeerCertificate verifies the SPIFFE ID
		VerifyPeerCertificate: l.cfg.Trust.verify(l.cfg.ServerID),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c := &tls.Certificate{}
			if svid != nil {
				c.PrivateKey, c.Leaf = svid.Key, svid.Chain[0]
				for _, x := range svid.Chain {
					c.Certificate = append(c.Certificate, x.Raw)
				}
			}
			return c, nil
		},
	}
}

// token is a file with a ServiceAccount token, which the kubelet renews.
type token string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (t token) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	data, err := os.ReadFile(string(t))
	if err != nil {
		return nil, status.Errorf(codes.Unauthenticated, "read the agent's token: %v; mount a ServiceAccount token there, see --token", err)
	}
	value := strings.TrimSpace(string(data))
	if value == "" {
		return nil, status.Errorf(codes.Unauthenticated, "the agent's token %s is empty", string(t))
	}
	return map[string]string{"authorization": "Bearer " + value}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (token) RequireTransportSecurity() bool { return true }
