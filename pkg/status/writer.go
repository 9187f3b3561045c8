package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	coordinationv1 "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/klog/v2"

	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/model"
)

// FieldManager is the name under which fields are ours.
const FieldManager = "fairlead"

// View gives what is to be said; *barrier.Barrier is one.
type View interface {
	// Ready tells whether anything is known at all; Refs lists the objects that something is said of.
	Ready() bool
	Refs() []model.Ref
	// Get gives what resolve says of an object, nil when nothing, and how it fares.
	Get(model.Ref) (*model.ObjectStatus, barrier.Fate)
}

// Watch tells which objects to look at again; *barrier.Watch is one.
type Watch interface {
	Changed() <-chan struct{}
	Take() (refs []model.Ref, all bool)
	Close()
}

// Config is what a Writer needs. REST, View, Watch and Controller are required.
type Config struct {
	REST *rest.Config
	View View
	// Watch begins a watch of what View gives.
	Watch func() Watch
	// Controller is the controllerName of our GatewayClasses.
	Controller string
	// Compat also writes to networking.istio.io and security.istio.io, Cilium to cilium.io.
	Compat, Cilium bool
	// Lease elects the one replica that writes. Without one this replica writes.
	Lease *Lease
	Log   *slog.Logger
	// Registry takes the metrics; nil keeps them unregistered.
	Registry prometheus.Registerer

	// Rate bounds writes, in objects a second, after a Burst. Defaults 50 and 100.
	Rate, Burst int
	// Gap is the shortest time between two looks at what has changed. Default 100 ms.
	Gap time.Duration
	// Settle is how long answers of Envoys are waited for before an object is told that they are outstanding: an edit that
	// is acknowledged at once is one write. Default 2 s.
	Settle time.Duration
	// Absent is how long a verdict stands after the last Envoy has gone, or while Envoys come. Default 30 s.
	Absent time.Duration
	// RetryMin and RetryMax bound the pause after a failed write. Defaults 200 ms and 1 min.
	RetryMin, RetryMax time.Duration
}

// Lease says which Lease elects.
type Lease struct {
	Namespace, Name string
	// Identity tells the replicas apart: the pod's name.
	Identity string
	// Duration is how long a leader that has vanished is waited for, RenewDeadline how long one tries to stay, RetryPeriod
	// the pause between tries. Defaults 15 s, 10 s, 2 s.
	Duration, RenewDeadline, RetryPeriod time.Duration
}

// Writer writes statuses while it leads.
type Writer struct {
	cfg     Config
	metrics *metrics
	http    *http.Client
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	leases  coordinationv1.CoordinationV1Interface
	leading atomic.Bool
}

// New makes a Writer. It does not connect until Run.
func New(cfg Config) (*Writer, error) {
	if cfg.REST == nil || cfg.View == nil || cfg.Watch == nil || cfg.Controller == "" {
		return nil, errors.New("make status writer: REST, View, Watch and Controller are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Log = cfg.Log.With("part", "status")
	setDefault(&cfg.Rate, 50)
	setDefault(&cfg.Burst, 100)
	setDefault(&cfg.Gap, 100*time.Millisecond)
	setDefault(&cfg.Settle, 2*time.Second)
	setDefault(&cfg.Absent, 30*time.Second)
	setDefault(&cfg.RetryMin, 200*time.Millisecond)
	setDefault(&cfg.RetryMax, time.Minute)
	if cfg.Lease != nil {
		l := *cfg.Lease
		setDefault(&l.Duration, 15*time.Second)
		setDefault(&l.RenewDeadline, 10*time.Second)
		setDefault(&l.RetryPeriod, 2*time.Second)
		cfg.Lease = &l
	}
	w := &Writer{cfg: cfg}
	if err := w.connect(); err != nil {
		return nil, fmt.Errorf("make status writer: %w", err)
	}
	w.metrics = newMetrics(cfg.Registry)
	return w, nil
}

func (w *Writer) connect() (err error) {
	c := rest.CopyConfig(w.cfg.REST)
	c.QPS = -1 // writes have a rate of their own, and a Lease must not queue behind them
	if w.http, err = rest.HTTPClientFor(c); err != nil {
		return err
	}
	if w.dynamic, err = dynamic.NewForConfigAndClient(c, w.http); err != nil {
		return err
	}
	if w.leases, err = coordinationv1.NewForConfigAndClient(c, w.http); err != nil {
		return err
	}
	d, err := discovery.NewDiscoveryClientForConfigAndClient(c, w.http)
	if err != nil {
		return err
	}
	w.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))
	return nil
}

func setDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

// Leading tells whether this replica writes.
func (w *Writer) Leading() bool { return w.leading.Load() }

// Run writes whenever this replica leads, until ctx ends, which is no error; the Lease is then released. Run may be called
// once.
func (w *Writer) Run(ctx context.Context) error {
	defer w.http.CloseIdleConnections()
	if w.cfg.Lease == nil {
		w.term(ctx)
		return nil
	}
	return w.elect(ctx)
}

// term writes from the beginning to the end of one leadership. It starts without any memory, so it looks at everything.
func (w *Writer) term(ctx context.Context) {
	w.cfg.Log.Info("write statuses")
	w.leading.Store(true)
	w.metrics.leader.Set(1)
	defer func() {
		w.leading.Store(false)
		w.metrics.leader.Set(0)
		w.metrics.queue.Set(0)
		w.cfg.Log.Info("stop writing statuses")
	}()
	newTerm(w).run(klog.NewContext(ctx, logr.FromSlogHandler(w.cfg.Log.Handler())))
}
