package push

import (
	"context"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"google.golang.org/grpc/status"

	"fairlead.io/fairlead/pkg/snapshot"
)

// patience is how long a new client keeps its place among the admitted ones: one that does not read or does not answer
// must not keep others waiting.
const patience = 2 * time.Second

// admission bounds how many clients are brought from nothing to a whole state at the same time, in the order of their
// coming. A new client's first requests name all that it has, and its first responses are all that there is: the memory
// for those is that of the admitted, however many reconnect at once. Clients that have settled are not counted.
type admission struct{ places *semaphore.Weighted }

func newAdmission(places int) *admission {
	return &admission{places: semaphore.NewWeighted(int64(places))}
}

// enter waits until the source is ready and there is a place.
func (a *admission) enter(ctx context.Context, src snapshot.Source, closing <-chan struct{}) (*place, error) {
	for src.Latest() == nil {
		select {
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		case <-closing:
			return nil, errShutdown
		case <-src.Ready():
		}
	}
	wait, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-closing:
			cancel()
		case <-stop:
		}
	}()
	if a.places.Acquire(wait, 1) != nil {
		if ctx.Err() != nil {
			return nil, status.FromContextError(ctx.Err()).Err()
		}
		return nil, errShutdown
	}
	p := &place{admission: a}
	p.timer = time.AfterFunc(patience, p.free)
	return p, nil
}

// place is one client's among the admitted ones.
type place struct {
	admission *admission
	timer     *time.Timer
	once      sync.Once
}

func (p *place) free() { p.once.Do(func() { p.admission.places.Release(1) }) }

// leave gives the place to the next client. It may be repeated.
func (p *place) leave() {
	p.timer.Stop()
	p.free()
}
