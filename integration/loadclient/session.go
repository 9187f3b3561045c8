package loadclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
)

// run begins streams until ctx ends.
func (c *Client) run(ctx context.Context) {
	defer c.release()
	c.mu.Lock()
	c.began = time.Now()
	c.mu.Unlock()
	addresses := c.fleet.cfg.Addresses
	for at, tries := c.number, 0; ctx.Err() == nil; {
		address := addresses[at%len(addresses)]
		responses, err := c.session(ctx, address)
		c.mu.Lock()
		c.err = fmt.Errorf("stream of %s to %s: %w", c.node.GetId(), address, err)
		c.mu.Unlock()
		if errors.Is(err, errFlap) {
			continue
		}
		if responses > 0 {
			tries = 0
		}
		tries++
		at++
		select {
		case <-ctx.Done():
		case <-time.After(c.backoff(tries)):
		}
	}
}

// backoff is the pause before the n-th new stream (Envoy, JitteredExponentialBackOffStrategy).
func (c *Client) backoff(n int) time.Duration {
	most := float64(c.fleet.cfg.Backoff) * math.Pow(2, float64(n))
	return time.Duration(rand.Int64N(int64(min(most, float64(c.fleet.cfg.MaxBackoff))) + 1))
}

// session is one stream on a connection of its own, and gives the number of responses that came.
func (c *Client) session(ctx context.Context, address string) (responses int, err error) {
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	target, cfg := address, &c.fleet.cfg
	if !strings.HasPrefix(address, "unix:") {
		target = "passthrough:///" + address
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(cfg.Credentials), grpc.WithNoProxy(),
		grpc.WithInitialWindowSize(int32(cfg.Window)), grpc.WithInitialConnWindowSize(int32(cfg.Window)),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.ForceCodecV2(codec{})))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	method := discovery.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName
	if cfg.SotW {
		method = discovery.AggregatedDiscoveryService_StreamAggregatedResources_FullMethodName
	}
	st, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err == nil {
		c.begin(st, end)
		defer c.end()
		for err == nil {
			if err = c.receive(ctx, st); err == nil {
				responses++
			}
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if errors.Is(err, io.EOF) {
		err = errors.New("the server ended it")
	}
	return responses, err
}

func (c *Client) receive(ctx context.Context, st grpc.ClientStream) error {
	if err := c.pause(ctx); err != nil {
		return err
	}
	var f frame
	if err := st.RecvMsg(&f); err != nil {
		return err
	}
	defer f.free()
	return c.handle(f.buf.ReadOnlyData(), time.Now())
}

// begin asks on a new stream for everything that was asked for before, or for the clusters.
func (c *Client) begin(st grpc.ClientStream, end context.CancelCauseFunc) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = time.Now()
	if c.behaviour.Forget {
		c.forget()
	}
	c.stream, c.endStream, c.named, c.heldACKs = st, end, false, nil
	c.connects++
	c.armFlap()
	for _, s := range c.asked {
		s.nonce = ""
		for name := range s.pending {
			s.pending[name] = c.now
		}
		if len(s.refs) > 0 {
			c.subscribe(s, slices.Collect(maps.Keys(s.refs)), nil, true)
		}
	}
	c.settle()
}

func (c *Client) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream, c.endStream = nil, nil
	c.armFlap()
}

// release stops the timers.
func (c *Client) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timeout != nil {
		c.timeout.Stop()
	}
}
