// Package flows tells people what the kernel has decided on this node: which connections were let in, which were denied, and by
// which policy.
//
//	datapath ─ Event ─► Observer ─► ring ─► gRPC (Hubble's observer API) ─► hubble, fairlead observe, the server's relay
//	         └ Drops ─► metrics
//
// Numbers get their names when an event comes, as the pod may be gone when it is read. An event is kept in some hundred bytes, and
// becomes a flow.Flow when somebody reads it. Events may be lost, and it is told how many; drops are counted by the kernel and are
// exact. See package node for the line.
package flows

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/timestamppb"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/verdict"
)

// Names says what the kernel's numbers and addresses stand for now (*enforce.Engine). It is asked for every event and must not wait.
type Names interface {
	// Identity is the name of an identity's number, or empty; what owns its pods, "Deployment/web"; and the labels that count.
	Identity(number uint32) (name, workload string, labels map[string]string)
	// Pod is which pod has an address, empty for none, and its node.
	Pod(netip.Addr) (namespace, name, node string)
	// Rule is a rule of a Set; false when it is not known any more.
	Rule(set, rule uint32) (verdict.Rule, bool)
	// Isolating are the policies that isolate in a Set.
	Isolating(set uint32, d verdict.Direction, f verdict.Family) []verdict.Origin
}

// Reader gives events (*datapath.EventReader). Close ends Read, which fails with os.ErrClosed then.
type Reader interface {
	Read(*datapath.Event) error
	Close() error
}

// Counters are what the kernel counts (*datapath.Datapath).
type Counters interface {
	Lost() (uint64, error)
	Drops(fn func(datapath.Drop) bool) error
	ForgetDrops(set uint32) ([]datapath.Drop, error)
}

// Config is what an Observer needs. Node and Names are required.
type Config struct {
	Node  string
	Names Names
	// Counters are read for the metrics; nil where there are none.
	Counters Counters
	// Capacity is how many flows are kept; 4,096 unless set.
	Capacity int
	Version  string
	Log      *slog.Logger
	Registry prometheus.Registerer
	// Clock gives the time of day and the kernel's (CLOCK_MONOTONIC) of one moment; nil asks the kernel.
	Clock func() (time.Time, time.Duration)
}

// DefaultCapacity is about 2 MB.
const DefaultCapacity = 4096

// Observer keeps the newest flows of a node. Its methods are safe for concurrent use, but for Record, which is for one goroutine.
type Observer struct {
	cfg     Config
	ring    *ring
	started time.Time
	// id is in the UUID of every flow: it tells this run of the agent from all others.
	id      [8]byte
	metrics *metrics

	// Only Record touches these: what has been made of pods and policies, to be shared by flows.
	endpoints map[pod]*flow.Endpoint
	policies  map[verdict.Origin]*flow.Policy

	mu         sync.Mutex           // guards what follows
	namespaces map[string]time.Time // when they had a flow
	lost       uint64               // of the kernel's, told already
}

// New gives an Observer without flows.
func New(cfg Config) (*Observer, error) {
	if cfg.Node == "" || cfg.Names == nil {
		return nil, errors.New("observe flows: the node's name and Names are required")
	}
	if cfg.Capacity == 0 {
		cfg.Capacity = DefaultCapacity
	}
	if cfg.Capacity < 1 || cfg.Capacity > 1<<22 {
		return nil, fmt.Errorf("observe flows: a capacity of %d is not from 1 to %d", cfg.Capacity, 1<<22)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Clock == nil {
		cfg.Clock = kernelClock
	}
	o := &Observer{cfg: cfg, ring: newRing(cfg.Capacity), namespaces: map[string]time.Time{}}
	o.started, _ = cfg.Clock()
	if _, err := rand.Read(o.id[:]); err != nil {
		return nil, fmt.Errorf("observe flows: %w", err)
	}
	o.metrics = newMetrics(o)
	o.forgetNames()
	return o, nil
}

// kernelClock is CLOCK_MONOTONIC beside the time of day.
func kernelClock() (time.Time, time.Duration) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil { // no kernel refuses
		return time.Now(), 0
	}
	return time.Now(), time.Duration(ts.Nano())
}

// lostEvery is how often it is looked how many events the kernel has lost.
const lostEvery = time.Second

// Run records what a Reader gives until ctx ends, and closes it.
func (o *Observer) Run(ctx context.Context, r Reader) error {
	if c := o.cfg.Counters; c != nil {
		if n, err := c.Lost(); err == nil {
			o.lost = n // not while this Observer was there
		}
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		<-ctx.Done()
		return r.Close()
	})
	group.Go(func() error {
		tick := time.NewTicker(lostEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
				o.countLost()
			}
		}
	})
	group.Go(func() error {
		var e datapath.Event
		for {
			switch err := r.Read(&e); {
			case errors.Is(err, os.ErrClosed):
				return nil
			case err != nil:
				return fmt.Errorf("read events: %w", err)
			}
			o.Record(&e)
		}
	})
	return group.Wait()
}

// Record keeps an event.
func (o *Observer) Record(e *datapath.Event) {
	wall, kernel := o.cfg.Clock()
	r := &record{event: *e, time: wall.Add(e.Since - kernel)}
	r.source = o.endpoint(e.Source, e.SourceIdentity, e.Hook == datapath.LocalOut)
	r.destination = o.endpoint(e.Destination, e.DestinationIdentity, e.Hook == datapath.LocalIn)
	for d := range e.Said {
		r.by[d] = o.origins(e, verdict.Direction(d))
	}
	o.metrics.count(e)
	o.seen(wall, r.source.GetNamespace(), r.destination.GetNamespace())
	o.ring.add(r)
}

// countLost tells observers of the events that the kernel had no room for.
func (o *Observer) countLost() {
	if o.cfg.Counters == nil {
		return
	}
	n, err := o.cfg.Counters.Lost()
	if err != nil {
		o.cfg.Log.Warn("cannot read how many events the kernel has lost", "error", err)
		return
	}
	o.mu.Lock()
	more := n - o.lost
	if n < o.lost { // other maps
		more = n
	}
	o.lost = n
	o.mu.Unlock()
	if more == 0 {
		return
	}
	o.metrics.lost.WithLabelValues("kernel").Add(float64(more))
	wall, _ := o.cfg.Clock()
	now := timestamppb.New(wall)
	o.ring.add(&record{time: wall, lost: &flow.LostEvent{
		Source: flow.LostEventSource_PERF_EVENT_RING_BUFFER, NumEventsLost: more, First: timestamppb.New(wall.Add(-lostEvery)), Last: now,
	}})
}

// namespaceLife is how long a namespace is told of that has no flows any more.
const namespaceLife = time.Hour

func (o *Observer) seen(now time.Time, namespaces ...string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range namespaces {
		if n != "" {
			o.namespaces[n] = now
		}
	}
}

// uuid names a flow: of the run of the agent and the flow's number (RFC 9562, version 8).
func (o *Observer) uuid(number uint64) string {
	var b [16]byte
	copy(b[:], o.id[:])
	binary.BigEndian.PutUint64(b[8:], number)
	b[6], b[8] = b[6]&0x0f|0x80, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
