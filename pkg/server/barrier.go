package server

import (
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"fairlead.io/fairlead/pkg/admin"
	"fairlead.io/fairlead/pkg/barrier"
	"fairlead.io/fairlead/pkg/model"
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
	b, err := barrier.New(barrier.Config{
		Name: s.cfg.Replica, Build: build, Engine: s.flow.Engine, Statuses: s.flow.Statuses, Source: s.flow.Source, Types: types,
		Push: clients{s.push, s.flow}, NotReady: s.flow.NotReady, Peers: s.cfg.Peers, Grace: s.cfg.Grace, Log: s.cfg.Log,
	})
	if err != nil {
		return err
	}
	s.barrier = b
	b.Register(s.grpc)
	return nil
}

// clients shows a push server as what a barrier asks of it.
type clients struct {
	push *push.Server
	flow *Flow
}

func (c clients) Changed() <-chan struct{} { return c.push.Status().Changed() }

func (c clients) Clients() []barrier.Client {
	var out []barrier.Client
	for _, p := range c.push.Clients() {
		out = append(out, barrier.Client{ID: uint64(p.Connected.UnixNano()), Node: p.Node.ID, Connected: p.Connected, Settled: p.Settled})
	}
	return out
}

func (c clients) Refusals() []barrier.Refusal {
	if !slices.ContainsFunc(c.push.Clients(), refuses) {
		return nil
	}
	var out []barrier.Refusal
	c.flow.EachStatus(func(s *model.ObjectStatus) {
		for _, r := range c.push.Status().For(s.Ref).Rejected {
			out = append(out, barrier.Refusal{Origins: []model.Ref{s.Ref}, Rejection: barrier.Rejection{
				Type: r.Type, Resource: r.Name, Node: r.Node, Version: r.Version, Message: r.Message,
			}})
		}
	})
	return out
}

func refuses(c push.ClientInfo) bool {
	return slices.ContainsFunc(c.Types, func(t push.TypeInfo) bool { return t.Quarantined > 0 })
}
