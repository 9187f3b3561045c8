package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// changeTimeout bounds the wait for one change, quietTimeout that for the pause after it, coldTimeout that for all clients.
const (
	changeTimeout = time.Minute
	quietTimeout  = time.Minute
	restTimeout   = 3 * time.Minute
	coldTimeout   = 10 * time.Minute
)

// bench measures one server.
type bench struct {
	opts     options
	kind     kindOfServer
	next     func(kind string, n, sequence int) (change, error)
	server   *server
	out      *Figures
	sequence int // of changes
}

// start runs the server until it is ready and has nothing more to do.
func (b *bench) start(ctx context.Context, dir, binary, config string) error {
	begin := time.Now()
	var err error
	if b.server, err = b.kind.start(dir, binary, config); err != nil {
		return err
	}
	if err := errors.Join(b.server.waitReady(ctx), ctx.Err()); err != nil {
		return err
	}
	b.out.ReadySeconds = time.Since(begin).Seconds()
	cpu, err := cpuTime(b.server.pid())
	if err != nil {
		return err
	}
	b.out.ReadyCPU = cpu.Seconds()
	progress("  %s is ready after %.1f s (%.1f s of CPU)", b.kind.name, b.out.ReadySeconds, b.out.ReadyCPU)
	return b.quiet(ctx, nil, b.kind.quiet, quietTimeout)
}

// stop ends the server; safe before start.
func (b *bench) stop() error {
	if b.server == nil || b.server.process == nil {
		return nil
	}
	return b.server.process.Stop(stopGrace)
}

// cold connects all clients at once and waits until each has everything. The caller closes the clients, also after an error.
func (b *bench) cold(ctx context.Context, p profile) (c *clients, cold Cold, err error) {
	before, err := cpuTime(b.server.pid())
	if err != nil {
		return nil, cold, err
	}
	if c, err = connect(ctx, b.server.xds, b.opts.clients, p); err != nil {
		return nil, cold, err
	}
	times, err := c.ready(ctx)
	if err != nil {
		return c, cold, fmt.Errorf("%s: %w\n%s", b.kind.name, err, b.server.process.Log(2048))
	}
	if err := b.quiet(ctx, c, b.kind.quiet, quietTimeout); err != nil {
		return c, cold, err
	}
	after, err := cpuTime(b.server.pid())
	if err != nil {
		return c, cold, err
	}
	cold.First, cold.P50, cold.Last = milliseconds(quantile(times, 0)), milliseconds(quantile(times, 0.5)), milliseconds(quantile(times, 1))
	cold.BytesPerClient, cold.CPU = float64(c.received())/float64(c.n), (after - before).Seconds()
	_, cold.PeakMB, err = memory(b.server.pid())
	progress("  cold: first %.0f ms, p50 %.0f ms, last of %d %.0f ms; %.0f kB a client, %.2f s of CPU, %.0f MB",
		cold.First, cold.P50, c.n, cold.Last, cold.BytesPerClient/1000, cold.CPU, cold.PeakMB)
	return c, cold, err
}

// rest lets the server end what new clients have caused, its writing of conditions above all, so that no change pays for it.
// The result is its CPU time since the moment that before is of, in seconds.
func (b *bench) rest(ctx context.Context, c *clients, before time.Duration) (float64, error) {
	begin := time.Now()
	if err := b.quietBelow(ctx, c, 50, 3*time.Second, restTimeout); err != nil {
		return 0, err
	}
	now, err := cpuTime(b.server.pid())
	if again := c.rested(); again > 0 {
		progress("  %d clients were put off at first and came again", again)
	}
	progress("  at rest after %.1f s more; %.2f s of CPU", time.Since(begin).Seconds(), (now - before).Seconds())
	return (now - before).Seconds(), err
}

// changes makes changes of one kind, one after the other, and waits for each to arrive everywhere and for the pause after it.
// There are at least three, and no new one begins when the budget of time is over.
func (b *bench) changes(ctx context.Context, c *clients, kind string) (result Change, err error) {
	var all, lasts []time.Duration
	bytes := c.received()
	cpu, err := cpuTime(b.server.pid())
	if err != nil {
		return result, err
	}
	begin := time.Now()
	for n := 0; n < b.opts.changes && (n < 3 || time.Since(begin) < b.opts.budget); n++ {
		times, err := b.once(ctx, c, kind, n)
		if err != nil {
			return result, fmt.Errorf("%s: %s: %w", b.kind.name, kind, err)
		}
		result.Count++
		result.Missed += c.n - len(times)
		if len(times) > 0 {
			all = append(all, times...)
			lasts = append(lasts, quantile(times, 1))
		}
	}
	cpuAfter, err := cpuTime(b.server.pid())
	if err != nil {
		return result, err
	}
	n := float64(result.Count)
	result.P50, result.P99, result.Last = milliseconds(quantile(all, 0.5)), milliseconds(quantile(all, 0.99)), milliseconds(quantile(lasts, 0.5))
	result.BytesPerClient, result.CPU = float64(c.received()-bytes)/n/float64(c.n), (cpuAfter-cpu).Seconds()/n
	result.MB, _, err = memory(b.server.pid())
	progress("  %d × %s: p50 %.1f ms, p99 %.1f ms, last %.1f ms; %.2f kB a client, %.4f s of CPU, missed %d",
		result.Count, kind, result.P50, result.P99, result.Last, result.BytesPerClient/1000, result.CPU, result.Missed)
	return result, errors.Join(err, c.broken())
}

// once makes one change; the times are those of the clients that saw it before the time was over.
func (b *bench) once(ctx context.Context, c *clients, kind string, n int) ([]time.Duration, error) {
	b.sequence++
	change, err := b.next(kind, n, b.sequence)
	if err != nil {
		return nil, err
	}
	watch := c.watch(kind, change.mark)
	defer watch.Stop()
	start := time.Now()
	if err := change.write(ctx); err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	seen, err := watch.Wait(bounded)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		progress("  %s %d: %v", kind, n, err)
	}
	times := make([]time.Duration, len(seen))
	for i, at := range seen {
		times[i] = at.Sub(start)
	}
	return times, b.quiet(ctx, c, b.kind.quiet, quietTimeout)
}

// quiet returns when no client (nil: there is none) has received anything during a pause, and the server has used less than a
// tenth of a core in it. A server that never rests is waited for until the timeout: what it does until then counts all the same.
func (b *bench) quiet(ctx context.Context, c *clients, pause, timeout time.Duration) error {
	return b.quietBelow(ctx, c, 10, pause, timeout)
}

// quietBelow is quiet with another share of a core.
func (b *bench) quietBelow(ctx context.Context, c *clients, share time.Duration, pause, timeout time.Duration) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var since time.Time
	var bytes uint64
	var cpu time.Duration
	for deadline := time.Now().Add(timeout); time.Now().Before(deadline); {
		now := time.Now()
		cpuNow, err := cpuTime(b.server.pid())
		if err != nil {
			return err
		}
		bytesNow := uint64(0)
		if c != nil {
			bytesNow = c.received()
		}
		const grain = 3 * time.Millisecond // what a server does in its sleep
		if since.IsZero() || bytesNow != bytes || cpuNow-cpu > now.Sub(since)/share+grain {
			since, bytes, cpu = now, bytesNow, cpuNow
		}
		if now.Sub(since) >= pause {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}
