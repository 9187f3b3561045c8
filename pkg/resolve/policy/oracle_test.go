package policy

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/verdict"
	"fairlead.io/fairlead/pkg/verdict/wire"
)

// published is all that the tables say, as bytes of the wire.
func (r *rig) published(tb testing.TB) map[string]string {
	tb.Helper()
	out, snap := map[string]string{}, r.engine.Snapshot()
	put := func(kind, key string, m proto.Message) {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			tb.Fatal(err)
		}
		out[kind+" "+key] = string(b)
	}
	r.sets.Range(snap, func(key string, s *verdict.Set) bool { put("set", key, wire.Encode(s)); return true })
	r.members.Range(snap, func(key string, list []string) bool { put("peer set", key, wire.EncodePeerSet(list)); return true })
	r.peers.Range(snap, func(key string, p *Endpoint) bool {
		put("peer", key, wire.EncodePeer(&wire.Peer{
			Identity: p.Identity, Namespace: p.Namespace, Name: p.Name, Addresses: p.Addresses, Entities: p.Entities, Node: p.Node,
			Workload: p.Workload, Labels: p.Labels,
		}))
		return true
	})
	return out
}

// change is an object of a key, or its end (nil).
type change struct {
	key    string
	object any
}

// events draws what happens to pods, namespaces, nodes, Services and policies of all kinds, in a world where things meet.
func events(r *rand.Rand, version int) (out []change) {
	add := func(m *model.Meta, o any) {
		m.ResourceVersion = fmt.Sprint(version)
		key := m.Group + "/" + m.Kind + "/" + m.Key()
		if r.IntN(4) == 0 {
			o = nil
		}
		out = append(out, change{key, o})
	}
	switch r.IntN(8) {
	case 0:
		ns := &model.Namespace{Meta: model.Meta{Ref: model.Ref{Kind: "Namespace", Name: pick(r, "shop", "bank", "ops")}}}
		ns.Labels = map[string]string{"team": pick(r, "red", "blue")}
		add(&ns.Meta, ns)
	case 1:
		n := &model.Node{Meta: model.Meta{Ref: model.Ref{Kind: "Node", Name: pick(r, "a", "b")}, Labels: map[string]string{"pool": pick(r, "a", "b")}}}
		n.Addresses = []netip.Addr{netip.MustParseAddr(pick(r, "192.168.0.1", "192.168.0.2"))}
		add(&n.Meta, n)
	case 2:
		if r.IntN(2) == 0 {
			s := &model.EndpointSlice{Meta: model.Meta{Ref: model.Ref{Kind: "EndpointSlice", Namespace: "default", Name: "kubernetes"}}, Service: "kubernetes"}
			s.Endpoints = []model.Endpoint{{Addresses: []netip.Addr{netip.MustParseAddr(pick(r, "192.168.0.1", "203.0.113.7", "10.1.0.1"))}}}
			add(&s.Meta, s)
			return out
		}
		s := &model.Service{Meta: model.Meta{Ref: model.Ref{Kind: "Service", Namespace: "shop", Name: "web"}}, Selector: map[string]string{"app": pick(r, "web", "db")}}
		add(&s.Meta, s)
	case 3, 4:
		base := pick(r, slices.DeleteFunc(specParties(), func(p *party) bool { return !p.pod() })...)
		p := podFor(base)
		p.Name = pick(r, p.Name, p.Name+"-2")
		p.UID += p.Name
		p.HostNetwork = r.IntN(8) == 0
		p.Labels = maps.Clone(p.Labels)
		p.Labels["tier"], p.Labels["pod-template-hash"] = pick(r, "front", "back"), fmt.Sprint(version)
		if r.IntN(2) == 0 && len(p.Ports) > 0 {
			p.Ports[0].Number = pick[uint16](r, 80, 443)
		}
		add(&p.Meta, p)
	default:
		objects, _ := randomObjects(r)
		for _, o := range objects {
			add(o.(interface{ GetMeta() *model.Meta }).GetMeta(), o)
		}
	}
	return out
}

// TestOracle applies random events one by one or in batches: what the tables have must be, byte for byte, what new tables make of
// the objects that are left. At the end nothing is.
func TestOracle(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 17))
		g, held := newRig(t), map[string]any{}
		for version := range 30 {
			var batch []change
			for range 1 + r.IntN(3) {
				batch = append(batch, events(r, version)...)
			}
			g.change(held, batch)
			if version%3 == 0 {
				g.compare(t, held, fmt.Sprintf("seed %d, version %d", seed, version))
			}
		}
		var rest []change
		for key := range held {
			rest = append(rest, change{key: key})
		}
		g.change(held, rest)
		if left := g.published(t); len(left) > 0 {
			t.Fatalf("seed %d: %d rows are left of nothing", seed, len(left))
		}
	}
}

// change applies objects and ends in one pass; an end needs what was there.
func (r *rig) change(held map[string]any, batch []change) {
	r.version++
	b := r.engine.NewBatch()
	for _, c := range batch {
		switch {
		case c.object != nil:
			r.put(b, c.object, true)
			held[c.key] = c.object
		case held[c.key] != nil:
			r.put(b, held[c.key], false)
			delete(held, c.key)
		}
	}
	r.engine.Apply(b)
}

func (r *rig) compare(t *testing.T, held map[string]any, where string) {
	t.Helper()
	fresh := newRig(t)
	fresh.apply(slices.Collect(maps.Values(held))...)
	want, got := fresh.published(t), r.published(t)
	for key, w := range want {
		if got[key] != w {
			t.Fatalf("%s: %s differs from scratch (there: %t)", where, key, got[key] != "")
		}
	}
	for key := range got {
		if _, ok := want[key]; !ok {
			t.Fatalf("%s: %s is there, and not from scratch", where, key)
		}
	}
}
