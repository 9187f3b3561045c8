// Package agent is the agent of a node: it puts control, keeper, sds and workloadapi together.
//
//	server ◄─► control ◄─► keeper ─► {sds ─► Envoy, workloadapi ─► pods}
//
// See package node for the line.
package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/attest"
	"fairlead.io/fairlead/pkg/node/cni"
	"fairlead.io/fairlead/pkg/node/control"
	"fairlead.io/fairlead/pkg/node/keeper"
	"fairlead.io/fairlead/pkg/node/sds"
	"fairlead.io/fairlead/pkg/node/workloadapi"
	"fairlead.io/fairlead/pkg/push"
)

// Config is what an agent needs.
type Config struct {
	// Servers are HOST:PORT of control planes, ServerID whom they must prove to be.
	Servers  []string
	ServerID spiffeid.ID
	// Node is the node's name, Token a file with the agent's ServiceAccount token.
	Node, Token string
	// TrustBundle is a file of PEM roots, TrustHash "sha256:HEX" of one: what verifies a server before anything was received.
	// One is required.
	TrustBundle, TrustHash string
	// SDSSocket and WorkloadSocket are paths of Unix sockets; empty is not served.
	SDSSocket, WorkloadSocket string
	// SDSGroup may open SDSSocket besides this process's user; negative is nobody.
	SDSGroup int
	// Admin is loopback IP:PORT or unix:/path; empty is not served.
	Admin string
	// TTL is asked for; 0 leaves it to the server.
	TTL time.Duration
	// Patience bounds how long Envoy may take to acknowledge trust bundles before they are refused on its behalf; 20 s unless
	// set.
	Patience time.Duration
	// Attestor tells which pod calls the Workload API; nil asks the kernel.
	Attestor attest.Attestor
	// Policy enforces L3/L4 policy; nil does not.
	Policy  *PolicyConfig
	Version string
	Log     *slog.Logger
}

// drainTime is how long clients have to take their leave.
const drainTime = 2 * time.Second

// agent is a running one.
type agent struct {
	cfg      Config
	registry *prometheus.Registry
	link     *control.Link
	client   *control.Client
	keeper   *keeper.Keeper
	sds      *sds.Server
	enforcer *enforcer // nil without policy
	started  time.Time
}

// Run runs an agent until ctx ends. It fails at once for what is wrong with its Config, and never because no server is there.
func Run(ctx context.Context, cfg Config) error {
	a, err := newAgent(cfg)
	if err != nil {
		return err
	}
	if a.enforcer != nil {
		defer a.enforcer.close()
	}
	listeners, err := a.listen()
	if err != nil {
		return err
	}
	return a.run(ctx, listeners)
}

func newAgent(cfg Config) (*agent, error) {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Node == "" || len(cfg.Servers) == 0 || cfg.ServerID.IsZero() {
		return nil, errors.New("start agent: node, servers and server ID are needed")
	}
	trust, err := control.NewTrust(cfg.TrustBundle, cfg.TrustHash)
	if err != nil {
		return nil, err
	}
	a := &agent{cfg: cfg, registry: prometheus.NewRegistry(), started: time.Now()}
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.link = control.NewLink(control.LinkConfig{
		Servers: cfg.Servers, ServerID: cfg.ServerID, Trust: trust, Token: cfg.Token, Log: cfg.Log, SVID: a.own,
	})
	a.keeper = keeper.New(keeper.Config{Signer: control.NewCA(a.link), TTL: cfg.TTL, Log: cfg.Log, Registry: a.registry})
	a.sds = sds.New(sds.Config{Keeper: a.keeper, Log: cfg.Log, Registry: a.registry})
	var policy control.Policy
	if cfg.Policy != nil {
		if a.enforcer, err = newEnforcer(*cfg.Policy, cfg.Node, cfg.Version, cfg.Log, a.registry); err != nil {
			return nil, fmt.Errorf("enforce policy: %w", err)
		}
		policy = a.enforcer.engine
	}
	a.client = control.NewClient(control.Config{
		Link: a.link, Node: cfg.Node, Version: cfg.Version, TrustDomain: cfg.ServerID.TrustDomain(), Sink: a.keeper,
		Policy: policy, Served: a.sds.Served, Patience: cfg.Patience, Log: cfg.Log, Registry: a.registry,
	})
	if a.enforcer != nil {
		a.enforcer.stream = a.client.State
	}
	return a, nil
}

