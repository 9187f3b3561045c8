package push

import (
	"context"
	"log/slog"
	"sync"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/snapshot"
)

// Config is what a Server needs. Only Source is required.
type Config struct {
	Source snapshot.Source
	Log    *slog.Logger
	// Registry takes the metrics; nil keeps them unregistered.
	Registry prometheus.Registerer
	// Identifier names this replica to its clients (DeltaDiscoveryResponse.control_plane).
	Identifier string
	// Hold is the longest that a type waits for the ones before it. Default 3 s.
	Hold time.Duration
	// MaxResponse is the size in bytes beyond which a response is split; a single resource never is. Default 3.5 MiB,
	// below the 4 MiB that gRPC clients accept by default.
	MaxResponse int
	// MaxNames bounds the names that one stream may subscribe to, over all types. Default 200,000.
	MaxNames int
	// RetryMin and RetryMax bound the pause before a quarantined resource is tried again. Defaults 10 s and 10 min.
	RetryMin, RetryMax time.Duration
	// Confirm, when set, examines a resource that a client rejected (envoy --mode validate). An error confirms the
	// rejection for all clients of that version; nil keeps it to the node that rejected. It must honour its context.
	Confirm func(context.Context, *snapshot.Resource) error
}

// Server serves delta ADS. It is safe for concurrent use.
type Server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer

	cfg        Config
	metrics    *metrics
	quarantine *quarantine
	status     *Status
	closing    chan struct{}
	closeOnce  sync.Once

	mu      sync.Mutex // guards what follows
	streams map[uint64]*stream
	nextID  uint64

	seenMu    sync.Mutex // guards what follows
	seen      snapshot.Snapshot
	published time.Time
}

// New gives a Server that has no goroutines of its own: each stream brings its pair.
func New(cfg Config) *Server {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Identifier == "" {
		cfg.Identifier = "fairlead"
	}
	cfg.Hold = orDefault(cfg.Hold, 3*time.Second)
	cfg.MaxResponse = orDefault(cfg.MaxResponse, 7<<19)
	cfg.MaxNames = orDefault(cfg.MaxNames, 200_000)
	cfg.RetryMin = orDefault(cfg.RetryMin, 10*time.Second)
	cfg.RetryMax = orDefault(cfg.RetryMax, 10*time.Minute)
	s := &Server{cfg: cfg, metrics: newMetrics(cfg.Registry), closing: make(chan struct{}), streams: map[uint64]*stream{}}
	s.quarantine = newQuarantine(cfg.RetryMin, cfg.RetryMax, s.metrics.quarantined)
	s.status = newStatus(s)
	return s
}

func orDefault[T comparable](v, d T) T {
	var zero T
	if v == zero {
		return d
	}
	return v
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discovery.RegisterAggregatedDiscoveryServiceServer(r, s)
}

// Status tells how the resources of each source object fare.
func (s *Server) Status() *Status { return s.status }

// Drain ends all streams with Unavailable, so that clients go to another replica and GracefulStop returns. A stream
// whose client does not read ends only with its connection: follow with Stop after a deadline.
func (s *Server) Drain() { s.closeOnce.Do(func() { close(s.closing) }) }

// StreamAggregatedResources refuses: the state-of-the-world protocol is not served.
func (s *Server) StreamAggregatedResources(discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return status.Error(codes.Unimplemented,
		"state-of-the-world ADS is not served: set api_type DELTA_GRPC in ads_config")
}

// DeltaAggregatedResources serves one client until it or the server goes.
func (s *Server) DeltaAggregatedResources(out discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	st := newStream(s, out)
	s.mu.Lock()
	s.nextID++
	st.id = s.nextID
	s.mu.Unlock()
	s.metrics.clients.Inc()
	defer func() {
		s.metrics.clients.Dec()
		s.mu.Lock()
		delete(s.streams, st.id)
		s.mu.Unlock()
		st.release()
		s.quarantine.release(st.id)
		s.status.notify()
	}()
	return st.run(out.Context())
}

// join makes an identified stream visible.
func (s *Server) join(st *stream) {
	s.mu.Lock()
	s.streams[st.id] = st
	s.mu.Unlock()
	s.status.notify()
}

// progress counts the clients, and those that are not through the transition to snapshot seq.
func (s *Server) progress(seq uint64) (clients, behind int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		if st.settledSeq.Load() < seq {
			behind++
		}
	}
	return len(s.streams), behind
}

// observe brings quarantine and status up to a snapshot, once, and gives the time of its publication.
func (s *Server) observe(snap snapshot.Snapshot) time.Time {
	s.seenMu.Lock()
	defer s.seenMu.Unlock()
	if s.seen != nil && snap.Seq() <= s.seen.Seq() {
		return s.published
	}
	s.published = time.Now()
	if p, ok := snap.(interface{ Published() time.Time }); ok {
		s.published = p.Published()
	}
	var keys []snapshot.Key
	ok := false
	if s.seen != nil {
		keys, ok = snap.ChangesSince(s.seen.Seq())
	}
	if !ok {
		keys = s.allKeys(snap)
	}
	for _, k := range keys {
		r := snap.Get(k)
		s.quarantine.prune(k, r)
		s.status.apply(snap.Seq(), k, r)
	}
	s.seen = snap
	return s.published
}

// allKeys lists what a snapshot has, and what was tracked before it.
func (s *Server) allKeys(snap snapshot.Snapshot) []snapshot.Key {
	keys := s.status.keys()
	for _, t := range []string{
		clusterType, endpointType, secretType, listenerType, routeType, scopedRouteType,
		virtualHostType, workloadType, verdictType,
	} {
		snap.Range(t, func(r *snapshot.Resource) bool {
			keys = append(keys, snapshot.Key{Type: r.Type, Name: r.Name, Variant: r.Variant})
			return true
		})
	}
	return keys
}
