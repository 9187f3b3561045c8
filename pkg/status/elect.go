package status

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// elect stands for election until ctx ends, and writes during each term that it wins.
func (w *Writer) elect(ctx context.Context) error {
	l := w.cfg.Lease
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Namespace: l.Namespace, Name: l.Name},
		Client:     w.leases,
		LockConfig: resourcelock.ResourceLockConfig{Identity: l.Identity},
	}
	for ctx.Err() == nil {
		if err := w.candidacy(ctx, lock); err != nil {
			return err
		}
	}
	return nil
}

// candidacy waits for one term and serves it. The Lease is given up only after the last write has ended.
func (w *Writer) candidacy(ctx context.Context, lock resourcelock.Interface) error {
	l := w.cfg.Lease
	won := make(chan context.Context, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, Name: l.Name, ReleaseOnCancel: true,
		LeaseDuration: l.Duration, RenewDeadline: l.RenewDeadline, RetryPeriod: l.RetryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(term context.Context) { won <- term },
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				w.cfg.Log.Info("statuses are written by", "replica", identity, "lease", l.Namespace+"/"+l.Name)
			},
		},
	})
	if err != nil {
		return fmt.Errorf("stand for election: %w", err)
	}
	logger := logr.FromSlogHandler(w.cfg.Log.Handler())
	standing, withdraw := context.WithCancel(klog.NewContext(context.WithoutCancel(ctx), logger))
	done := make(chan struct{})
	go func() {
		defer close(done)
		elector.Run(standing)
	}()
	select {
	case <-ctx.Done():
	case <-done:
	case lead := <-won:
		term, end := context.WithCancel(lead)
		stop := context.AfterFunc(ctx, end)
		w.term(term)
		stop()
		end()
	}
	withdraw()
	<-done
	if ctx.Err() == nil {
		pause(ctx, l.RetryPeriod)
	}
	return nil
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
