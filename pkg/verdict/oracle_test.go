package verdict

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// world is what random rules are about.
var (
	identities = []string{"shop/web", "shop/db", "bank/web", "bank/vault"}
	prefixes   = []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "0.0.0.0/0", "fd00::/8", "fd00:1::/32", "fd00:1::7/128", "::/0"}
	addresses  = []string{"10.1.2.3", "10.1.2.4", "10.1.3.1", "10.9.9.9", "8.8.8.8", "fd00:1::7", "fd00:1::8", "fd00:2::1", "2001:db8::1"}
	protocols  = []uint8{6, 17, 132, 1}
	edges      = []uint16{0, 1, 79, 80, 81, 443, 1023, 1024, 8000, 8080, 32767, 32768, 65534, 65535}
)

func in(set, identity string) bool {
	// A PeerSet is named by the bits of the identities in it.
	var mask int
	_, err := fmt.Sscan(set, &mask)
	return err == nil && mask&(1<<slices.Index(identities, identity)) != 0
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func randomPeer(r *rand.Rand) Peer {
	switch r.IntN(4) {
	case 0:
		return Peer{Kind: PeerSet, Name: fmt.Sprint(r.IntN(1 << len(identities)))}
	case 1:
		return Peer{Kind: PeerNamespace, Name: pick(r, []string{"shop", "bank"})}
	case 2:
		return Peer{Kind: PeerEntity, Entity: Entity(1 << r.IntN(6))}
	}
	p := Peer{Kind: pick(r, []PeerKind{PeerCIDR, PeerWorldCIDR}), CIDR: netip.MustParsePrefix(pick(r, prefixes))}
	for range r.IntN(3) {
		if x := netip.MustParsePrefix(pick(r, prefixes)); within(x, p.CIDR) {
			p.Except = append(p.Except, x)
		}
	}
	return p
}

func randomPorts(r *rand.Rand) Ports {
	if r.IntN(3) == 0 {
		return AnyPort
	}
	p := Ports{pick(r, protocols), pick(r, edges), pick(r, edges)}
	if p.First > p.Last {
		p.First, p.Last = p.Last, p.First
	}
	return p
}

func randomSet(r *rand.Rand) *Set {
	s := &Set{}
	for d := range s.Isolated {
		for f := range s.Isolated[d] {
			if r.IntN(2) == 0 {
				s.Isolated[d][f] = []Origin{{Name: "isolates"}}
			}
		}
	}
	for n := range r.IntN(12) {
		rule := Rule{Direction: Direction(r.IntN(2)), Family: Family(r.IntN(2)), Tier: Tier(r.IntN(3)), Action: Action(r.IntN(3))}
		if rule.Tier == Main {
			rule.Action = Action(r.IntN(2))
		} else {
			rule.Rank = uint32(n) + 1
		}
		for range r.IntN(3) {
			rule.Peers = append(rule.Peers, randomPeer(r))
		}
		for range r.IntN(3) {
			rule.Ports = append(rule.Ports, randomPorts(r))
		}
		s.Rules = append(s.Rules, rule)
	}
	r.Shuffle(len(s.Rules), func(i, j int) { s.Rules[i], s.Rules[j] = s.Rules[j], s.Rules[i] })
	return s
}

func randomRemote(r *rand.Rand) Remote {
	out := Remote{Address: netip.MustParseAddr(pick(r, addresses)), Entities: All}
	switch r.IntN(4) {
	case 0, 1:
		out.Identity = pick(r, identities)
		out.Namespace = out.Identity[:4]
		out.Entities |= Pods
	case 2:
		out.Entities |= pick(r, []Entity{Host, RemoteNode, RemoteNode | KubeAPIServer})
	default:
		out.Entities |= World
	}
	return out
}

// lookUp decides as the kernel does.
func (s *Set) lookUp(d Direction, f Family, to Remote, protocol uint8, port uint16) Decision {
	var classes [][]int
	if to.Identity != "" {
		classes = append(classes, s.OfIdentity(d, f, to.Identity, in), s.OfNamespace(d, f, to.Namespace))
	}
	for e := All; e <= KubeAPIServer; e <<= 1 {
		if to.Entities&e != 0 {
			classes = append(classes, s.OfEntity(d, f, e))
		}
	}
	ranges, of := s.Ranges, s.OfRange
	if to.Entities&World != 0 {
		ranges, of = s.WorldRanges, s.OfWorldRange
	}
	var longest netip.Prefix
	for _, n := range ranges(d) {
		if n.Contains(to.Address) && (!longest.IsValid() || n.Bits() > longest.Bits()) {
			longest = n
		}
	}
	if longest.IsValid() {
		classes = append(classes, of(d, f, longest))
	}
	values := make([]Value, 0, len(classes))
	for _, rules := range classes {
		values = append(values, find(s.Fold(rules), protocol, port))
	}
	return Combine(len(s.Isolated[d][f]) > 0, values...)
}

func find(entries []Entry, protocol uint8, port uint16) Value {
	for _, p := range []uint8{protocol, 0} {
		for n := 16; n >= 0; n-- {
			key := PortKey{p, uint8(n), port &^ uint16(1<<(16-n)-1)}
			if i, ok := slices.BinarySearchFunc(entries, key, func(e Entry, k PortKey) int { return e.compare(k) }); ok {
				return entries[i].Value
			}
		}
	}
	return Value{}
}

// TestFoldIsJudge compares what is found by classes, prefixes and protocols with an evaluation rule by rule.
func TestFoldIsJudge(t *testing.T) {
	allowed := 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 1))
		s := randomSet(r)
		for range 40 {
			d, f, to := Direction(r.IntN(2)), Family(r.IntN(2)), randomRemote(r)
			protocol, port := pick(r, protocols), pick(r, edges)
			if r.IntN(2) == 0 {
				port = uint16(r.IntN(1 << 16))
			}
			want, got := s.Judge(d, f, to, protocol, port, in), s.lookUp(d, f, to, protocol, port)
			if got != want {
				t.Fatalf("seed %d: to %+v, protocol %d port %d, direction %d, family %d: found %+v, judged %+v\n%+v", seed, to, protocol, port, d, f, got, want, s)
			}
			if want.Allowed {
				allowed++
			}
		}
	}
	if allowed < 30_000 || allowed > 90_000 {
		t.Errorf("%d of 120,000 are allowed: the rules say too little", allowed)
	}
}

// TestPrefixes covers each port of a range once, and no other.
func TestPrefixes(t *testing.T) {
	for _, first := range edges {
		for _, last := range edges {
			if first > last {
				continue
			}
			count := map[uint16]int{}
			keys := Ports{6, first, last}.prefixes()
			if len(keys) > 30 {
				t.Errorf("%d-%d: %d keys", first, last, len(keys))
			}
			for _, k := range keys {
				for i := range 1 << (16 - k.Bits) {
					count[k.Port+uint16(i)]++
				}
			}
			if len(count) != int(last-first)+1 || count[first] != 1 || count[last] != 1 {
				t.Errorf("%d-%d: %d ports by %v", first, last, len(count), keys)
			}
		}
	}
}