// own is the node's SVID while it is valid.
func (a *agent) own() *node.SVID {
	svid, _, err := a.keeper.Node()
	if err != nil {
		return nil
	}
	return svid
}

// listeners are what an agent answers on; nil for what it does not.
type listeners struct{ sds, workload, admin, flows, cni net.Listener }

func (l *listeners) close() {
	for _, x := range []net.Listener{l.sds, l.workload, l.admin, l.flows, l.cni} {
		if x != nil {
			_ = x.Close()
		}
	}
}

func (a *agent) run(ctx context.Context, l *listeners) error {
	defer l.close()
	defer a.link.Close()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return a.keeper.Run(ctx) })
	group.Go(func() error { return a.sds.Run(ctx) })
	group.Go(func() error { return a.stream(ctx) })
	if a.enforcer != nil {
		group.Go(func() error { return a.enforcer.engine.Run(ctx) })
		group.Go(func() error { return a.enforcer.run(ctx, a.told) })
		group.Go(func() error { return a.enforcer.observe(ctx) })
		group.Go(func() error { return a.enforcer.forget(ctx) })
		group.Go(func() error { return a.enforcer.reset(ctx) })
		group.Go(func() error { return a.report(ctx) })
	}
	if l.sds != nil {
		group.Go(func() error { return a.serveSDS(ctx, l.sds) })
	}
	if l.cni != nil {
		group.Go(func() error { return cni.Serve(ctx, l.cni, a.enforcer, a.cfg.Log) })
	}
	if l.flows != nil {
		group.Go(func() error { return a.serveFlows(ctx, l.flows) })
	}
	if l.workload != nil {
		group.Go(func() error { return a.serveWorkloads(ctx, l.workload) })
	}
	if l.admin != nil {
		group.Go(func() error { return a.serveAdmin(ctx, l.admin) })
	}
	a.cfg.Log.Info("agent started", "node", a.cfg.Node, "servers", a.cfg.Servers, "version", a.cfg.Version)
	err := group.Wait()
	a.cfg.Log.Info("agent stopped")
	return err
}

// stream holds the stream as soon as the node has its SVID, so that it need not be moved at once.
func (a *agent) stream(ctx context.Context) error {
	for {
		_, changed, err := a.keeper.Node()
		if err == nil {
			return a.client.Run(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
	}
}

// toldTime is how long the policy of a pod is waited for before the others' is enforced without it, and it is denied everything.
const toldTime = 10 * time.Second

// told tells whether everything that policy here takes has been heard.
func (a *agent) told() bool {
	s := a.client.State()
	if !s.Synced {
		return false
	}
	if time.Since(s.Since) > toldTime {
		return true
	}
	for _, e := range a.enforcer.engine.Endpoints() {
		if e.Set == 0 && e.Identity != "" {
			return false
		}
	}
	return true
}

func (a *agent) serveSDS(ctx context.Context, l net.Listener) error {
	server := grpc.NewServer(push.ServerOptions()...)
	a.sds.Register(server)
	return serve(ctx, server, l, a.sds.Drain)
}

// serve answers on l until ctx ends: then streams are ended, and what does not follow is cut.
func serve(ctx context.Context, server *grpc.Server, l net.Listener, drain func()) error {
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	drain()
	cut := time.AfterFunc(drainTime, server.Stop)
	defer cut.Stop()
	server.GracefulStop()
	return <-failed
}

func (a *agent) serveWorkloads(ctx context.Context, l net.Listener) error {
	attestor := a.cfg.Attestor
	if attestor == nil {
		attestor = attest.New(attest.Config{})
	}
	server := workloadapi.New(workloadapi.Config{Identities: a.keeper, Attestor: attestor, Log: a.cfg.Log, Registry: a.registry})
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		server.Stop()
		return <-failed
	}
}
