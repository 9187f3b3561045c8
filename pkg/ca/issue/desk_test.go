package issue

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The call that came first is through before the second begins, however much it asks for, and no more is done at once than
// there are clerks.
func TestDeskServesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		d.most, d.wake = 2, make(chan struct{}, 2)
		var busy, most atomic.Int64
		var mu sync.Mutex
		var begun []int
		var wg sync.WaitGroup
		for call := range 3 {
			wg.Go(func() {
				err := d.work(t.Context(), 5, func(int) {
					most.Store(max(most.Load(), busy.Add(1)))
					mu.Lock()
					begun = append(begun, call)
					mu.Unlock()
					time.Sleep(time.Second)
					busy.Add(-1)
				})
				if err != nil {
					t.Error(err)
				}
			})
			synctest.Wait() // it stands in the queue
		}
		began := time.Now()
		wg.Wait()
		if took := time.Since(began); took != 8*time.Second { // 15 pieces by two
			t.Errorf("it took %s", took)
		}
		if most.Load() != 2 {
			t.Errorf("%d at once", most.Load())
		}
		if !slices.IsSorted(begun) || len(begun) != 15 {
			t.Errorf("calls were begun as %v", begun)
		}
		time.Sleep(d.patient)
		synctest.Wait()
		if d.clerks != 0 || d.idle != 0 {
			t.Errorf("%d clerks are there, %d idle, when there has been nothing to do", d.clerks, d.idle)
		}
	})
}

// What nobody waits for any more is not done, and who asked is told; what is being done is waited for.
func TestDeskDropsWhatNobodyWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		d.most, d.wake = 1, make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var done atomic.Int64
		result := make(chan error, 1)
		go func() {
			result <- d.work(ctx, 3, func(int) { time.Sleep(time.Second); done.Add(1) })
		}()
		time.Sleep(500 * time.Millisecond)
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) || done.Load() != 1 {
			t.Errorf("%v after %d of 3", err, done.Load())
		}
		if err := d.work(t.Context(), 1, func(int) { done.Add(1) }); err != nil || done.Load() != 2 {
			t.Errorf("the next call: %v", err)
		}
		time.Sleep(d.patient)
	})
}

// A clerk that gives up at the moment when work comes does it first.
func TestDeskLosesNothing(t *testing.T) {
	d := newDesk()
	d.patient = time.Microsecond
	var done atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 300 {
				if err := d.work(t.Context(), 2, func(int) { done.Add(1) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if done.Load() != 4800 {
		t.Errorf("%d of 4800 were done", done.Load())
	}
}
