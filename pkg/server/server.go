package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/barrier/replicas"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/server/transport"
	"fairlead.io/fairlead/pkg/status"
	"fairlead.io/fairlead/pkg/table"
)

// Server is one replica of the control plane.
type Server struct {
	cfg   Config
	flow  *Flow
	push  *push.Server
	sink  *sink
	grpc  *grpc.Server // plaintext; nil where there is none
	admin *admin.Server
	// barrier knows which node has acknowledged what, here and at other replicas.
	barrier *barrier.Barrier
	// conditions writes statuses; nil in files mode.
	conditions *status.Writer
	// registry finds other replicas; nil where there is no Lease.
	registry *replicas.Registry

	// identity is the authority and the TLS port; nil where there is none.
	identity *identity

	// observing shows flows.
	observing *observing

	xdsListener, tlsListener, bundleListener, adminListener, observeListener net.Listener // nil where nothing is served
}

// New opens the addresses and wires the stages; nothing is read or served until Run. The caller runs it: Run closes what New
// opened.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("configure server: %w", err)
	}
	s := &Server{cfg: cfg}
	err := s.listen()
	if err == nil {
		err = s.wire()
	}
	if err == nil {
		return s, nil
	}
	for _, l := range []net.Listener{s.xdsListener, s.tlsListener, s.bundleListener, s.adminListener, s.observeListener} {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	return nil, err
}

// listen opens the addresses.
func (s *Server) listen() (err error) {
	if s.cfg.XDS != "" {
		if s.xdsListener, err = listen(s.cfg.XDS, 0o660); err != nil {
			return fmt.Errorf("serve xds: %w", err)
		}
	}
	if i := s.cfg.Identity; i != nil {
		if s.tlsListener, err = net.Listen("tcp", i.Address); err != nil {
			return fmt.Errorf("serve tls: %w", err)
		}
	}
	// Whoever can reach the admin interface reads the whole configuration: a socket is the owner's.
	if s.adminListener, err = listen(s.cfg.Admin, 0o600); err != nil {
		return fmt.Errorf("serve admin: %w", err)
	}
	if s.cfg.Observe != "" {
		if s.observeListener, err = listen(s.cfg.Observe, 0o600); err != nil {
			return fmt.Errorf("serve flows: %w", err)
		}
	}
	return nil
}

func (s *Server) wire() error {
	s.flow = NewFlow(s.cfg.Mesh, table.Options{Why: s.cfg.Why, Logger: s.cfg.Log})
	if w, ok := s.cfg.Source.(wanter); ok {
		s.flow.Source = wanting{s.flow.Source, w}
	}
	s.flow.Engine.Hold()
	s.sink = newSink(s.flow.Resolved.Inputs, s.flow.Engine.Release, s.cfg.Log)
	reg := prometheus.NewRegistry()
	pushed := push.Config{Source: s.flow.Source, Log: s.cfg.Log, Registry: reg, Identifier: s.cfg.Identifier}
	if s.cfg.Identity != nil {
		if err := s.wireIdentity(reg); err != nil {
			return fmt.Errorf("wire identity: %w", err)
		}
		pushed.Admit, pushed.Allow = s.identity.transport.Admit, s.identity.transport.Allow
	}
	s.push = push.New(pushed)
	if s.xdsListener != nil {
		s.grpc = grpc.NewServer(append(push.ServerOptions(), grpc.StreamInterceptor(transport.Local))...)
		s.push.Register(s.grpc)
	}
	if s.identity != nil {
		s.push.Register(s.identity.grpc)
	}
	if err := s.wireBarrier(); err != nil {
		return err
	}
	if err := s.wireObserve(reg); err != nil {
		return err
	}
	var authority admin.CA
	var certificates http.Handler
	if s.identity != nil {
		s.wireRotation(reg)
		authority, certificates = s.identity.machine, s.identity.service.Ledger().Handler()
	}
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		admin.NewCollector(s.flow.Engine, s.push.Clients, s.cfg.Version))
	s.admin = admin.New(admin.Config{
		Gatherer: reg, Engine: s.flow.Engine, Ready: s.servable, Source: s.flow.Source,
		Clients: s.push.Clients, Resources: s.push.Resources, Status: s.Status, Barrier: s.barrier, Version: s.cfg.Version, Log: s.cfg.Log,
		CA: authority, Certificates: certificates,
	})
	return errors.Join(s.wireConditions(reg), s.wireReplicas())
}

