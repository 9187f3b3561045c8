// Package relay observes the whole cluster: it asks every node that has opened a stream, and every other replica for its nodes.
//
//	agents ─ Report ─► Relay ◄─ GetFlows ─ hubble, fairlead observe
//	replicas ◄─ Gather ─┘
//
// Kept flows of all nodes come in the order of their times, new ones as they come. What an observer may see is said with every
// question, so that a node hides the rest before it looks at filters, and is looked at again here. See package filter for the
// line.
package relay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/api/observe/observer"
	observev1 "fairlead.io/fairlead/api/observe/v1"
	"fairlead.io/fairlead/pkg/observe/filter"
)

// Config is what a Relay needs. Caller is required.
type Config struct {
	// Name tells this replica from others: it does not answer itself.
	Name string
	// Caller names the node whose agent has opened a stream; an error refuses it.
	Caller func(context.Context) (node string, err error)
	// Replicas gives the other replicas, which may be asked for the flows of their nodes; nil is none.
	Replicas func() []observev1.FlowsClient
	// Nodes are the names of the nodes that there should be, to tell which are missing; nil tells of none.
	Nodes   func() []string
	Version string
	// Observers bounds how many observe at once; 32 unless set.
	Observers int
	// Patience is how long a node may be silent before kept flows are given without its; 5 s unless set.
	Patience time.Duration
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// Relay is safe for concurrent use.
type Relay struct {
	cfg       Config
	started   time.Time
	observers chan struct{} // has one for each
	draining  chan struct{} // closed by Drain
	once      sync.Once     // of Drain
	metrics   *metrics

	mu    sync.Mutex // guards what follows
	nodes map[string]*node
	// changed is closed when a node comes or goes.
	changed chan struct{}
}

type metrics struct {
	nodes, observers prometheus.Gauge
}

// New gives a Relay that knows no node.
func New(cfg Config) (*Relay, error) {
	if cfg.Caller == nil {
		return nil, errors.New("make relay of flows: who calls cannot be told")
	}
	if cfg.Observers == 0 {
		cfg.Observers = 32
	}
	if cfg.Patience == 0 {
		cfg.Patience = 5 * time.Second
	}
	if cfg.Replicas == nil {
		cfg.Replicas = func() []observev1.FlowsClient { return nil }
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	r := &Relay{
		cfg: cfg, started: time.Now(), observers: make(chan struct{}, cfg.Observers), draining: make(chan struct{}), nodes: map[string]*node{}, changed: make(chan struct{}),
		metrics: &metrics{
			nodes:     prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_observe_nodes", Help: "Nodes whose agents would answer questions about flows here."}),
			observers: prometheus.NewGauge(prometheus.GaugeOpts{Name: "fairlead_observe_observers", Help: "Observers that are being answered."}),
		},
	}
	if cfg.Registry != nil {
		cfg.Registry.MustRegister(r.metrics.nodes, r.metrics.observers)
	}
	return r, nil
}

// RegisterNodes serves agents and other replicas.
func (r *Relay) RegisterNodes(s grpc.ServiceRegistrar) {
	observev1.RegisterFlowsServer(s, flowsServer{r: r})
}

// RegisterObservers serves observers; what one may see is what access says.
func (r *Relay) RegisterObservers(s grpc.ServiceRegistrar, access Access) {
	observer.RegisterObserverServer(s, observerServer{r: r, access: access})
}

// Access says what the caller of a request may see: of flows, or with a nil request of all there is. Its errors are gRPC statuses.
type Access func(context.Context, *observer.GetFlowsRequest) (*filter.Scope, error)

// Everything is the Access of whoever can open the socket.
func Everything(context.Context, *observer.GetFlowsRequest) (*filter.Scope, error) {
	return &filter.Scope{All: true}, nil
}

// connected are the nodes that are here, by name, and a channel that is closed when that changes.
func (r *Relay) connected() ([]*node, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*node, 0, len(r.nodes))
	for _, n := range r.nodes {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b *node) int { return strings.Compare(a.name, b.name) })
	return list, r.changed
}

// join takes a node up; its former stream is ended.
func (r *Relay) join(n *node) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if was := r.nodes[n.name]; was != nil {
		was.leave()
	}
	r.nodes[n.name] = n
	r.tell()
}

func (r *Relay) leave(n *node) {
	n.leave()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nodes[n.name] == n {
		delete(r.nodes, n.name)
		r.tell()
	}
}

// tell says that nodes have changed. The caller holds mu.
func (r *Relay) tell() {
	close(r.changed)
	r.changed = make(chan struct{})
	r.metrics.nodes.Set(float64(len(r.nodes)))
}

// Drain ends the streams of nodes and observers, which go elsewhere. New ones are refused.
func (r *Relay) Drain() { r.once.Do(func() { close(r.draining) }) }

// errDraining is for streams that find another replica.
var errDraining = status.Error(codes.Unavailable, "this replica is shutting down: connect to another one")
