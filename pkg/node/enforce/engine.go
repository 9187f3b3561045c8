package enforce

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what an Engine needs. Kernel and Node are required.
type Config struct {
	Kernel Kernel
	// Node is the name of this node: what is said of it as a peer is about the host.
	Node string
	// Identities and Sets are how many of them the maps have room for, 0 not counted. Default 65,535 and 4,095.
	Identities, Sets uint32
	// Addresses and Rules are how many the maps have room for, for the metrics; 0 is not told.
	Addresses, Rules uint32
	// Names is a file that numbers survive a restart in; empty is none.
	Names string
	// Erased is told of each number of a Set that is not in the kernel any more; nil is nobody.
	Erased   func(set uint32)
	Log      *slog.Logger
	Registry prometheus.Registerer
}

// Engine holds what was learnt, and what of it is in the kernel. It is safe for concurrent use: each call returns when the kernel
// has what can be had.
type Engine struct {
	cfg     Config
	metrics *metrics
	names   *nameFile

	mu                           sync.RWMutex // guards what follows
	identities, namespaces, sets *numbers
	generation                   uint64 // names Sets for numbers
	peers                        map[string]*peer
	about                        map[uint32]about
	addresses                    map[netip.Addr]at
	rivals                       map[netip.Addr][]*peer // further peers of an address
	hosts                        map[netip.Addr]bool
	peerSets                     map[string]*peerSet
	subjects                     map[string]*subject
	locals                       map[string]*local // by UID
	localAt                      map[netip.Addr]*local
	held                         map[uint32]*held // by number; those that are garbage too
	garbage                      garbage
	adopted                      *adopted
	wrote                        bool            // since the last Bump
	late                         map[string]bool // names of what has to be written again
	lateAddresses                map[netip.Addr]bool
	narrowed                     map[string]bool // identities whose pods may have fewer permissions
	changed                      chan struct{}   // closed at the next change of what is wanted or effective
}

// New gives an Engine that goes on with what is in the kernel.
func New(cfg Config) (*Engine, error) {
	if cfg.Kernel == nil || cfg.Node == "" {
		return nil, errors.New("start enforcement: kernel and node are needed")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Identities == 0 {
		cfg.Identities = 1<<16 - 1
	}
	if cfg.Sets == 0 {
		cfg.Sets = 1<<12 - 1
	}
	e := &Engine{
		cfg: cfg, identities: newNumbers("identity", cfg.Identities), namespaces: newNumbers("namespace", 1<<24), sets: newNumbers("set", cfg.Sets),
		peers: map[string]*peer{}, about: map[uint32]about{}, addresses: map[netip.Addr]at{}, rivals: map[netip.Addr][]*peer{},
		hosts: map[netip.Addr]bool{}, peerSets: map[string]*peerSet{}, subjects: map[string]*subject{}, locals: map[string]*local{},
		localAt: map[netip.Addr]*local{}, held: map[uint32]*held{}, garbage: garbage{keys: map[stem][]portKey{}, subjects: map[uint32]*held{}},
		late: map[string]bool{}, lateAddresses: map[netip.Addr]bool{}, narrowed: map[string]bool{}, changed: make(chan struct{}),
	}
	if err := e.adopt(); err != nil {
		return nil, err
	}
	e.metrics = newMetrics(cfg.Registry, e)
	return e, nil
}

// apply runs a change, and has flows judged anew when it wrote anything.
func (e *Engine) apply(what string, change func() error) error {
	began := time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	err := change()
	if e.wrote {
		if bump := e.cfg.Kernel.Bump(); bump != nil {
			err = errors.Join(err, bump)
		} else {
			e.wrote = false
		}
	}
	e.metrics.took(what, time.Since(began), err)
	return err
}

// signal wakes who waits for a change.
func (e *Engine) signal() {
	close(e.changed)
	e.changed = make(chan struct{})
}

// How long garbage lies, and how soon a write that failed is tried again.
const (
	garbageTime = 100 * time.Millisecond
	retryTime   = time.Second
)

// Run takes away what is not used any more, and repeats writes that failed, until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	tick, retry := time.NewTicker(garbageTime), time.NewTicker(retryTime)
	defer tick.Stop()
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := e.Collect(); err != nil {
				e.cfg.Log.Warn("what is not used any more stays in the kernel", "error", err)
			}
		case <-retry.C:
			if err := e.again(); err != nil {
				e.cfg.Log.Warn("policy is not in the kernel as it should be; what was there before holds", "error", err)
			}
		}
	}
}

// again repeats what failed.
func (e *Engine) again() error {
	e.mu.RLock()
	idle := len(e.late) == 0 && len(e.lateAddresses) == 0 && len(e.garbage.subjects) == 0 && !e.wrote
	e.mu.RUnlock()
	if idle {
		return nil
	}
	return e.apply("retry", func() error {
		errs := []error{e.withdrawLate()}
		for name := range e.late {
			if s := e.subjects[name]; s != nil {
				errs = append(errs, e.bring(s))
			} else {
				delete(e.late, name)
			}
		}
		for a := range e.lateAddresses {
			errs = append(errs, e.refresh(a))
		}
		return errors.Join(errs...)
	})
}
