package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// Election is the Lease by which replicas elect the one that rotates the authority.
type Election struct {
	Client                    kubernetes.Interface
	Namespace, Name, Identity string
}

// elected stands for election, term after term.
type elected struct {
	cfg *Election
	log *slog.Logger
	won atomic.Bool
}

func (e *elected) leads() bool { return e.won.Load() }

func (e *elected) run(ctx context.Context) error {
	lock := &resourcelock.LeaseLock{
		LeaseMeta: metav1.ObjectMeta{Namespace: e.cfg.Namespace, Name: e.cfg.Name}, Client: e.cfg.Client.CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: e.cfg.Identity},
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, Name: e.cfg.Name, ReleaseOnCancel: true,
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { e.won.Store(true) },
			OnStoppedLeading: func() { e.won.Store(false) },
			OnNewLeader: func(identity string) {
				e.log.Info("the authority is rotated by", "replica", identity, "lease", e.cfg.Namespace+"/"+e.cfg.Name)
			},
		},
	})
	if err != nil {
		return fmt.Errorf("stand for election: %w", err)
	}
	ctx = klog.NewContext(ctx, logr.FromSlogHandler(e.log.Handler()))
	for ctx.Err() == nil {
		elector.Run(ctx)
	}
	return nil
}