// wireConditions makes the writer of statuses where there is an API server to write to.
func (s *Server) wireConditions(reg prometheus.Registerer) error {
	c := s.cfg.Conditions
	if c == nil {
		return nil
	}
	var err error
	s.conditions, err = status.New(status.Config{
		REST: c.REST, View: s.barrier, Watch: func() status.Watch { return s.barrier.Watch() }, Controller: s.cfg.Mesh.Controller,
		Compat: c.Compat, Cilium: c.Cilium, Lease: c.Lease, Log: s.cfg.Log, Registry: reg,
	})
	return wrap("write conditions", err)
}

// XDS, TLS and Admin are the addresses that are served, with the port that the kernel chose for 0; empty for one that is not.
func (s *Server) XDS() string { return addressOf(s.xdsListener) }

// TLS is the address of the TLS port.
func (s *Server) TLS() string { return addressOf(s.tlsListener) }

// Admin is the address of the admin interface.
func (s *Server) Admin() string { return addressOf(s.adminListener) }

// Push tells what connected clients have and said.
func (s *Server) Push() *push.Server { return s.push }

// Barrier tells which nodes have acknowledged what, over all replicas.
func (s *Server) Barrier() *barrier.Barrier { return s.barrier }

// Flow gives the stages before push.
func (s *Server) Flow() *Flow { return s.flow }

// Observe is where everybody sees all flows.
func (s *Server) Observe() string { return addressOf(s.observeListener) }

func addressOf(l net.Listener) string {
	if l == nil {
		return ""
	}
	if a := l.Addr(); a.Network() == "unix" {
		return "unix:" + a.String()
	}
	return l.Addr().String()
}

// ready tells why the server does not serve nodes yet; nil when it does.
func (s *Server) ready() error {
	switch {
	case !s.sink.isSynced():
		return errors.New("the source has not been read completely yet")
	case s.flow.Source.Latest() == nil:
		return errors.New("the first snapshot is being computed")
	}
	return nil
}

// servable tells why nobody is served yet, by TLS where there is an authority.
func (s *Server) servable() error {
	if s.identity != nil {
		return s.trusted()
	}
	return s.ready()
}

// Run serves until ctx ends, which is no error, or until a part of the server fails.
func (s *Server) Run(ctx context.Context) error {
	// The tables outlive the streams: while those drain they may still show the newest state.
	inner, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	g, inner := errgroup.WithContext(inner)
	g.Go(func() error { return s.flow.Engine.Run(inner) })
	g.Go(func() error { return wrap("read source", s.cfg.Source.Run(inner, s.sink)) })
	g.Go(func() error { return s.barrier.Run(inner) })
	if s.registry != nil {
		g.Go(func() error { // ends with ctx: others shall not look for a replica that is draining
			listed, end := context.WithCancel(ctx)
			defer end()
			defer context.AfterFunc(inner, end)()
			return s.registry.Run(listed)
		})
	}
	if s.conditions != nil {
		g.Go(func() error { return wrap("write conditions", s.conditions.Run(inner)) })
	}
	if s.grpc != nil {
		g.Go(func() error { return wrap("serve xds", s.grpc.Serve(s.xdsListener)) })
	}
	if s.identity != nil {
		s.identity.run(inner, g, s)
	}
	g.Go(func() error { return wrap("serve admin", s.admin.Serve(s.adminListener)) })
	if s.observing.grpc != nil {
		g.Go(s.serveObserve)
	}
	defer s.observing.close()
	g.Go(func() error {
		select {
		case <-ctx.Done():
		case <-inner.Done(): // a part has failed
		}
		s.shutDown()
		stop()
		return nil
	})
	s.cfg.Log.Info("serving", "xds", s.XDS(), "tls", s.TLS(), "admin", s.Admin(), "version", s.cfg.Version)
	err := g.Wait()
	s.cfg.Log.Info("stopped")
	return err
}

// shutDown ends the streams, so that clients go elsewhere, and then the listeners.
func (s *Server) shutDown() {
	s.admin.Drain()
	s.push.Drain()
	s.barrier.Leave()
	stopped := make(chan struct{})
	var servers []*grpc.Server
	if s.grpc != nil {
		servers = append(servers, s.grpc)
	}
	if s.identity != nil {
		servers = append(servers, s.identity.grpc)
	}
	s.observing.relay.Drain()
	if s.observing.grpc != nil {
		servers = append(servers, s.observing.grpc)
	}
	go func() {
		defer close(stopped)
		for _, g := range servers {
			g.GracefulStop()
		}
	}()
	timer := time.NewTimer(s.cfg.Drain)
	defer timer.Stop()
	select {
	case <-stopped:
	case <-timer.C:
		s.cfg.Log.Warn("some clients did not let go of their streams; closing them", "after", s.cfg.Drain)
		for _, g := range servers {
			g.Stop()
		}
		<-stopped
	}
	s.admin.Close()
}

func wrap(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
