package enforce

import (
	"math/rand/v2"
	"net/netip"
	"testing"

	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/verdict"
)

// found looks a port up as the kernel does.
func (m entriesByKey) find(protocol uint8, port uint16) verdict.Value {
	for n := 16; n >= 0; n-- {
		if v, ok := m[portKey{Protocol: protocol, Bits: uint8(n), Port: port &^ uint16(1<<(16-n)-1)}]; ok {
			return v
		}
	}
	return m[portKey{}]
}

type entriesByKey map[portKey]verdict.Value

func byKey(list []verdict.Entry) entriesByKey {
	out := entriesByKey{}
	for _, x := range list {
		out[x.PortKey] = x.Value
	}
	return out
}

// TestReplace goes from one class of a random Set to others and on, some idle keys lying there. After every write each port is answered
// by the class before or by the one after, and taking idle keys away changes nothing.
func TestReplace(t *testing.T) {
	changed := 0
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 3))
		s := randomSet(r)
		class := func() []verdict.Entry {
			var rules []int
			for i := range s.Rules {
				if r.IntN(2) == 0 {
					rules = append(rules, i)
				}
			}
			return s.Fold(rules)
		}
		from, kernel := []verdict.Entry(nil), entriesByKey{}
		var idle []portKey
		for range 4 {
			to := class()
			before, after := byKey(from), byKey(to)
			check := func(what string, also entriesByKey) {
				t.Helper()
				for _, protocol := range protocols {
					for _, edge := range edges {
						for _, port := range []uint16{edge - 1, edge, edge + 1} {
							got, old, now := kernel.find(protocol, port), also.find(protocol, port), after.find(protocol, port)
							if got != old && got != now {
								t.Fatalf("seed %d, %s: protocol %d, port %d has %+v, and neither %+v nor %+v", seed, what, protocol, port, got, old, now)
							}
							if old != now {
								changed++
							}
						}
					}
				}
			}
			x := replace(from, to, idle)
			for _, w := range x.write {
				kernel[w.PortKey] = w.Value
				check("written", before)
			}
			check("at the end", after)
			idle = x.idle
			r.Shuffle(len(idle), func(i, j int) { idle[i], idle[j] = idle[j], idle[i] })
			n := r.IntN(len(idle) + 1)
			for _, k := range idle[:n] {
				delete(kernel, k)
				check("taken away", after)
			}
			idle = idle[n:]
			from = to
		}
	}
	if changed < 10_000 {
		t.Errorf("only %d answers changed: the classes say too little", changed)
	}
}

// one is an Engine with a pod of the identity "id/me", and a peer at 10.9.9.9 of the identity "id/peer", which is in the PeerSet "a".
func one(t *testing.T, rules ...verdict.Rule) (*Engine, *memory) {
	t.Helper()
	k := newMemory()
	e, err := New(Config{Kernel: k, Node: thisNode})
	if err != nil {
		t.Fatal(err)
	}
	me := netip.MustParseAddr("10.1.0.1")
	for _, err := range []error{
		e.Workloads([]Workload{{UID: "me", Namespace: "shop", Name: "me", Identity: "id/me", Addresses: []netip.Addr{me}}}, nil, true),
		e.Attached("me", 7, []netip.Addr{me}),
		e.Peers([]Peer{{Name: "p", Identity: "id/peer", Namespace: "bank", Pod: "p", Entities: verdict.All | verdict.Pods, Addresses: []netip.Addr{netip.MustParseAddr("10.9.9.9")}}}, nil, true),
		e.PeerSets(map[string][]string{"a": {"id/peer"}, "b": {}}, nil),
		e.VerdictSets(map[string]*verdict.Set{"id/me": {Rules: rules}}, nil),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return e, k
}

func ask(k *memory, protocol uint8, port uint16) bool {
	me, other := netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.9.9.9")
	return k.judge(me, verdict.Ingress, verdict.Network, other, protocol, port).Allowed && k.judge(me, verdict.Ingress, verdict.Mesh, other, protocol, port).Allowed
}

func deny(f verdict.Family, peerSet string, ports verdict.Ports) verdict.Rule {
	return verdict.Rule{
		Direction: verdict.Ingress, Family: f, Tier: verdict.Main, Action: verdict.Deny, Ports: []verdict.Ports{ports},
		Peers: []verdict.Peer{{Kind: verdict.PeerSet, Name: peerSet}},
	}
}

// TestTwoFamilies has a peer go from what one family denies to what the other does: at no moment may it pass.
func TestTwoFamilies(t *testing.T) {
	e, k := one(t, deny(verdict.Network, "a", verdict.AnyPort), deny(verdict.Mesh, "b", verdict.AnyPort))
	k.watch = func() {
		if ask(k, 6, 80) {
			t.Error("it is allowed for a moment")
		}
	}
	for _, in := range []string{"b", "a", "b"} {
		put := map[string][]string{"a": {}, "b": {}}
		put[in] = []string{"id/peer"}
		if err := e.PeerSets(put, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPartsGrow has a peer come into a PeerSet whose rules use ports, and protocols, that nothing in the kernel did before.
func TestPartsGrow(t *testing.T) {
	for name, ports := range map[string]verdict.Ports{"a range": {Protocol: 6, First: 64, Last: 127}, "everything": verdict.AnyPort} {
		e, k := one(t, deny(verdict.Network, "a", verdict.Ports{Protocol: 6, First: 22, Last: 22}), deny(verdict.Network, "b", ports))
		if !ask(k, 6, 80) || ask(k, 6, 22) {
			t.Fatalf("%s: at first", name)
		}
		if err := e.PeerSets(map[string][]string{"b": {"id/peer"}}, nil); err != nil {
			t.Fatal(err)
		}
		if ask(k, 6, 80) {
			t.Errorf("%s is not denied", name)
		}
	}
}

// TestAdopted finds out by the names of numbers, and of what was before the restart, what nobody has told yet.
func TestAdopted(t *testing.T) {
	k := newMemory()
	k.addresses[netip.MustParseAddr("10.9.9.9")] = datapath.Address{Identity: 5, Namespace: 1, Entities: verdict.All | verdict.Pods}
	e, err := New(Config{Kernel: k, Node: thisNode})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Peers(nil, nil, false); err != nil || len(k.addresses) != 1 {
		t.Errorf("an address of before the restart has gone before all peers were told: %v, %v", k.addresses, err)
	}
	if n, err := e.identities.take("id/new"); err != nil || n == 5 {
		t.Errorf("the number %d of before the restart is given to another identity: %v", n, err)
	}
	if err := e.Peers(nil, nil, true); err != nil || len(k.addresses) != 0 {
		t.Errorf("an address that nobody has is there still: %v, %v", k.addresses, err)
	}
}
