package push

import (
	"time"

	"fairlead.io/fairlead/pkg/model"
)

// Progress is how far one client is.
type Progress struct {
	// Stream tells the streams of this server apart.
	Stream    uint64
	Node      string
	Connected time.Time
	// Settled is the snapshot that the client has acknowledged all of, the free types included; 0 until the first.
	Settled uint64
}

// Progress lists the connected clients, in no order. It is cheap: two loads a client.
func (s *Server) Progress() []Progress {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Progress, 0, len(s.streams))
	for _, st := range s.streams {
		out = append(out, Progress{
			Stream: st.id, Node: st.node.ID, Connected: st.connected, Settled: min(st.settledSeq.Load(), st.freeSeq.Load()),
		})
	}
	return out
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
