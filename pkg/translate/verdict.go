package translate

import (
	"slices"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve/policy"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
	"fairlead.io/fairlead/pkg/verdict"
	"fairlead.io/fairlead/pkg/verdict/wire"
)

// The type URLs of what the agent of a node enforces.
const (
	PeerType       = "type.googleapis.com/fairlead.node.v1.Peer"
	PeerSetType    = "type.googleapis.com/fairlead.node.v1.PeerSet"
	VerdictSetType = "type.googleapis.com/fairlead.node.v1.VerdictSet"
)

// declareVerdicts publishes L3/L4 policy, for all nodes: which of the sets a node wants, it says.
func (o *Outputs) declareVerdicts() {
	v := o.res.Verdicts
	o.declare(PeerType, "xds peers", func(r *table.Reader, name string) (*snapshot.Resource, bool) {
		p, ok := table.Get(r, v.Peers, name)
		if !ok {
			return nil, false
		}
		return encode(r, name, wire.EncodePeer(peerOf(p)), []model.Ref{p.Ref})
	}, []table.Trigger{v.Peers}, table.UrgentStage())
	o.declare(PeerSetType, "xds peer sets", func(r *table.Reader, name string) (*snapshot.Resource, bool) {
		members, ok := table.Get(r, v.PeerSets, name)
		if !ok {
			return nil, false
		}
		return encode(r, name, wire.EncodePeerSet(members), nil)
	}, []table.Trigger{v.PeerSets}, table.UrgentStage())
	o.declare(VerdictSetType, "xds verdict sets", func(r *table.Reader, name string) (*snapshot.Resource, bool) {
		s, ok := table.Get(r, v.Sets, name)
		if !ok {
			return nil, false
		}
		return encode(r, name, wire.Encode(s), originsOf(s))
	}, []table.Trigger{v.Sets}, table.UrgentStage())
}

func peerOf(p *policy.Endpoint) *wire.Peer {
	return &wire.Peer{
		Identity: p.Identity, Namespace: p.Namespace, Name: p.Name, Addresses: p.Addresses, Entities: p.Entities, Node: p.Node,
		Workload: p.Workload, Labels: p.Labels,
	}
}

// originsOf are the objects that a Set is made of, each once.
func originsOf(s *verdict.Set) []model.Ref {
	var out []model.Ref
	add := func(o verdict.Origin) {
		ref := model.Ref{Group: o.Group, Kind: o.Kind, Namespace: o.Namespace, Name: o.Name}
		if !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	for i := range s.Rules {
		add(s.Rules[i].Origin)
	}
	for d := range s.Isolated {
		for _, origins := range s.Isolated[d] {
			for _, origin := range origins {
				add(origin)
			}
		}
	}
	return out
}
