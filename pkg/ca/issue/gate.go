package issue

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"fairlead.io/fairlead/pkg/ca"
)

// A caller has maxWorking calls under way and maxWaiting behind them: whoever sends more delays nobody else.
const maxWorking, maxWaiting = 4, 32

var (
	errCrowded   = errors.New("the caller has too many calls under way")
	errOversized = errors.New("the message is too large")
)

// gate bounds the calls of each caller.
type gate struct {
	mu      sync.Mutex // guards all below
	callers map[string]*crowd
}

type crowd struct {
	places chan struct{}
	calls  int
}

func newGate() *gate { return &gate{callers: map[string]*crowd{}} }

// enter waits for a place; leave gives it back.
func (g *gate) enter(ctx context.Context, key string) (leave func(), err error) {
	g.mu.Lock()
	c := g.callers[key]
	if c == nil {
		c = &crowd{places: make(chan struct{}, maxWorking)}
		g.callers[key] = c
	}
	if c.calls == maxWorking+maxWaiting {
		g.mu.Unlock()
		return nil, errCrowded
	}
	c.calls++
	g.mu.Unlock()
	select {
	case c.places <- struct{}{}:
		return func() { <-c.places; g.left(key, c) }, nil
	case <-ctx.Done():
		g.left(key, c)
		return nil, fmt.Errorf("wait for a place: %w", ctx.Err())
	}
}

func (g *gate) left(key string, c *crowd) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.calls--; c.calls == 0 {
		delete(g.callers, key)
	}
}

// callerKey tells callers apart: pods of one ServiceAccount are not one caller, and the agent of a node is one with its Envoy.
func callerKey(c *ca.Caller) string {
	switch {
	case c.Kind == ca.Node:
		return c.ID.String()
	case c.Pod != nil:
		return c.Pod.UID
	case c.Certificate != nil:
		return c.Certificate.SerialNumber.String()
	}
	return c.ID.String()
}
