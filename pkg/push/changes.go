package push

import "fairlead.io/fairlead/pkg/snapshot"

// delta is what changed between two snapshots. Most streams go from one snapshot to the next together, so it is made
// once for all.
type delta struct {
	from, to uint64
	keys     []snapshot.Key
	ok       bool
}

// deltas is how many are remembered.
const deltas = 8

// changes lists the keys that changed between two snapshots; ok is false when that is not known any more.
func (s *Server) changes(from, to snapshot.Snapshot) (keys []snapshot.Key, ok bool) {
	s.deltaMu.Lock()
	defer s.deltaMu.Unlock()
	for i := range s.deltas {
		if d := &s.deltas[i]; d.from == from.Seq() && d.to == to.Seq() {
			return d.keys, d.ok
		}
	}
	d := delta{from: from.Seq(), to: to.Seq()}
	d.keys, d.ok = to.ChangesSince(from.Seq())
	if len(s.deltas) == deltas {
		s.deltas = s.deltas[1:]
	}
	s.deltas = append(s.deltas, d)
	return d.keys, d.ok
}
