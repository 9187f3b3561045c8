package server

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

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
		REST: c.REST, Namespace: c.Lease.Namespace, Identity: c.Lease.Identity, Address: s.advertised(), Found: s.found,
		Check: s.cfg.checkPeer, Log: s.cfg.Log,
	})
	return err
}

// found says where other replicas are.
func (s *Server) found(addresses []string) {
	s.barrier.SetPeers(addresses)
	s.observing.setPeers(append(slices.Clone(s.cfg.Peers), addresses...))
}

// isListed tells whether other replicas can know this one.
func (s *Server) isListed() bool {
	if s.registry == nil {
		return true
	}
	select {
	case <-s.registry.Listed():
		return true
	default:
		return false
	}
}

// untilListed waits until other replicas can know this one: it reads the authority after that, and serves by TLS after both. So
// a leader that has looked and does not know it may go on: what is read here is at least as new as what that leader sees.
//
// An API server that is away holds nobody up, as nobody is served before the cluster has been read. One that is read and writes
// no Lease (a role that is missing, a webhook that fails) does so for Grace only, since a mesh without certificates is worse
// than what may happen then: a rotation that passes over nodes of this replica which no list of nodes has yet.
func (s *Server) untilListed(ctx context.Context) {
	if s.isListed() {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-s.registry.Listed():
		return
	case <-s.sink.synced:
	}
	timer := time.NewTimer(s.cfg.Grace)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-s.registry.Listed():
	case <-timer.C:
		s.cfg.Log.Warn("the Lease of this replica cannot be written: it serves all the same, and a rotation of the authority by another one "+
			"may not wait for its nodes; look at its role", "after", s.cfg.Grace)
	}
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
