package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	csrCallers = 16
	csrRate    = 1000 // CSRs a second of the open loop
	day        = 24 * time.Hour
)

// callTimeout is how long a caller waits; those who wait in vain are failures. leadIn is how long callers ask before it counts:
// istiod lets 160 requests through before its limit is felt.
func (o options) callTimeout() time.Duration { return 2 * o.load }
func (o options) leadIn() time.Duration      { return o.load / 3 }

// Signing is what one server does with CSRs that come in one way.
type Signing struct {
	// PerSecond, CPU and APICPU are of callers that ask again as soon as they have an answer. CPU is the server's, APICPU that of
	// its API server, ClientCPU that of the callers themselves: microseconds a certificate.
	PerSecond              float64
	CPU, APICPU, ClientCPU float64
	// Signature is what an ECDSA P-256 signature and the verification of one cost meanwhile, in microseconds of CPU.
	Signature float64
	// Asked is how many certificates a second were asked for in the open loop, P50, P99 and Last are how long they took from
	// the moment when they were due, in milliseconds: those that came.
	Asked          float64
	P50, P99, Last float64
	// Count of the open loop; Failed of both loops.
	Count, Failed int
}

// pool gives CSRs, again from the beginning when all have been given.
type pool struct {
	patience time.Duration // how long a call may take
	csrs     []csr
	next     atomic.Int64
}

func (p *pool) take(n int) []csr {
	from := int(p.next.Add(int64(n))-int64(n)) % (len(p.csrs) - n + 1)
	return p.csrs[from : from+n]
}

// clocks are what CPU time is read from, before and after.
type clocks struct {
	at                  time.Time
	server, api, client time.Duration
}

func readClocks(server, api, client int) (c clocks, err error) {
	var errs [3]error
	c.server, errs[0] = cpuTime(server)
	c.api, errs[1] = cpuTime(api)
	c.client, errs[2] = cpuTime(client)
	c.at = time.Now()
	return c, errors.Join(errs[:]...)
}

// closedLoop has every caller ask, again and again, for the given time.
func closedLoop(ctx context.Context, callers []*caller, p *pool, length time.Duration) (certificates, failed int, first error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	end := time.Now().Add(length)
	for _, c := range callers {
		wg.Go(func() {
			n, bad := 0, 0
			var err error
			for time.Now().Before(end) && ctx.Err() == nil {
				if _, e := c.once(ctx, p); e != nil {
					bad, err = bad+c.each, e
				} else {
					n += c.each
				}
			}
			mu.Lock()
			defer mu.Unlock()
			certificates, failed = certificates+n, failed+bad
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return certificates, failed, first
}

func (c *caller) once(ctx context.Context, p *pool) ([]issued, error) {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	return c.ask(ctx, p.take(c.each))
}

// openLoop asks so many times a second whatever comes back, by all callers in turn. What a call takes counts from the moment
// when it was due, so that nothing is hidden when answers are slow. Times are of the calls that were answered.
func openLoop(ctx context.Context, callers []*caller, p *pool, perSecond float64, length time.Duration) (times []time.Duration, failed int, first error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range int(perSecond * length.Seconds()) {
		due := begin.Add(time.Duration(float64(i) / perSecond * 1e9))
		if wait := time.Until(due); wait > 0 {
			time.Sleep(wait)
		}
		if ctx.Err() != nil {
			break
		}
		c := callers[i%len(callers)]
		wg.Go(func() {
			_, err := c.once(ctx, p)
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				times = append(times, took)
				return
			}
			failed++
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	return times, failed, first
}

// warm has every caller ask twice, so that it is connected and known, and looks whether what comes is what was asked for.
func warm(ctx context.Context, callers []*caller, p *pool, at authorityAt) error {
	for range 2 {
		for i, c := range callers {
			certs, err := c.once(ctx, p)
			if err != nil {
				return fmt.Errorf("caller %d: %w", i, err)
			}
			for _, cert := range certs {
				if err := cert.check(at.roots); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
