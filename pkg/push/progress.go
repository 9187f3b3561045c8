package push

import (
	"time"

	"fairlead.io/fairlead/pkg/model"
)

// Progress is how far one client is.
type Progress struct {
	// Stream tells the streams of this server apart.
	Stream uint64
	Node   string
	// Agent is set for the agent of a node, and not for its Envoy.
	Agent     bool
	Connected time.Time
	// Settled is the snapshot that the client has acknowledged all of, the free types included; 0 until the first.
	Settled uint64
}

// agentName is what the agent of a node calls itself (Node.user_agent_name).
const agentName = "fairlead-node"

// Progress lists the connected clients, in no order. It is cheap: two loads a client, and for an agent a look at one of its
// subscriptions. An agent that has not asked for the trust bundles yet has settled nothing: what it would acknowledge of
// them is not known.
func (s *Server) Progress() []Progress {
	s.mu.Lock()
	out, agents := make([]Progress, 0, len(s.streams)), map[int]*stream{}
	for _, st := range s.streams {
		if st.agent == agentName {
			agents[len(out)] = st
		}
		out = append(out, Progress{
			Stream: st.id, Node: st.node.ID, Agent: st.agent == agentName, Connected: st.connected,
			Settled: min(st.settledSeq.Load(), st.freeSeq.Load()),
		})
	}
	s.mu.Unlock()
	for i, st := range agents {
		if !st.subscribes(trustType) {
			out[i].Settled = 0
		}
	}
	return out
}

// subscribes tells whether the client has asked for a type.
func (st *stream) subscribes(url string) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	w := st.watches[url]
	return w != nil && w.active
}

// Refusal is a Rejection with the objects that the resource was made from.
type Refusal struct {
	Origins []model.Ref
	Rejection
}

// Refusals lists all rejections that stand against the latest snapshot, in no order.
func (s *Status) Refusals() []Refusal {
	if snap := s.server.cfg.Source.Latest(); snap != nil {
		s.server.observe(snap)
	}
	if s.refusals.Load() == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []Refusal
	for stream, tracks := range s.refusing {
		for t := range tracks {
			if r, ok := t.rejected[stream]; ok {
				out = append(out, Refusal{t.res.Origins, r})
			}
		}
	}
	return out
}
