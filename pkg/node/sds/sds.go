// Package sds serves the SVIDs of a node's pods, and what verifies others', to the Envoy of the node: by SDS over a Unix socket.
//
//	control ─► keeper ─► sds ─► Envoy
//
// The names are in this file; only what is of this node has one. What is not there yet is not answered, so that Envoy waits for
// it. See package node for the line.
package sds

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/push"
)

// Names of secrets.
const (
	// NodeName is the node's own SVID, BundlesName the validation context with every trust domain.
	NodeName    = "fairlead/node"
	BundlesName = "fairlead/bundles"
	// ListenerPrefix stands before the SPIFFE ID in what a listener names: Envoy starves one of two equal names, of which
	// one is asked for on demand (envoy#47309).
	ListenerPrefix = "in/"
	// BundlePrefix stands before the trust domain whose roots alone are a validation context.
	BundlePrefix = "bundle/"
)

// Config is what a Server needs. Keeper is required.
type Config struct {
	Keeper   Keeper
	Log      *slog.Logger
	Registry prometheus.Registerer
	Version  string
}

// Keeper has what is served. A keeper.Keeper is one.
type Keeper interface {
	Changes(since uint64) (keeper.Changes, <-chan struct{})
	Bundles() (*node.Bundles, <-chan struct{}, error)
}

// Server serves SDS: state of the world and delta, both also by the aggregated service.
type Server struct {
	secret.UnimplementedSecretDiscoveryServiceServer

	cfg    Config
	source *source
	push   *push.Server
	acked  prometheus.Histogram
	timing *semaphore.Weighted
	waits  sync.WaitGroup

	mu sync.Mutex // guards what follows
	// bundles are those that have been published, turn is closed at the next ones.
	bundles *node.Bundles
	turn    chan struct{}
}

// timingEnds is when an acknowledgement is not measured any more.
const timingEnds = time.Minute

// New gives a Server that serves what Run brings.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, source: newSource(), timing: semaphore.NewWeighted(1), turn: make(chan struct{})}
	s.acked = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "fairlead_node_svid_acknowledged_seconds", Help: "From a new SVID, or new bundles, to the acknowledgement of every Envoy stream that has asked for it.",
		Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .5, 1, 5},
	})
	if cfg.Registry != nil {
		cfg.Registry.MustRegister(s.acked)
	}
	s.push = push.New(push.Config{
		Source: s.source, Log: cfg.Log, Identifier: "fairlead-node", Admitted: 1 << 20, // each secret is a stream of Envoy's, and few have all
		RetryMin: time.Second, RetryMax: time.Minute,
		Await: func(string, string) bool { return true },
	})
	return s
}

// Register adds the services to a gRPC server, which needs push.ServerOptions.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	secret.RegisterSecretDiscoveryServiceServer(r, s)
	s.push.Register(r)
}

// StreamSecrets serves the state-of-the-world protocol.
func (s *Server) StreamSecrets(stream secret.SecretDiscoveryService_StreamSecretsServer) error {
	return s.push.StreamAggregatedResources(stream)
}

// DeltaSecrets serves the incremental protocol.
func (s *Server) DeltaSecrets(stream secret.SecretDiscoveryService_DeltaSecretsServer) error {
	return s.push.DeltaAggregatedResources(stream)
}

// Drain ends all streams.
func (s *Server) Drain() { s.push.Drain() }

// Clients lists who is connected.
func (s *Server) Clients() []push.ClientInfo { return s.push.Clients() }

// Served waits until every Envoy that is connected has acknowledged the bundles that the Keeper has now. Without any it is at
// once: who comes later gets them first.
func (s *Server) Served(ctx context.Context) error {
	for {
		published, turn := s.publishedNow()
		if now, _, err := s.cfg.Keeper.Bundles(); err != nil || now == published {
			break // without any there is nothing to wait for
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("make secrets of the bundles: %w", ctx.Err())
		case <-turn:
		}
	}
	_, err := s.acknowledged(ctx, bundlesOrigin)
	return err
}

func (s *Server) publishedNow() (*node.Bundles, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bundles, s.turn
}

func (s *Server) setPublished(b *node.Bundles) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b != s.bundles {
		s.bundles = b
		close(s.turn)
		s.turn = make(chan struct{})
	}
}

// acknowledged waits until every stream has what was made of ref, and gives how many there are.
func (s *Server) acknowledged(ctx context.Context, ref model.Ref) (clients int, err error) {
	for {
		changed := s.push.Status().Changed()
		st := s.push.Status().For(ref)
		if st.Behind == 0 && len(st.Rejected) == 0 {
			return st.Clients, nil
		}
		select {
		case <-ctx.Done():
			return 0, behind(st)
		case <-changed:
		}
	}
}

func behind(st push.OriginStatus) error {
	for _, r := range st.Rejected {
		return fmt.Errorf("envoy %s refuses %s: %s", r.Node, r.Name, r.Message)
	}
	return fmt.Errorf("%d of %d SDS streams of envoy %s have not acknowledged", st.Behind, st.Clients, strings.Join(st.BehindNodes, ", "))
}
