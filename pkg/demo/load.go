package demo

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// workers is how many requests are under way at a time while manifests are edited.
const workers = 4

// load sends requests to one host until it is stopped.
type load struct {
	cancel   context.CancelFunc
	wait     sync.WaitGroup
	requests atomic.Int64
	failed   atomic.Int64
	waiting  atomic.Pointer[expectation]

	mu    sync.Mutex // guards what follows
	fault string
}

// expectation is what the next new answer looks like.
type expectation struct {
	shows func(answer) bool
	once  sync.Once
	at    chan time.Time
}

func startLoad(ctx context.Context, c *client, port int, host string) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{cancel: cancel}
	for range workers {
		l.wait.Go(func() {
			for ctx.Err() == nil {
				a, err := c.get(ctx, port, host, "/")
				if ctx.Err() != nil {
					return
				}
				l.note(a, err)
			}
		})
	}
	return l
}

// note counts an answer and looks whether it is the one that is waited for.
func (l *load) note(a answer, err error) {
	l.requests.Add(1)
	if err != nil || a.code != 200 {
		l.failed.Add(1)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.fault == "" {
			l.fault = fmt.Sprintf("%d %v", a.code, err)
		}
		return
	}
	if e := l.waiting.Load(); e != nil && e.shows(a) {
		e.once.Do(func() { e.at <- time.Now() })
	}
}

// expect gives a channel with the time of the first answer that shows returns true for.
func (l *load) expect(shows func(answer) bool) <-chan time.Time {
	e := &expectation{shows: shows, at: make(chan time.Time, 1)}
	l.waiting.Store(e)
	return e.at
}

// more waits until n more requests have been answered.
func (l *load) more(ctx context.Context, n int64) error {
	until := l.requests.Load() + n
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for l.requests.Load() < until {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// stop ends the load, and may be called again. fault is what the first failed request gave.
func (l *load) stop() (requests, failed int64, fault string) {
	l.cancel()
	l.wait.Wait()
	return l.requests.Load(), l.failed.Load(), l.fault
}
