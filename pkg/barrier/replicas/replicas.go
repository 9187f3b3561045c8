// Package replicas finds the other replicas of the control plane in a cluster: each keeps a Lease with its address.
//
// It stands beside pkg/barrier, at the end of the line source → table → resolve → translate → snapshot → push → {Envoy, shim} →
// ACK/NACK. A Lease is believed while it is seen to be renewed; clocks of different machines are not compared.
package replicas

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applied "k8s.io/client-go/applyconfigurations/coordination/v1"
	client "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/rest"
)

const (
	// Prefix begins the names of the Leases; Label is on all of them, and Annotation has the address.
	Prefix     = "fairlead-replica-"
	Label      = "fairlead.io/replica"
	Annotation = "fairlead.io/xds-address"
	// timeout bounds one request.
	timeout = 10 * time.Second
)

// Config is what a Registry needs. All but Log and Renew are required.
type Config struct {
	REST      *rest.Config
	Namespace string
	// Identity names this replica; Address is where others reach its xDS port.
	Identity, Address string
	// Found is called with the addresses of all others after every look.
	Found func(addresses []string)
	// Check refuses an address that must not be dialled.
	Check func(address string) error
	// Renew is the time between two renewals. Default 2 s. A Lease that has not been renewed for 5 times as long is
	// expired, and is removed after 20 times.
	Renew time.Duration
	Log   *slog.Logger
}

// Registry keeps the Lease of this replica and reads those of the others.
type Registry struct {
	cfg    Config
	leases client.LeaseInterface
	listed chan struct{}

	// Only Run touches these.
	seen map[string]seen // by Lease
}

// seen is a Lease as it was last seen to be another than before.
type seen struct {
	version string
	at      time.Time
}

// New makes a Registry. It does not connect until Run.
func New(cfg Config) (*Registry, error) {
	if cfg.REST == nil || cfg.Namespace == "" || cfg.Identity == "" || cfg.Address == "" || cfg.Found == nil || cfg.Check == nil {
		return nil, errors.New("find replicas: REST, Namespace, Identity, Address, Found and Check are required")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Renew == 0 {
		cfg.Renew = 2 * time.Second
	}
	c := rest.CopyConfig(cfg.REST)
	c.QPS = -1
	leases, err := client.NewForConfig(c)
	if err != nil {
		return nil, fmt.Errorf("find replicas: %w", err)
	}
	return &Registry{cfg: cfg, leases: leases.Leases(cfg.Namespace), listed: make(chan struct{}), seen: map[string]seen{}}, nil
}

// Listed is closed when the Lease of this replica has been written: whoever looks for replicas from then on finds it.
func (r *Registry) Listed() <-chan struct{} { return r.listed }

// Run renews and reads until ctx ends, which is no error, and then removes the Lease.
func (r *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(r.cfg.Renew)
	defer tick.Stop()
	failing, listed := false, false
	for {
		err := r.renew(ctx)
		if err == nil && !listed {
			listed = true
			close(r.listed)
		}
		err = errors.Join(err, r.read(ctx))
		if ctx.Err() == nil && (err != nil) != failing {
			if failing = err != nil; failing {
				r.cfg.Log.Warn("cannot keep the Leases of the replicas; trying again", "error", err)
			}
		}
		select {
		case <-ctx.Done():
			r.remove()
			return nil
		case <-tick.C:
		}
	}
}

// renew writes the Lease of this replica.
func (r *Registry) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	lease := applied.Lease(Prefix+r.cfg.Identity, r.cfg.Namespace).
		WithLabels(map[string]string{Label: "true"}).
		WithAnnotations(map[string]string{Annotation: r.cfg.Address}).
		WithSpec(applied.LeaseSpec().
			WithHolderIdentity(r.cfg.Identity).
			WithLeaseDurationSeconds(max(1, int32(5*r.cfg.Renew/time.Second))).
			WithRenewTime(metav1.NowMicro()))
	_, err := r.leases.Apply(ctx, lease, metav1.ApplyOptions{FieldManager: "fairlead", Force: true}) // the name is ours alone
	if err != nil {
		return fmt.Errorf("renew lease %s: %w", *lease.Name, err)
	}
	return nil
}

// read looks who else is there, and removes what nobody renews.
func (r *Registry) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	list, err := r.leases.List(ctx, metav1.ListOptions{LabelSelector: Label + "=true"})
	if err != nil {
		return fmt.Errorf("read leases of replicas: %w", err)
	}
	now := time.Now()
	there, found := map[string]seen{}, map[string]struct{}{}
	for i := range list.Items {
		l := &list.Items[i]
		s := r.seen[l.Name]
		if s.version != l.ResourceVersion {
			s = seen{l.ResourceVersion, now}
		}
		there[l.Name] = s
		age, address := now.Sub(s.at), l.Annotations[Annotation]
		switch {
		case l.Name == Prefix+r.cfg.Identity:
		case age >= 20*r.cfg.Renew:
			r.expire(ctx, l)
		case age >= 5*r.cfg.Renew:
		default:
			if err := r.cfg.Check(address); err != nil {
				r.cfg.Log.Debug("left out a replica", "lease", l.Name, "error", err)
				continue
			}
			found[address] = struct{}{}
		}
	}
	r.seen = there
	r.cfg.Found(slices.Sorted(maps.Keys(found)))
	return nil
}

// expire removes a Lease that nobody renews, unless somebody just does.
func (r *Registry) expire(ctx context.Context, l *coordinationv1.Lease) {
	o := metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &l.UID, ResourceVersion: &l.ResourceVersion}}
	if err := r.leases.Delete(ctx, l.Name, o); err == nil {
		r.cfg.Log.Info("removed the Lease of a replica that is gone", "lease", l.Name)
	}
}

// remove takes the own Lease away, so that nobody looks for this replica any more.
func (r *Registry) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if err := r.leases.Delete(ctx, Prefix+r.cfg.Identity, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		r.cfg.Log.Debug("cannot remove the Lease of this replica", "error", err)
	}
}
