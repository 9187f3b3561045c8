package main

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"runtime/debug"
	"runtime/metrics"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

const (
	// gcPercent is how much the heap may grow between two collections. Most of it are tables that stay, so that Go's 100 would
	// hold back as much memory for garbage as the whole mesh takes.
	gcPercent = 75
	// leastGarbage is what it may grow by where the mesh is small, in bytes: a tenth of the work of an authority would be
	// collections of a few megabytes.
	leastGarbage = 48 << 20
)

// memoryRatio is the part of a container's memory limit that the runtime may fill before it collects all the time; the rest is
// for the binary, and for what the kernel holds for us.
const memoryRatio = 0.8

// limitMemory has a container's limit kept, if there is one: when thousands of nodes come at once, garbage is collected sooner
// rather than the process killed.
func limitMemory(log *slog.Logger) {
	limit, err := memlimit.SetGoMemLimitWithOpts(memlimit.WithRatio(memoryRatio))
	switch {
	case errors.Is(err, memlimit.ErrNoCgroup), errors.Is(err, memlimit.ErrCgroupsNotSupported):
	case err != nil:
		log.Warn("cannot read the memory limit of the container; garbage is collected without regard to it", "error", err)
	case limit > 0:
		log.Info("memory is limited", "bytes", limit)
	}
}

// paceCollections keeps to both until ctx ends: after each collection it looks at what has stayed.
func paceCollections(ctx context.Context) {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := debug.SetGCPercent(gcPercent)
	var collected func(int)
	collected = func(int) {
		if ctx.Err() != nil {
			return
		}
		metrics.Read(live)
		// Setting it stops the world for a moment, so a small difference is none.
		if want := percentFor(live[0].Value.Uint64()); want > now+now/10 || want < now-now/10 {
			debug.SetGCPercent(want)
			now = want
		}
		runtime.AddCleanup(new([16]byte), collected, 0)
	}
	runtime.AddCleanup(new([16]byte), collected, 0)
}

// percentFor gives the growth for a heap of which so many bytes stay.
func percentFor(live uint64) int {
	return max(gcPercent, int(leastGarbage*100/max(live, 1<<20)))
}
