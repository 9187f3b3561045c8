package issue

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// desk is where certificates are made: by as many goroutines as there are processors, for the call that came first. When
// thousands of nodes come at once, the first have theirs after milliseconds and leave, where all together would wait for
// the end and hold what they have sent. The goroutines stay while there is work, since a new one has to grow its stack: calls
// that signed in goroutines of their own, behind a semaphore, took 7% more CPU for one certificate (4% less in batches of 20).
type desk struct {
	most int

	mu      sync.Mutex // guards what follows
	queue   []*order   // of which something is to be begun
	clerks  int        // goroutines
	idle    int        // of them, those that nobody has woken
	wake    chan struct{}
	patient time.Duration // how long a goroutine waits for work
}

// order is the work of a call: n pieces that may be done at once.
type order struct {
	ctx  context.Context
	do   func(i int)
	n    int
	next int // guarded by desk.mu
	left sync.WaitGroup
}

func newDesk() *desk {
	most := runtime.GOMAXPROCS(0)
	return &desk{most: most, wake: make(chan struct{}, most), patient: 50 * time.Millisecond}
}

// work has do(0) to do(n-1) done and returns when none of them runs any more. The error is that of a context which ended before
// all were begun.
func (d *desk) work(ctx context.Context, n int, do func(i int)) error {
	o := &order{ctx: ctx, do: do, n: n}
	o.left.Add(n)
	d.mu.Lock()
	d.queue = append(d.queue, o)
	for range min(n, d.most) {
		switch {
		case d.idle > 0:
			d.idle--
			d.wake <- struct{}{} // has room for all
		case d.clerks < d.most:
			d.clerks++
			go d.clerk()
		}
	}
	d.mu.Unlock()
	o.left.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	if o.next <= n {
		return nil
	}
	return ctx.Err()
}

// clerk works until there has been nothing to do for a while.
func (d *desk) clerk() {
	timer := time.NewTimer(d.patient)
	defer timer.Stop()
	for {
		o, i := d.take()
		if o != nil {
			o.do(i)
			o.left.Done()
			continue
		}
		timer.Reset(d.patient)
		select {
		case <-d.wake:
			continue
		case <-timer.C:
		}
		d.mu.Lock()
		if d.idle > 0 {
			d.idle--
			d.clerks--
			d.mu.Unlock()
			return
		}
		d.mu.Unlock()
		<-d.wake // it was sent just now
	}
}

// take gives the next piece of the oldest order; nil when there is none, and the clerk has become idle. What nobody waits for
// any more is dropped.
func (d *desk) take() (*order, int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) > 0 {
		o := d.queue[0]
		if o.ctx.Err() != nil {
			d.drop()
			o.left.Add(o.next - o.n)
			o.next = o.n + 1
			continue
		}
		i := o.next
		if o.next++; o.next == o.n {
			d.drop()
		}
		return o, i
	}
	d.idle++
	return nil, 0
}

// drop takes the first order from the queue. The lock is held.
func (d *desk) drop() {
	d.queue[0] = nil
	if d.queue = d.queue[1:]; len(d.queue) == 0 {
		d.queue = nil
	}
}
