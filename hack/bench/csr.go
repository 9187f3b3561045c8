package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"
)

// CSR is what comes of asking for certificates.
type CSR struct {
	// Istiod is istiod as it comes. Unlimited is istiod without the limit of its API client (80 requests a second: it has every token
	// reviewed at each CSR), and with an ECDSA issuer, as Fairlead's is, in the place of its RSA one.
	Istiod, Unlimited *Signing `json:",omitempty"`
	// ByIstio are Istio's clients with Fairlead; Single and Batch ask by Fairlead's own API, Batch for all pods of a node at once.
	ByIstio, Single, Batch *Signing `json:",omitempty"`
	Herd                   *Herd    `json:",omitempty"`
}

// csrBench measures certificate authorities.
type csrBench struct {
	*parts
	opts  options
	world *csrWorld
	pool  *pool
	api   int // the API server's process
}

// poolSize is how many CSRs are used in turn by the loops.
const poolSize = 4096

// measureCSRs measures Fairlead, istiod twice, and Fairlead with a herd, in a cluster with few pods that then gets many.
func (p *parts) measureCSRs(ctx context.Context, o options) (out *CSR, err error) {
	progress("certificates: a kube-apiserver with %d nodes of %d pods", csrCallers, podsOfNode)
	b := &csrBench{parts: p, opts: o}
	if b.world, err = newCSRWorld(ctx, p.crds); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.world.api.Stop()) }()
	if err := b.world.grow(ctx, csrCallers); err != nil {
		return nil, err
	}
	if b.api, err = childProcess("kube-apiserver"); err != nil {
		return nil, err
	}
	out = &CSR{}
	if o.load > 0 {
		if err := b.loops(ctx, out); err != nil {
			return out, err
		}
	}
	if o.has("fairlead") {
		out.Herd, err = b.herd(ctx)
	}
	return out, err
}

// loops measures how single callers are served.
func (b *csrBench) loops(ctx context.Context, out *CSR) error {
	csrs, err := newCSRs(ctx, poolSize)
	if err != nil {
		return err
	}
	b.pool = &pool{patience: b.opts.callTimeout(), csrs: csrs}
	if b.opts.has("fairlead") {
		if err := b.fairlead(ctx, out); err != nil {
			return err
		}
	}
	if b.opts.has("istiod") {
		if err := b.istiods(ctx, out); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			progress("  istiod was not measured to the end: %v", err) // what was measured is worth more
		}
	}
	return nil
}

func (b *csrBench) fairlead(ctx context.Context, out *CSR) error {
	dir, err := os.MkdirTemp(b.dir, "fairlead-csr-")
	if err != nil {
		return err
	}
	return b.with(ctx, "fairlead", func() (*server, error) {
		return startFairleadCA(dir, b.authorityDir(), b.parts.fairlead, b.world.kubeconfig)
	}, func(s *server) error {
		at, err := fairleadAuthority(ctx, s, b.authorityDir())
		if err != nil {
			return err
		}
		for _, m := range []struct {
			how  way
			into **Signing
		}{{istioWay(), &out.ByIstio}, {singleWay(), &out.Single}, {batchWay(), &out.Batch}} {
			if *m.into, err = b.signing(ctx, s, at, m.how); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *csrBench) istiods(ctx context.Context, out *CSR) error {
	for _, m := range []struct {
		name  string
		tuned bool
		into  **Signing
	}{{"istiod", false, &out.Istiod}, {"istiod, unlimited", true, &out.Unlimited}} {
		dir, err := os.MkdirTemp(b.dir, "istiod-csr-")
		if err != nil {
			return err
		}
		var roots *x509.CertPool
		err = b.with(ctx, m.name, func() (s *server, err error) {
			s, roots, err = startIstiodCA(dir, b.istiod, b.world.kubeconfig, m.tuned)
			return s, err
		}, func(s *server) error {
			if roots == nil {
				if roots, err = b.istiodRoots(ctx); err != nil {
					return err
				}
			}
			*m.into, err = b.signing(ctx, s, authorityAt{s.tls, roots, istiodName}, istioWay())
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// with runs a server for as long as do takes.
func (b *csrBench) with(ctx context.Context, name string, start func() (*server, error), do func(*server) error) (err error) {
	begin := time.Now()
	s, err := start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.process.Stop(stopGrace)) }()
	if err := errors.Join(s.waitReady(ctx), ctx.Err()); err != nil {
		return err
	}
	progress("  %s is ready after %.1f s", name, time.Since(begin).Seconds())
	if err := do(s); err != nil {
		return fmt.Errorf("%s: %w\n%s", name, err, s.process.Log(4096))
	}
	return nil
}

// signing is one server asked in one way.
func (b *csrBench) signing(ctx context.Context, s *server, at authorityAt, how way) (_ *Signing, err error) {
	callers, err := b.world.callers(ctx, at, csrCallers, how)
	defer func() { err = errors.Join(err, closeAll(callers)) }()
	if err != nil {
		return nil, err
	}
	if err := warm(ctx, callers, b.pool, at); err != nil {
		return nil, fmt.Errorf("%s: %w", how.name, err)
	}
	// What a limit lets through at first, and what a server learns of its callers, is over when the clock starts.
	if n, _, why := closedLoop(ctx, callers, b.pool, b.opts.leadIn()); n == 0 {
		return nil, fmt.Errorf("%s: nobody got a certificate: %w", how.name, errors.Join(why, ctx.Err()))
	}
	profiled := b.profiles(ctx, s, how.name)
	before, err := readClocks(s.pid(), b.api, os.Getpid())
	if err != nil {
		return nil, err
	}
	stick := yardstick()
	n, failed, why := closedLoop(ctx, callers, b.pool, b.opts.load)
	after, err := readClocks(s.pid(), b.api, os.Getpid())
	crypto, err2 := stick()
	if err := errors.Join(err, err2, profiled()); err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, fmt.Errorf("%s: nobody got a certificate: %w", how.name, errors.Join(why, ctx.Err()))
	}
	each := func(d time.Duration) float64 { return float64(d) / 1e3 / float64(n) }
	out := &Signing{
		PerSecond: float64(n) / after.at.Sub(before.at).Seconds(), Failed: failed, Signature: crypto,
		CPU: each(after.server - before.server), APICPU: each(after.api - before.api), ClientCPU: each(after.client - before.client),
	}
	times, lost, why2 := openLoop(ctx, callers, b.pool, csrRate/float64(how.each), b.opts.load)
	out.Asked, out.Count, out.Failed = csrRate, (len(times)+lost)*how.each, failed+lost*how.each
	out.P50, out.P99, out.Last = milliseconds(quantile(times, 0.5)), milliseconds(quantile(times, 0.99)), milliseconds(quantile(times, 1))
	progress("  %s: %.0f/s, CPU a certificate %.0f µs (a signature and a verification %.0f, API server %.0f, callers %.0f); at %d/s p50 %.2f ms, p99 %.2f ms, last %.1f ms, %d of %d failed",
		how.name, out.PerSecond, out.CPU, out.Signature, out.APICPU, out.ClientCPU, csrRate, out.P50, out.P99, out.Last, out.Failed, n+out.Count)
	if err := errors.Join(why, why2); err != nil {
		progress("  some failed: %v", errors.Join(why, why2))
	}
	return out, ctx.Err()
}
