package main

import (
	"context"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

func TestSmallHeapsAreCollectedSeldom(t *testing.T) {
	for live, want := range map[uint64]int{0: 4800, 16 << 20: 300, 48 << 20: 100, 64 << 20: 75, 1 << 30: 75} {
		if got := percentFor(live); got != want {
			t.Errorf("%d bytes stay: %d %%, want %d", live, got, want)
		}
	}
}

func TestPaceFollowsTheHeap(t *testing.T) {
	t.Cleanup(func() { debug.SetGCPercent(100) })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	paceCollections(ctx)
	until := func(what string, ok func(percent uint64) bool) {
		t.Helper()
		s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		for end := time.Now().Add(10 * time.Second); ; {
			runtime.GC()
			if metrics.Read(s); ok(s[0].Value.Uint64()) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: the heap may grow by %d %%", what, s[0].Value.Uint64())
			}
		}
	}
	until("a small heap", func(p uint64) bool { return p > gcPercent })
	much := make([]byte, 256<<20)
	until("a large one", func(p uint64) bool { return p == gcPercent })
	runtime.KeepAlive(much)
}
