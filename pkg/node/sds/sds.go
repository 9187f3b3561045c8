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
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/snapshot"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
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
	State() (keeper.State, <-chan struct{})
}

// Server serves SDS: state of the world and delta, both also by the aggregated service.
type Server struct {
	secret.UnimplementedSecretDiscoveryServiceServer

	cfg    Config
	source *snapshot.Static
	push   *push.Server
	acked  prometheus.Histogram
}

// New gives a Server that serves what Run brings.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, source: snapshot.NewStatic()}
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

var _ discovery.AggregatedDiscoveryServiceServer = (*push.Server)(nil)

// Served waits until every Envoy that has asked for bundles has acknowledged those that the Keeper has now.
func (s *Server) Served(ctx context.Context) error {
	return s.acknowledged(ctx, bundlesOrigin)
}

var bundlesOrigin = model.Ref{}

func (s *Server) acknowledged(ctx context.Context, ref model.Ref) error {
	for {
		changed := s.push.Status().Changed()
		st := s.push.Status().For(ref)
		if st.Behind == 0 && len(st.Rejected) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return behind(st)
		case <-changed:
		}
	}
}

func behind(st push.OriginStatus) error {
	for _, r := range st.Rejected {
		return fmt.Errorf("envoy %s refuses %s: %s", r.Node, r.Name, r.Message)
	}
	return fmt.Errorf("%d of %d SDS streams of Envoy %s have not acknowledged", st.Behind, st.Clients, strings.Join(st.BehindNodes, ", "))
}
