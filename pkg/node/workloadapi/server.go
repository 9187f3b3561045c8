// Package workloadapi serves the SPIFFE Workload API to the pods of a node: X.509-SVIDs, JWT-SVIDs and what verifies them, over a
// Unix socket, to callers that package attest knows.
//
//	keeper ─► workloadapi ◄─ attest ◄─ pod
//
// Every stream is a goroutine that reads what is current and waits for the next change. Nothing is queued: a reader that is slow
// misses what was replaced meanwhile, and nobody waits for it.
package workloadapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"golang.org/x/time/rate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/attest"
)

// Config is what a Server is made of. Identities and Attestor are required.
type Config struct {
	Identities node.Identities
	Attestor   attest.Attestor
	Limits     Limits
	// Wait is how long a first answer is waited for when the pod or its identity is not there yet: 10 s unless set.
	Wait time.Duration
	// Hint is told to workloads beside each SVID; empty for none.
	Hint     string
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// Limits are what callers can take of the agent. Zero values are replaced by the defaults that stand with each.
type Limits struct {
	// Connections of one pod: 64. Calls are the calls and streams of one pod at a time: 128. Streams are those of all pods: 8,192.
	Connections, Calls, Streams int
	// Tokens are the JWT-SVIDs that are kept for all pods: 4,096; for one pod a sixteenth of that.
	Tokens int
}

// Server serves the Workload API.
type Server struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	Config  // read-only
	grpc    *grpc.Server
	calls   *calls
	tokens  *tokens
	encoded encoded
	metrics *metrics
	refused rate.Sometimes
	stopped chan struct{}
	once    sync.Once
}

const (
	maxMessage = 64 << 10 // bytes of a request: a token to verify is the largest
	maxHeaders = 16 << 10
	grace      = time.Second
)

// New makes a Server.
func New(c Config) *Server {
	c.Limits = c.Limits.withDefaults()
	if c.Wait == 0 {
		c.Wait = 10 * time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Config: c, metrics: newMetrics(c.Registry), calls: newCalls(c.Limits), stopped: make(chan struct{})}
	s.tokens = newTokens(c.Identities, c.Limits.Tokens, s.metrics)
	s.refused = rate.Sometimes{First: 20, Interval: time.Second}
	s.grpc = grpc.NewServer(
		grpc.Creds(attest.Credentials(c.Attestor, c.Limits.Connections)),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxHeaderListSize(maxHeaders), grpc.MaxConcurrentStreams(uint32(c.Limits.Calls)),
		grpc.ConnectionTimeout(5*time.Second),
		// A process that has stopped reading loses its connection.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
	)
	workload.RegisterSpiffeWorkloadAPIServer(s.grpc, s)
	return s
}

func (l Limits) withDefaults() Limits {
	for _, d := range []struct {
		n *int
		v int
	}{{&l.Connections, 64}, {&l.Calls, 128}, {&l.Streams, 8192}, {&l.Tokens, 4096}} {
		if *d.n <= 0 {
			*d.n = d.v
		}
	}
	return l
}

// Serve answers on a listener of a Unix socket until Stop is called, which is no error.
func (s *Server) Serve(l net.Listener) error {
	if l.Addr().Network() != "unix" {
		return fmt.Errorf("serve workload api: %s is not a Unix socket", l.Addr())
	}
	if err := s.grpc.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("serve workload api: %w", err)
	}
	return nil
}

// Stop ends the streams, so that clients connect again, and what is not done within a second.
func (s *Server) Stop() {
	s.once.Do(func() { close(s.stopped) })
	t := time.AfterFunc(grace, s.grpc.Stop)
	defer t.Stop()
	s.grpc.GracefulStop()
}

type callerKey struct{}

func callerOf(ctx context.Context) *attest.Caller {
	c, _ := ctx.Value(callerKey{}).(*attest.Caller)
	return c
}
