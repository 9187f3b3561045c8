package server

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/api/observe/observer"
	observev1 "fairlead.io/fairlead/api/observe/v1"
	"fairlead.io/fairlead/pkg/ca"
	"fairlead.io/fairlead/pkg/ca/authn"
	"fairlead.io/fairlead/pkg/observe/access"
	"fairlead.io/fairlead/pkg/observe/filter"
	"fairlead.io/fairlead/pkg/observe/relay"
	"fairlead.io/fairlead/pkg/server/transport"
)

// observing is what shows the flows of the cluster.
type observing struct {
	relay *relay.Relay
	grpc  *grpc.Server // of the address where everything is seen; nil where there is none

	dial []grpc.DialOption

	mu sync.Mutex // guards what follows
	// peers are the addresses of other replicas, replicas the connections to them.
	peers    []string
	replicas map[string]*grpc.ClientConn
}

// wireObserve makes the relay of flows: agents and other replicas speak with it by TLS, observers by TLS with a token, or where
// Config.Observe says.
func (s *Server) wireObserve(reg prometheus.Registerer) error {
	o := &observing{replicas: map[string]*grpc.ClientConn{}}
	cfg := relay.Config{Name: s.cfg.Replica, Caller: reporter, Version: s.cfg.Version, Log: s.cfg.Log, Registry: reg}
	if s.identity != nil {
		o.peers = s.cfg.Peers
		o.dial = []grpc.DialOption{grpc.WithTransportCredentials(s.identity.transport.Credentials())}
		cfg.Replicas = o.others
	}
	var err error
	if o.relay, err = relay.New(cfg); err != nil {
		return err
	}
	s.observing = o
	if i := s.identity; i != nil {
		o.relay.RegisterNodes(i.grpc)
		if i.cfg.Review != nil && i.cfg.Rights != nil {
			a, err := access.New(i.cfg.Review, i.cfg.Rights, i.cfg.Audiences)
			if err != nil {
				return err
			}
			o.relay.RegisterObservers(i.transport.Services(i.grpc), guests(a))
		}
	}
	if s.observeListener != nil {
		o.grpc = grpc.NewServer()
		o.relay.RegisterObservers(o.grpc, relay.Everything)
		h := health.NewServer()
		h.SetServingStatus("hubble.server.Observer", healthpb.HealthCheckResponse_SERVING) // which Hubble's client asks for its status
		healthpb.RegisterHealthServer(o.grpc, h)
	}
	return nil
}

// reporter is the node whose agent calls.
func reporter(ctx context.Context) (string, error) {
	if c := authn.From(ctx); c != nil && c.Kind == ca.Node && c.Node.Name != "" {
		return c.Node.Name, nil
	}
	return "", status.Error(codes.PermissionDenied, "only the agent of a node reports flows")
}

// guests is the access of callers who are not of the mesh.
func guests(a *access.Access) relay.Access {
	return func(ctx context.Context, req *observer.GetFlowsRequest) (*filter.Scope, error) {
		scope, err := a.Scope(ctx, req)
		if err == nil {
			transport.Known(ctx)
		}
		return scope, err
	}
}

// setPeers says where other replicas are. Connections are made when they are first used, and closed when a replica has gone.
func (o *observing) setPeers(addresses []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.peers = addresses
	for address, c := range o.replicas {
		if !slices.Contains(addresses, address) {
			_ = c.Close()
			delete(o.replicas, address)
		}
	}
}

// others are clients of the other replicas.
func (o *observing) others() (out []observev1.FlowsClient) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, address := range o.peers {
		c := o.replicas[address]
		if c == nil {
			var err error
			if c, err = grpc.NewClient("passthrough:///"+address, o.dial...); err != nil {
				continue // it is told elsewhere that a replica cannot be reached
			}
			o.replicas[address] = c
		}
		out = append(out, observev1.NewFlowsClient(c))
	}
	return out
}

func (o *observing) close() { o.setPeers(nil) }

func (s *Server) serveObserve() error {
	if err := s.observing.grpc.Serve(s.observeListener); err != nil {
		return fmt.Errorf("serve flows: %w", err)
	}
	return nil
}
