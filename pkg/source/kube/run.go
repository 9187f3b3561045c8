package kube

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/source/convert"
)

// Config says what to read.
type Config struct {
	// REST reaches the API server.
	REST *rest.Config
	// Compat names foreign API groups to read as well: "istio" for networking.istio.io and
	// security.istio.io, "cilium" for cilium.io.
	Compat []string
	// Log is told of what cannot be read; nil for no log.
	Log *slog.Logger
}

// Source watches an API server.
type Source struct {
	cfg   Config
	log   *slog.Logger
	queue *queue
	proof *prover

	http     *http.Client // that all clients share
	core     kubernetes.Interface
	dynamic  dynamic.Interface
	metadata metadata.Interface

	running sync.WaitGroup // reflectors
}

// New makes a source. It does not connect until Run.
func New(cfg Config) (*Source, error) {
	s := &Source{cfg: cfg, log: cfg.Log, queue: newQueue()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.log = s.log.With("source", "kube")
	plain := rest.CopyConfig(cfg.REST)
	if plain.QPS == 0 {
		plain.QPS, plain.Burst = 50, 100 // a start is a list and a watch of each resource
	}
	client, err := rest.HTTPClientFor(plain)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	s.http = client
	binary := rest.CopyConfig(plain)
	binary.ContentType = runtime.ContentTypeProtobuf
	binary.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	if s.core, err = kubernetes.NewForConfigAndClient(binary, client); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	if s.dynamic, err = dynamic.NewForConfigAndClient(plain, client); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	if s.metadata, err = metadata.NewForConfigAndClient(plain, client); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	s.proof = newProver(s.positions, s.log)
	return s, nil
}

// Want asks the source to prove, for kinds that tell nothing, that it has read them up to position: it lists their metadata
// and compares, at most once a second and kind. It gives false when the API server has never reached position: there is
// nothing to wait for. It does not block, and may be called often and from any goroutine.
func (s *Source) Want(position uint64) bool { return s.proof.want(position) }

// Run hands changes to sink until ctx ends, which is no error. An API server that cannot be reached is waited for. Run may
// be called once.
func (s *Source) Run(ctx context.Context, sink source.Sink) error {
	ctx, cancel := context.WithCancel(ctx)
	defer s.http.CloseIdleConnections()
	defer s.running.Wait()
	defer cancel()
	for _, r := range coreResources(s.core) {
		m := newMirror(r.group, r.kind, s.queue, r.convert)
		s.queue.expect(m.name())
		s.running.Go(func() { s.reflect(ctx, r.kind, r.from, r.lw, r.object, m) })
	}
	d := newDefinitions(s)
	s.queue.expect(definitionsName)
	from := listed{definitionsResource(), fields.Everything()}
	s.running.Go(func() { s.reflect(ctx, definitionsName, from, d.listWatch(), &metav1.PartialObjectMetadata{}, d) })
	s.running.Go(func() { d.run(ctx) })
	s.running.Go(func() { s.proof.run(ctx) })
	s.hand(ctx, sink)
	return nil
}

// hand gives what waits in the queue to the sink.
func (s *Source) hand(ctx context.Context, sink source.Sink) {
	told := false
	var at source.Position
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.queue.wake:
		}
		updates, now, synced := s.queue.take()
		if len(updates) > 0 || now != at {
			sink.Apply(updates, now)
			at = now
		}
		if synced && !told {
			told = true
			sink.Synced()
		}
	}
}

// store is what a reflector keeps up to date.
type store interface {
	cache.ReflectorStore
	provable
}

// reflect keeps a store up to date until ctx ends.
func (s *Source) reflect(ctx context.Context, name string, from listed, lw *cache.ListWatch, object any, store store) {
	logger := logr.FromSlogHandler(s.log.Handler())
	r := cache.NewReflectorWithOptions(s.complaining(name, lw), object, store, cache.ReflectorOptions{
		Logger: &logger, Name: name,
		// An API server that comes back is found within seconds; the default waits up to half a minute.
		Backoff: &wait.Backoff{Duration: 200 * time.Millisecond, Cap: 5 * time.Second, Steps: 6, Factor: 2, Jitter: 0.5},
	})
	defer s.proof.forget(name)
	for ctx.Err() == nil {
		watching, restart := context.WithCancel(ctx)
		s.proof.watching(name, from, store, restart)
		r.RunWithContext(watching)
		restart()
	}
}

// complaining logs why a list or a watch fails: until a resource has been read once, nothing is served.
func (s *Source) complaining(name string, lw *cache.ListWatch) *cache.ListWatch {
	complain := func(ctx context.Context, err error) {
		switch {
		case err == nil || ctx.Err() != nil:
		case utilnet.IsConnectionRefused(err):
			s.log.Debug("the API server is away; trying again", "resource", name, "error", err)
		default:
			s.log.Warn("cannot read a resource; trying again", "resource", name, "error", err)
		}
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			l, err := lw.ListWithContext(ctx, o)
			complain(ctx, err)
			return l, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := lw.WatchWithContext(ctx, o)
			complain(ctx, err)
			return w, err
		},
	}
}

// kinds are the custom kinds to read.
func (s *Source) kinds() []convert.Kind {
	return slices.DeleteFunc(convert.Kinds(), func(k convert.Kind) bool {
		return !k.Custom() || k.Compat != "" && !slices.Contains(s.cfg.Compat, k.Compat)
	})
}
