package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// herdTimeout is how long an agent waits for everything; herdPause is how long it waits after it was put off.
const (
	herdTimeout = 30 * time.Second
	herdPause   = 500 * time.Millisecond
)

// Herd is what becomes of many agents that connect at once to a server that has just been started anew: each gets the identity of
// its node, and then those of its pods in one call.
type Herd struct {
	Nodes, Pods int // Pods of each node
	// Failed nodes had not everything after 30 s; PutOff were told to come again.
	Failed, PutOff int
	// From the moment when all begin until a node has everything, in milliseconds: those that got it.
	P50, P99, Last float64
	CPU            float64 // of the server, seconds
	ReadyMB        float64 // resident memory at most, before they came
	PeakMB         float64
}

// herder is one node's agent.
type herder struct {
	conn   *grpc.ClientConn
	wants  []*want // of the node, then of its pods
	csrs   []csr
	took   time.Duration
	putOff int
	got    []issued
	err    error
}

func (b *csrBench) herd(ctx context.Context) (out *Herd, err error) {
	n := b.opts.herd
	progress("a herd of %d nodes with %d pods each", n, podsOfNode)
	if err := b.world.grow(ctx, n); err != nil {
		return nil, err
	}
	csrs, err := newCSRs(ctx, n*(podsOfNode+1))
	if err != nil {
		return nil, err
	}
	tokens := make([]string, n)
	if err := writeAll(ctx, "tokens", n, func(ctx context.Context, i int) (err error) {
		tokens[i], err = b.world.token(ctx, b.world.nodes[i].agent, fairleadAudience)
		return err
	}); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(b.dir, "fairlead-herd-")
	if err != nil {
		return nil, err
	}
	err = b.with(ctx, "fairlead", func() (*server, error) {
		return startFairleadCA(dir, b.authorityDir(), b.parts.fairlead, b.world.kubeconfig)
	}, func(s *server) error {
		at, err := fairleadAuthority(ctx, s, b.authorityDir())
		if err != nil {
			return err
		}
		herd := make([]*herder, n)
		defer func() {
			for _, h := range herd {
				if h != nil {
					err = errors.Join(err, h.conn.Close())
				}
			}
		}()
		for i := range herd {
			node := b.world.nodes[i]
			from := i * (podsOfNode + 1)
			herd[i] = &herder{wants: append([]*want{{id: node.identity()}}, node.wants()...), csrs: csrs[from : from+podsOfNode+1]}
			if herd[i].conn, err = at.dial(tokens[i]); err != nil {
				return err
			}
		}
		if out, err = b.stampede(ctx, s, herd); err != nil {
			return err
		}
		return errors.Join(err, checkHerd(herd, at))
	})
	return out, err
}

// stampede lets the herd go.
func (b *csrBench) stampede(ctx context.Context, s *server, herd []*herder) (*Herd, error) {
	out := &Herd{Nodes: len(herd), Pods: podsOfNode}
	var err error
	if _, out.ReadyMB, err = memory(s.pid()); err != nil {
		return nil, err
	}
	if err := b.heapProfile(ctx, s, "before the herd"); err != nil {
		return nil, err
	}
	profiled := b.profiles(ctx, s, "herd")
	before, err := cpuTime(s.pid())
	if err != nil {
		return nil, err
	}
	var wg sync.WaitGroup
	begin := time.Now()
	for _, h := range herd {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, herdTimeout)
			defer cancel()
			h.run(ctx)
			h.took = time.Since(begin)
		})
	}
	wg.Wait()
	after, err := cpuTime(s.pid())
	if err != nil {
		return nil, err
	}
	out.CPU = (after - before).Seconds()
	_, out.PeakMB, err = memory(s.pid())
	var times []time.Duration
	var why error
	for _, h := range herd {
		out.PutOff += h.putOff
		if h.err != nil {
			out.Failed, why = out.Failed+1, h.err
			continue
		}
		times = append(times, h.took)
	}
	out.P50, out.P99, out.Last = milliseconds(quantile(times, 0.5)), milliseconds(quantile(times, 0.99)), milliseconds(quantile(times, 1))
	progress("  herd: p50 %.0f ms, p99 %.0f ms, last %.0f ms; %d of %d failed, %d times put off; %.2f s of CPU, %.0f MB (%.0f before)",
		out.P50, out.P99, out.Last, out.Failed, len(herd), out.PutOff, out.CPU, out.PeakMB, out.ReadyMB)
	if why != nil {
		progress("  one that failed: %v", why)
	}
	return out, errors.Join(err, profiled(), b.heapProfile(ctx, s, "after the herd"), ctx.Err())
}

// run gets the node's identity, and then those of its pods.
func (h *herder) run(ctx context.Context) {
	for _, part := range [][2]int{{0, 1}, {1, len(h.wants)}} {
		for {
			certs, err := signX509(ctx, h.conn, h.csrs[part[0]:part[1]], h.wants[part[0]:part[1]], grpc.WaitForReady(true))
			if code := status.Code(err); ctx.Err() == nil && (code == codes.Unavailable || code == codes.ResourceExhausted) {
				h.putOff++
				select {
				case <-ctx.Done():
				case <-time.After(herdPause):
				}
				continue
			}
			if err != nil {
				h.err = err
				return
			}
			h.got = append(h.got, certs...)
			break
		}
	}
}

// checkHerd looks at the node's certificate and one of a pod of every agent that got them.
func checkHerd(herd []*herder, at authorityAt) error {
	for i, h := range herd {
		if h.err != nil {
			continue
		}
		if len(h.got) != len(h.wants) {
			return fmt.Errorf("node %d got %d certificates, not %d", i, len(h.got), len(h.wants))
		}
		for _, c := range []issued{h.got[0], h.got[1+i%podsOfNode]} {
			if err := c.check(at.roots); err != nil {
				return err
			}
		}
	}
	return nil
}

// authorityDir is where Fairlead keeps its authority from one start to the next.
func (b *csrBench) authorityDir() string { return filepath.Join(b.dir, "authority") }

// profiles is a CPU profile of Fairlead, when one is asked for.
func (b *csrBench) profiles(ctx context.Context, s *server, name string) func() error {
	if b.opts.profile == "" || s.name != "fairlead" {
		return func() error { return nil }
	}
	return recordProfile(ctx, s, b.opts.profile, "csr "+name, max(1, int(b.opts.load.Seconds())))
}
