package issue

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		entered := make(chan func(), maxWorking+maxWaiting)
		failed := make(chan error, maxWaiting)
		for range maxWorking + maxWaiting {
			go func() {
				leave, err := g.enter(ctx, "a")
				if err != nil {
					failed <- err
					return
				}
				entered <- leave
			}()
		}
		synctest.Wait()
		if n := len(entered); n != maxWorking {
			t.Fatalf("%d calls of one caller are under way; want %d", n, maxWorking)
		}
		if _, err := g.enter(ctx, "a"); !errors.Is(err, errCrowded) {
			t.Errorf("one too many: %v", err)
		}
		leave, err := g.enter(ctx, "b")
		if err != nil {
			t.Fatalf("another caller is kept out: %v", err)
		}
		leave()
		(<-entered)()
		synctest.Wait()
		if n := len(entered); n != maxWorking {
			t.Errorf("%d calls under way after one left; want %d", n, maxWorking)
		}
		cancel()
		synctest.Wait()
		if n := len(failed); n != maxWaiting-1 {
			t.Errorf("%d of those who waited were told that their time was up; want %d", n, maxWaiting-1)
		}
		for len(entered) > 0 {
			(<-entered)()
		}
		if len(g.callers) != 0 {
			t.Errorf("%d callers are remembered that are gone", len(g.callers))
		}
	})
}
