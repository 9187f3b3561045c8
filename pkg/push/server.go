package push

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

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
	// Admitted is how many new clients are brought to a whole state at the same time. Default 32.
	Admitted int
	// RetryMin and RetryMax bound the pause before a quarantined resource is tried again. Defaults 10 s and 10 min.
	RetryMin, RetryMax time.Duration
	// Confirm, when set, examines a resource that a client rejected (envoy --mode validate). An error confirms the
	// rejection for all clients of that version; nil keeps it to the node that rejected. It must honour its context.
	Confirm func(context.Context, *snapshot.Resource) error
	// Admit is asked once for each stream, with the node of its first request and the stream's context. What it gives back
	// is the node that is served; its error, a gRPC status, ends the stream before anything of it is known or sent. Nil
	// admits every node as what it says it is.
	Admit func(context.Context, snapshot.Node) (snapshot.Node, error)
	// Allow is asked when a stream first speaks of a type, after Admit; its error ends the stream. Nil allows all types.
	Allow func(ctx context.Context, typeURL string) error
	// Await tells of a name that does not exist that its client should wait for it, or keep what it has from another stream:
	// nothing is said until it comes. Nil, as for all other names, says at once that there is none.
	Await func(typeURL, name string) bool
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

	admission *admission

	mu      sync.Mutex // guards what follows
	streams map[uint64]*stream
	nextID  uint64

	bookMu sync.Mutex       // guards what follows
	books  map[string]*book // by type
	others *book            // of all types that we do not know: strangers choose their names
	turned uint64           // the snapshot that the books are of

	deltaMu sync.Mutex // guards what follows
	deltas  []delta

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
	cfg.Admitted = orDefault(cfg.Admitted, 32)
	s := &Server{
		cfg: cfg, metrics: newMetrics(cfg.Registry), closing: make(chan struct{}), admission: newAdmission(cfg.Admitted),
		streams: map[uint64]*stream{}, books: map[string]*book{}, others: newBook("", 0),
	}
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

// StreamAggregatedResources serves one client of the state-of-the-world protocol.
func (s *Server) StreamAggregatedResources(out discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.serve(newSotW(out, s.cfg.Identifier))
}

// DeltaAggregatedResources serves one client until it or the server goes.
func (s *Server) DeltaAggregatedResources(out discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.serve(deltaTransport{out, s.cfg.Identifier})
}

// serve runs one stream to its end.
func (s *Server) serve(out transport) error {
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

// bookOf gives the numbers of a type's names.
func (s *Server) bookOf(typeURL string) *book {
	if label(typeURL) == "other" {
		return s.others
	}
	s.bookMu.Lock()
	defer s.bookMu.Unlock()
	b := s.books[typeURL]
	if b == nil {
		b = newBook(typeURL, s.turned)
		s.books[typeURL] = b
	}
	return b
}

// progress counts the clients, and those that have not acknowledged all of snapshot seq, with their nodes.
func (s *Server) progress(seq uint64) (clients, behind int, nodes []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, st := range s.streams {
		if st.settledSeq.Load() < seq || st.freeSeq.Load() < seq {
			behind++
			nodes = append(nodes, st.node.ID)
		}
	}
	slices.Sort(nodes)
	return len(s.streams), behind, slices.Compact(nodes)
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
	s.turn(snap.Seq(), keys, !ok)
	for _, k := range keys {
		r := snap.Get(k)
		s.quarantine.prune(k, r)
		s.status.apply(snap.Seq(), k, r)
	}
	s.seen = snap
	return s.published
}

// turn brings the books to a snapshot.
func (s *Server) turn(seq uint64, keys []snapshot.Key, all bool) {
	s.bookMu.Lock()
	defer s.bookMu.Unlock()
	s.turned = seq
	for _, b := range s.books {
		b.turn(seq, keys, all)
	}
}

// allKeys lists what a snapshot has, and what was tracked before it.
func (s *Server) allKeys(snap snapshot.Snapshot) []snapshot.Key {
	keys := s.status.keys()
	for _, t := range []string{
		clusterType, endpointType, secretType, listenerType, routeType, scopedRouteType,
		virtualHostType, workloadType, trustType, peerType, peerSetType, verdictType,
	} {
		snap.Range(t, func(r *snapshot.Resource) bool {
			keys = append(keys, snapshot.Key{Type: r.Type, Name: r.Name, Variant: r.Variant})
			return true
		})
	}
	return keys
}
