package push

import (
	"cmp"
	"slices"
	"time"

	"fairlead.io/fairlead/pkg/snapshot"
)

// ClientInfo is one connected client.
type ClientInfo struct {
	Node      snapshot.Node
	Agent     string // "envoy"
	Version   string // Envoy's version
	Address   string
	Connected time.Time
	// Target is the snapshot that the client is being brought to, Settled the one it is through with, Latest the
	// newest.
	Target, Settled, Latest uint64
	Types                   []TypeInfo
}

// TypeInfo is one type of a client.
type TypeInfo struct {
	Type     string
	Wildcard bool
	// Subscribed counts explicit names, Resources what the client has.
	Subscribed, Resources int
	// SentSeq and AckedSeq are the snapshots of the last response and of the last acknowledged one.
	SentSeq, AckedSeq   uint64
	LastSent, LastAcked time.Time
	Responses, Nacks    uint64
	// InFlight is set while a response waits for its ACK; Pending counts names to look at, Gated those that wait for
	// our watch to catch up with what the client has seen, Quarantined those held back.
	InFlight                    bool
	Pending, Gated, Quarantined int
	LastNack                    string
	LastNackAt                  time.Time
}

// ClientResource is one resource that a client has.
type ClientResource struct {
	Type, Name, Version string
	Acked               bool
	// Stub is set when the client has the deny stub in its place.
	Stub bool
}

// Clients lists the connected clients by node, then by time of connection.
func (s *Server) Clients() []ClientInfo {
	var out []ClientInfo
	for _, st := range s.sorted() {
		out = append(out, st.info())
	}
	return out
}

// Resources lists what the newest client of a node has, by type and name; nil when none is connected.
func (s *Server) Resources(node string) []ClientResource {
	var out []ClientResource
	for _, st := range s.sorted() {
		if st.node.ID == node {
			out = st.resources()
		}
	}
	return out
}

func (s *Server) sorted() []*stream {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*stream, 0, len(s.streams))
	for _, st := range s.streams {
		out = append(out, st)
	}
	slices.SortFunc(out, func(a, b *stream) int {
		return cmp.Or(cmp.Compare(a.node.ID, b.node.ID), cmp.Compare(a.id, b.id))
	})
	return out
}

func (st *stream) info() ClientInfo {
	st.mu.Lock()
	defer st.mu.Unlock()
	out := ClientInfo{
		Node: st.node, Agent: st.agent, Version: st.version, Address: st.address, Connected: st.connected,
		Settled: st.settledSeq.Load(),
	}
	if st.snap != nil {
		out.Target, out.Latest = st.snap.Seq(), st.latest.Seq()
	}
	for _, w := range st.ranked {
		if !w.active {
			continue
		}
		out.Types = append(out.Types, TypeInfo{
			Type: w.url, Wildcard: w.wildcard, Subscribed: w.names, Resources: w.slots.resources,
			SentSeq: w.sentSeq, AckedSeq: w.ackedSeq, LastSent: w.lastSent, LastAcked: w.lastAckd,
			Responses: w.responses, Nacks: w.nacks, InFlight: w.inflight != nil, Pending: w.dirty.n + w.drop.n,
			Gated: w.gated.n, Quarantined: w.blocked.n, LastNack: w.lastNack, LastNackAt: w.lastNackAt,
		})
	}
	return out
}

func (st *stream) resources() []ClientResource {
	st.mu.Lock()
	defer st.mu.Unlock()
	var out []ClientResource
	for _, w := range st.ranked {
		w.each(func(id uint32) {
			if r := w.has(id); r != nil {
				out = append(out, ClientResource{
					Type: w.url, Name: w.book.name(id), Version: r.Version(), Acked: w.at(id)&flying == 0, Stub: r.Stub,
				})
			}
		})
	}
	slices.SortFunc(out, func(a, b ClientResource) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	})
	return out
}
