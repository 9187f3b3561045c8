package agent

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"

	"fairlead.io/fairlead/pkg/node/flows"
	"fairlead.io/fairlead/pkg/push"
)

// observe keeps what the kernel tells of flows.
func (x *enforcer) observe(ctx context.Context) error {
	events, err := x.data.Events()
	if err != nil {
		return fmt.Errorf("observe flows: %w", err)
	}
	return x.flows.Run(ctx, events)
}

// serveFlows answers Hubble's observer API. Whoever opens the socket sees every flow of the node.
func (a *agent) serveFlows(ctx context.Context, l net.Listener) error {
	server := grpc.NewServer(push.ServerOptions()...)
	a.enforcer.flows.Register(server)
	// A client that follows never ends by itself.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return serve(ctx, server, l, func() {})
}

func (x *enforcer) newFlows(node, version string, cfg flows.Config) (err error) {
	cfg.Node, cfg.Version, cfg.Names, cfg.Counters = node, version, x.engine, x.data
	x.flows, err = flows.New(cfg)
	return err
}
