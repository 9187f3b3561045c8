package barrier

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	barrierv1 "fairlead.io/fairlead/api/barrier/v1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// Engine gives what resolve says; *table.Engine is one.
type Engine interface {
	Snapshot() *table.Snapshot
}

// Push gives what the clients of this replica say. Both lists are at least as new as the snapshots of Config.Source that were
// published before the call.
type Push interface {
	// Clients lists the connected clients, each with the Seq of the snapshot that it has acknowledged all of.
	Clients() []Client
	// Refusals lists the rejections that stand.
	Refusals() []Refusal
	// Changed gives a channel that is closed at the next acknowledgement, rejection, connect or disconnect. It is taken
	// before the lists.
	Changed() <-chan struct{}
}

// Config is what a Barrier needs. Name, Engine, Statuses, Source, Types and Push are required.
type Config struct {
	// Name tells this replica and this run of it from all others. Digests are compared only with replicas of the same Build.
	Name, Build string
	Engine      Engine
	Statuses    *table.Output[*model.ObjectStatus]
	Source      snapshot.Source
	// Types are the type URLs of all resources.
	Types []string
	Push  Push
	// NotReady gives the nodes that the cluster takes for broken; nil when nobody knows.
	NotReady func() map[string]bool
	// Peers are the addresses of other replicas that are always followed, as "host:port" or "unix:/path". This replica's
	// own may be among them.
	Peers []string
	// Seeks says that SetPeers is called again and again, after every look for other replicas.
	Seeks bool
	// Dial are options of the connections to other replicas, such as their credentials; plaintext without.
	Dial []grpc.DialOption
	// Grace is how long a node or a replica that has gone stays in the count. Default 30 s.
	Grace time.Duration
	// Gap is the shortest time between two looks at the clients. Default 10 ms.
	Gap time.Duration
	// Remember is how long a node that has left the count is named. Default 1 h.
	Remember time.Duration
	Log      *slog.Logger
}

// Barrier is the view of one replica. It is safe for concurrent use.
type Barrier struct {
	barrierv1.UnimplementedBarrierServer

	cfg     Config
	log     *slog.Logger
	kick    chan struct{} // the next deadline may be another
	leaving chan struct{}
	leave   sync.Once

	mu       sync.Mutex // guards what follows
	own      *replica
	made     made
	replicas map[string]*replica // by name, own included
	peers    map[string]*peer    // by address
	starter  func(*peer)         // set while Run runs
	looks    uint64              // for other replicas
	asked    asked

	nodes   map[party]*node // in the count, joining or fenced
	absent  map[party]Absent
	fences  map[party]fence
	clients int // nodes in the count, each once
	joining int // of them: not served completely yet
	held    map[model.Ref]struct{}
	next    time.Time // the next deadline; zero when there is none

	dirty   bool
	changed chan struct{}
	watches map[*Watch]struct{}
	feeds   map[*feed]struct{}
}

// New makes a Barrier. It follows nobody until Run.
func New(cfg Config) (*Barrier, error) {
	if cfg.Name == "" || cfg.Engine == nil || cfg.Statuses == nil || cfg.Source == nil || cfg.Push == nil || len(cfg.Types) == 0 {
		return nil, errors.New("make barrier: Name, Engine, Statuses, Source, Types and Push are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	setDefault(&cfg.Grace, 30*time.Second)
	setDefault(&cfg.Gap, 10*time.Millisecond)
	setDefault(&cfg.Remember, time.Hour)
	own := newReplica(cfg.Name, cfg.Build)
	b := &Barrier{
		cfg: cfg, log: cfg.Log.With("part", "barrier"), kick: make(chan struct{}, 1), leaving: make(chan struct{}),
		own: own, made: newMade(), replicas: map[string]*replica{cfg.Name: own}, peers: map[string]*peer{},
		nodes: map[party]*node{}, absent: map[party]Absent{}, fences: map[party]fence{}, held: map[model.Ref]struct{}{},
		changed: make(chan struct{}), watches: map[*Watch]struct{}{}, feeds: map[*feed]struct{}{},
	}
	for _, address := range cfg.Peers {
		b.peers[address] = newPeer(address, true)
	}
	return b, nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Run follows the own clients and every peer until ctx ends, which is no error. It may be called once.
func (b *Barrier) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	b.mu.Lock()
	b.starter = func(p *peer) {
		own, cancel := context.WithCancel(ctx)
		p.stop = cancel
		running.Go(func() { defer cancel(); b.follow(own, p) })
	}
	now := time.Now()
	for _, p := range b.peers {
		p.since = now
		b.starter(p)
	}
	b.mu.Unlock()
	for ctx.Err() == nil {
		changed := b.cfg.Push.Changed()
		snap := b.cfg.Engine.Snapshot()
		next := b.look()
		pause(ctx, b.cfg.Gap)
		b.sleep(ctx, next, changed, snap.Next())
	}
	return nil
}

// sleep waits until there may be something to look at.
func (b *Barrier) sleep(ctx context.Context, next time.Time, changed, newer <-chan struct{}) {
	var deadline <-chan time.Time
	if !next.IsZero() {
		t := time.NewTimer(time.Until(next))
		defer t.Stop()
		deadline = t.C
	}
	select {
	case <-ctx.Done():
	case <-changed:
	case <-newer:
	case <-deadline:
	case <-b.kick:
	}
}

// look takes in what this replica and its clients say now, and gives the next deadline.
func (b *Barrier) look() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.observe()
	b.settle(time.Now())
	return b.next
}

// settle counts again after a change, and tells everybody who waits for one.
func (b *Barrier) settle(now time.Time) {
	was := b.next
	b.count(now)
	if b.next != was {
		select {
		case b.kick <- struct{}{}:
		default:
		}
	}
	if b.dirty {
		b.dirty = false
		close(b.changed)
		b.changed = make(chan struct{})
	}
}

// Leave tells the peers that this replica is shutting down: its clients have gone elsewhere, or are about to.
func (b *Barrier) Leave() { b.leave.Do(func() { close(b.leaving) }) }

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
