package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"google.golang.org/grpc"

	observev1 "fairlead.io/fairlead/api/observe/v1"
	"fairlead.io/fairlead/pkg/node/flows"
	"fairlead.io/fairlead/pkg/push"
)

// observe keeps what the kernel tells of flows.
func (x *enforcer) observe(ctx context.Context) error {
	events, err := x.data.Events()
	if err != nil {
		return fmt.Errorf("observe flows: %w", err)
	}
	return x.flows.Run(ctx, &tap{events, x.withdrawn})
}

// forget gives up the counters of Sets that are no more. An Engine tells of them while it holds its lock, under which they cannot be
// named.
func (x *enforcer) forget(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case set := <-x.erased:
			if err := x.flows.ForgetDrops(set); err != nil {
				x.log.Warn("counters of a policy that is no more stay in the kernel", "error", err)
			}
		}
	}
}

// Pauses between streams to the server that flows are asked on.
const (
	reportPause = time.Second
	reportLook  = 10 * time.Second
)

// report answers what the control plane asks about flows, until ctx ends.
func (a *agent) report(ctx context.Context) error {
	for {
		if err := a.reportOnce(ctx); err != nil && ctx.Err() == nil {
			a.cfg.Log.Debug("no stream for flows to the control plane", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(reportPause + rand.N(4*reportPause)):
		}
	}
}

func (a *agent) reportOnce(ctx context.Context) error {
	conn, err := a.link.Use()
	if err != nil {
		return err
	}
	// Whether a server speaks of flows says nothing about the connection.
	defer conn.Done(nil)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	look := time.NewTicker(reportLook)
	defer look.Stop()
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-ended:
				return
			case <-look.C:
				if a.link.Newer(conn) {
					cancel()
				}
			}
		}
	}()
	defer func() { close(ended); <-watched }()
	stream, err := observev1.NewFlowsClient(conn).Report(ctx)
	if err != nil {
		return err
	}
	return a.enforcer.flows.Report(stream)
}

// serveFlows answers Hubble's observer API. Whoever opens the socket sees every flow of the node.
func (a *agent) serveFlows(ctx context.Context, l net.Listener) error {
	server := grpc.NewServer(push.ServerOptions()...)
	a.enforcer.flows.Register(server)
	return serve(ctx, server, l, func() {})
}

func (x *enforcer) newFlows(node, version string, cfg flows.Config) (err error) {
	cfg.Node, cfg.Version, cfg.Names, cfg.Counters = node, version, x.engine, x.data
	x.flows, err = flows.New(cfg)
	return err
}
