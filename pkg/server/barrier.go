package server

import (
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/grpc"

	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/barrier/replicas"
	"fairlead.io/fairlead/pkg/push"
)

// wireBarrier makes what knows who has acknowledged what, and serves it to other replicas beside xDS.
func (s *Server) wireBarrier() error {
	var types []string
	for _, kind := range slices.Sorted(maps.Keys(admin.Kinds)) {
		types = append(types, admin.Kinds[kind]...)
	}
	// Replicas of another configuration make other bytes of the same objects, as those of another version may.
	build := s.cfg.Version + " " + strconv.FormatUint(xxhash.Sum64String(fmt.Sprint(s.cfg.Mesh)), 16)
	var dial []grpc.DialOption
	served := s.grpc
	if s.identity != nil {
		dial, served = append(dial, grpc.WithTransportCredentials(s.identity.transport.Credentials())), s.identity.grpc
	}
	b, err := barrier.New(barrier.Config{
		Name: s.cfg.Replica, Build: build, Engine: s.flow.Engine, Statuses: s.flow.Statuses, Source: s.flow.Source, Types: types,
		Push: clients{s.push}, NotReady: s.flow.NotReady, Peers: s.cfg.Peers, Grace: s.cfg.Grace, Log: s.cfg.Log, Dial: dial,
		Seeks: s.cfg.Conditions != nil && s.cfg.Conditions.Lease != nil,
	})
	if err != nil {
		return err
	}
	s.barrier = b
	b.Register(served)
	return nil
}

// wireReplicas makes what finds other replicas where there is a Lease that elects one of several.
func (s *Server) wireReplicas() error {
	c := s.cfg.Conditions
	if c == nil || c.Lease == nil {
		return nil
	}
	var err error
	s.registry, err = replicas.New(replicas.Config{
		REST: c.REST, Namespace: c.Lease.Namespace, Identity: c.Lease.Identity, Address: s.advertised(), Found: s.barrier.SetPeers,
		Check: s.cfg.checkPeer, Log: s.cfg.Log,
	})
	return err
}

// advertised is where other replicas reach this one.
func (s *Server) advertised() string {
	if s.identity == nil {
		return s.XDS()
	}
	if a := s.cfg.Identity.Advertise; a != "" {
		return a
	}
	host, port, err := net.SplitHostPort(s.TLS())
	if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsUnspecified() {
		return s.TLS()
	}
	// The address by which this machine would speak to the API server; nothing is sent.
	target, err := url.Parse(s.cfg.Conditions.REST.Host)
	if err != nil || target.Host == "" {
		return s.TLS()
	}
	to := target.Host
	if target.Port() == "" {
		to = net.JoinHostPort(target.Hostname(), "443")
	}
	c, err := net.Dial("udp", to)
	if err != nil {
		return s.TLS()
	}
	defer func() { _ = c.Close() }()
	own, _, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		return s.TLS()
	}
	return net.JoinHostPort(own, port)
}

// clients shows a push server as what a barrier asks of it.
type clients struct{ push *push.Server }

func (c clients) Changed() <-chan struct{} { return c.push.Status().Changed() }

func (c clients) Clients() []barrier.Client {
	list := c.push.Progress()
	out := make([]barrier.Client, len(list))
	for i, p := range list {
		out[i] = barrier.Client{ID: p.Stream, Node: p.Node, Agent: p.Agent, Connected: p.Connected, Settled: p.Settled}
	}
	return out
}

func (c clients) Refusals() []barrier.Refusal {
	var out []barrier.Refusal
	for _, r := range c.push.Status().Refusals() {
		out = append(out, barrier.Refusal{Origins: r.Origins, Rejection: barrier.Rejection{
			Type: r.Type, Resource: r.Name, Node: r.Node, Version: r.Version, Message: r.Message,
		}})
	}
	return out
}
