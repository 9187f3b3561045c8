package datapath

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"fairlead.io/fairlead/pkg/verdict"
)

// The oracle: random Sets and random packets, judged by the real programs and by verdict.Judge, rule by rule.

var (
	oracleNames = names{
		identities: []string{"shop/web", "shop/db", "bank/web", "bank/vault", "node/own", "node/other"}, namespaces: []string{"shop", "bank"},
		entities: []verdict.Entity{
			verdict.All, verdict.All | verdict.World, verdict.All | verdict.Pods, verdict.All | verdict.Host, verdict.All | verdict.RemoteNode,
			verdict.All | verdict.Host | verdict.KubeAPIServer, verdict.All | verdict.RemoteNode | verdict.KubeAPIServer,
			verdict.All | verdict.World | verdict.KubeAPIServer,
		},
		// A PeerSet is named by the bits of the identities in it.
		in: func(set, identity string) bool {
			var mask int
			_, err := fmt.Sscan(set, &mask)
			return err == nil && mask&(1<<slices.Index([]string{"shop/web", "shop/db", "bank/web", "bank/vault", "node/own", "node/other"}, identity)) != 0
		},
	}
	oraclePrefixes = []string{
		"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "0.0.0.0/0", "192.168.0.0/16", "fd00::/8", "fd00:1::/32", "fd00:1::7/128", "::/0", "2001:db8::/33",
	}
	oracleEdges = []uint16{0, 1, 79, 80, 81, 443, 1023, 1024, 8000, 8080, 32767, 32768, 65534, 65535, 8 << 8, 128 << 8, 3<<8 | 1}
)

// who is known of each address; the rest is World.
type who struct {
	address  netip.Addr
	identity string
	local    bool
	entities verdict.Entity
}

var oracleWho = []who{
	{netip.MustParseAddr("10.1.2.3"), "shop/web", true, verdict.All | verdict.Pods},
	{netip.MustParseAddr("fd00:1::7"), "shop/web", true, verdict.All | verdict.Pods},
	{netip.MustParseAddr("10.1.2.4"), "shop/db", true, verdict.All | verdict.Pods},
	{netip.MustParseAddr("fd00:1::8"), "shop/db", true, verdict.All | verdict.Pods},
	{netip.MustParseAddr("10.1.2.5"), "bank/web", true, verdict.All | verdict.Pods},
	{netip.MustParseAddr("fd00:1::9"), "bank/web", true, verdict.All | verdict.Pods},
	{netip.MustParseAddr("10.1.9.1"), "bank/vault", false, verdict.All | verdict.Pods},
	{netip.MustParseAddr("fd00:9::1"), "bank/vault", false, verdict.All | verdict.Pods},
	{netip.MustParseAddr("10.1.9.2"), "shop/web", false, verdict.All | verdict.Pods},
	{netip.MustParseAddr("fd00:9::2"), "shop/web", false, verdict.All | verdict.Pods},
	{netip.MustParseAddr("192.168.0.1"), "node/own", false, verdict.All | verdict.Host | verdict.KubeAPIServer},
	{netip.MustParseAddr("fd00:a::1"), "node/own", false, verdict.All | verdict.Host | verdict.KubeAPIServer},
	{netip.MustParseAddr("192.168.0.2"), "node/other", false, verdict.All | verdict.RemoteNode},
	{netip.MustParseAddr("fd00:a::2"), "node/other", false, verdict.All | verdict.RemoteNode | verdict.KubeAPIServer},
	{netip.MustParseAddr("8.8.4.4"), "", false, verdict.All | verdict.World | verdict.KubeAPIServer},
	{netip.MustParseAddr("8.8.8.8"), "", false, 0}, // not known
	{netip.MustParseAddr("10.200.0.1"), "", false, 0},
	{netip.MustParseAddr("2001:db8::1"), "", false, 0},
	{netip.MustParseAddr("fd00:ffff::1"), "", false, 0},
}

func namespaceOf(identity string) string {
	if len(identity) < 4 || identity[:4] == "node" {
		return ""
	}
	return identity[:4]
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func randomPeer(r *rand.Rand) verdict.Peer {
	switch r.IntN(5) {
	case 0:
		return verdict.Peer{Kind: verdict.PeerSet, Name: fmt.Sprint(r.IntN(1 << len(oracleNames.identities)))}
	case 1:
		return verdict.Peer{Kind: verdict.PeerNamespace, Name: pick(r, oracleNames.namespaces)}
	case 2:
		return verdict.Peer{Kind: verdict.PeerEntity, Entity: verdict.Entity(1 << r.IntN(6))}
	}
	p := verdict.Peer{Kind: pick(r, []verdict.PeerKind{verdict.PeerCIDR, verdict.PeerWorldCIDR}), CIDR: netip.MustParsePrefix(pick(r, oraclePrefixes))}
	for range r.IntN(3) {
		if x := netip.MustParsePrefix(pick(r, oraclePrefixes)); x.Bits() > p.CIDR.Bits() && p.CIDR.Contains(x.Addr()) {
			p.Except = append(p.Except, x)
		}
	}
	return p
}

func randomSet(r *rand.Rand) *verdict.Set {
	s := &verdict.Set{}
	for d := range s.Isolated {
		for f := range s.Isolated[d] {
			if r.IntN(3) == 0 {
				s.Isolated[d][f] = []verdict.Origin{{Name: "isolates"}}
			}
		}
	}
	for n := range r.IntN(14) {
		rule := verdict.Rule{
			Direction: verdict.Direction(r.IntN(2)), Family: pick(r, []verdict.Family{0, 0, 1, 2, 3}),
			Tier: verdict.Tier(r.IntN(3)), Action: verdict.Action(r.IntN(3)),
		}
		if rule.Tier == verdict.Main {
			rule.Action = pick(r, []verdict.Action{verdict.Allow, verdict.Allow, verdict.Deny})
		} else {
			rule.Rank = uint32(n) + 1
		}
		for range 1 + r.IntN(3) {
			rule.Peers = append(rule.Peers, randomPeer(r))
		}
		for range 1 + r.IntN(3) {
			p := verdict.AnyPort
			if r.IntN(3) != 0 {
				p = verdict.Ports{Protocol: pick(r, []uint8{tcp, udp, sctp, icmp, icmpv6, 47}), First: pick(r, oracleEdges), Last: pick(r, oracleEdges)}
				if p.First > p.Last {
					p.First, p.Last = p.Last, p.First
				}
			}
			rule.Ports = append(rule.Ports, p)
		}
		s.Rules = append(s.Rules, rule)
	}
	r.Shuffle(len(s.Rules), func(i, j int) { s.Rules[i], s.Rules[j] = s.Rules[j], s.Rules[i] })
	return s
}

func randomPort(r *rand.Rand) uint16 {
	if r.IntN(2) == 0 {
		return uint16(r.IntN(1 << 16))
	}
	return pick(r, oracleEdges)
}

func randomWire(r *rand.Rand, h Hook) wire {
	var w wire
	from := slices.DeleteFunc(slices.Clone(oracleWho), func(x who) bool { return h == FromPod && !x.local || h == ToPod && x.local })
	w.src = pick(r, from).address
	to := slices.DeleteFunc(slices.Clone(oracleWho), func(x who) bool { return x.address.Is4() != w.src.Is4() })
	w.dst = pick(r, to).address
	w.protocol = pick(r, []uint8{tcp, tcp, udp, udp, sctp, icmp, 47})
	w.sport, w.dport = randomPort(r), randomPort(r)
	switch w.protocol {
	case tcp:
		w.flags = pick(r, []uint8{syn, syn, syn | ack, ack, fin | ack, rst})
	case sctp:
		w.flags = pick(r, []uint8{1, 1, 2, 0, 3})
	case icmp:
		w.dport = pick(r, []uint16{8 << 8, 0, 13 << 8, 3<<8 | 1, 11 << 8})
		if w.six() {
			w.protocol = icmpv6
			w.dport = pick(r, []uint16{128 << 8, 129 << 8, 1<<8 | 4, 139 << 8})
		}
	}
	if w.six() {
		for range r.IntN(3) {
			n := 8 * (1 + r.IntN(2))
			x := extension{pick(r, []uint8{0, 60, 43, 51}), make([]byte, n-1)}
			if x.body[0] = byte(n/8 - 1); x.kind == 51 {
				x.body[0] = byte(n/4 - 2)
			}
			w.extensions = append(w.extensions, x)
		}
	} else if r.IntN(4) == 0 {
		w.options = make([]byte, 4*r.IntN(11))
	}
	return w
}

// outcome is what is expected of a packet.
type outcome struct {
	ours, passes bool
	kind         EventKind
	reply        bool
	direction    verdict.Direction
	said         [2]Said
}

// oracle is the reference.
type oracle struct {
	sets    map[string]*verdict.Set
	numbers map[string]uint32
}

// remote says who an address is at a hook, seen from the other side.
func remote(a netip.Addr, host, source bool) (verdict.Remote, bool) {
	var x who
	for _, k := range oracleWho {
		if k.address == a && k.entities != 0 {
			x = k
		}
	}
	out := verdict.Remote{Address: a, Identity: x.identity, Namespace: namespaceOf(x.identity), Entities: x.entities}
	if x.entities == 0 {
		out.Entities = verdict.All | verdict.World
	}
	switch {
	case host && out.Entities&verdict.Pods == 0:
		out.Entities = out.Entities&^(verdict.World|verdict.RemoteNode) | verdict.Host
	case !host && source && out.Entities&verdict.Host != 0:
		out = verdict.Remote{Address: a, Entities: verdict.All}
	}
	return out, x.local
}

// started tells whether a packet's sender has started its flow, of which it is the first that is seen.
func started(w wire) bool {
	switch {
	case w.protocol == tcp && w.flags&syn != 0:
		return w.flags&ack == 0
	case w.protocol == sctp && w.flags == 1:
		return true
	case w.protocol == sctp && w.flags == 2:
		return false
	case w.protocol == tcp || w.protocol == sctp:
		return w.sport >= 32768 || w.dport < 32768
	}
	return true
}

func (o oracle) judge(h Hook, w wire) outcome {
	out := outcome{passes: true, kind: FlowNew}
	hostSource, hostDestination := h == LocalOut, h == LocalIn
	if !started(w) {
		out.reply = true
		w.src, w.dst, w.sport, w.dport = w.dst, w.src, w.dport, w.sport
		hostSource, hostDestination = hostDestination, hostSource
	}
	src, srcLocal := remote(w.src, hostSource, true)
	dst, dstLocal := remote(w.dst, hostDestination, false)
	if out.ours = srcLocal || dstLocal; !out.ours {
		return out
	}
	if srcLocal && !hostSource {
		o.ask(&out, verdict.Egress, src, dst, w)
	}
	if dstLocal && out.passes {
		o.ask(&out, verdict.Ingress, dst, src, w)
	}
	return out
}

// ask evaluates one direction.
func (o oracle) ask(out *outcome, d verdict.Direction, subject, other verdict.Remote, w wire) {
	s := o.sets[subject.Identity]
	said := Said{Judged: true, Allowed: true, Because: NoPolicy, Set: o.numbers[subject.Identity]}
	defer func() { out.said[d] = said }()
	if s == nil {
		said.Set = 0
		if said.Because = Exempt; d == verdict.Egress || other.Entities&verdict.Host == 0 {
			said.Allowed, said.Because = false, Unknown
			out.passes, out.kind, out.direction = false, FlowDenied, d
		}
		return
	}
	port := w.dport
	if w.protocol == 47 {
		port = 0
	}
	for f := range verdict.Families {
		v := s.Judge(d, f, other, w.protocol, port, oracleNames.in)
		switch {
		case !v.Allowed:
			said.Allowed, said.Family, said.Because, said.Rule = false, f, Because(v.Because), uint32(v.Rule)
			if f >= verdict.NetworkAudit {
				if out.kind == FlowNew {
					out.kind, out.direction = FlowAudited, d
				}
			} else {
				out.passes, out.kind, out.direction = false, FlowDenied, d
			}
			return
		case f < verdict.NetworkAudit && said.Because == NoPolicy && v.Because == verdict.ByRule:
			said.Family, said.Because, said.Rule = f, ByRule, uint32(v.Rule)
		}
	}
}

// arrange writes who has which address, and that all pods are behind the loopback interface, where test runs seem to be.
func arrange(t testing.TB, d *Datapath) {
	for _, x := range oracleWho {
		if x.entities == 0 {
			continue
		}
		a := Address{Identity: oracleNames.identity(x.identity), Namespace: oracleNames.namespace(namespaceOf(x.identity)), Entities: x.entities}
		if x.local {
			a.Interface = 1
		}
		must(t, d.PutAddress(x.address, a))
	}
}

// at has the endpoint of test runs have an address.
func stand(t testing.TB, d *Datapath, a ...netip.Addr) {
	t.Helper()
	e, err := Endpoint{Interface: 1, MAC: podMAC, Router: routerMAC, Bridge: 5, Addresses: a}.encode()
	must(t, err)
	must(t, d.maps.Endpoints.Put(uint32(1), e))
}

// forget has no flow known.
func forget(t testing.TB, d *Datapath) {
	t.Helper()
	var k [40]byte
	for d.maps.Flows.NextKey(nil, &k) == nil {
		must(t, d.maps.Flows.Delete(k))
	}
}

func TestOracle(t *testing.T) {
	d := open(t, Config{})
	arrange(t, d)
	events, err := d.Events()
	must(t, err)
	defer func() { _ = events.Close() }()
	hooks := []Hook{FromPod, ToPod, Forward, LocalIn, LocalOut}
	seen := map[string]int{}
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 7))
		o := oracle{map[string]*verdict.Set{}, map[string]uint32{}}
		var written []compiled
		for i, id := range oracleNames.identities[:3] {
			number := uint32(0)
			if r.IntN(8) != 0 {
				o.sets[id] = randomSet(r)
				number = uint32(i + 1)
				o.numbers[id] = number
				c := compile(number, o.sets[id], oracleNames)
				c.put(t, d)
				written = append(written, c)
			}
			must(t, d.PutSubject(oracleNames.identity(id), number))
		}
		for range 60 {
			h := pick(r, hooks)
			w := randomWire(r, h)
			if h == FromPod {
				stand(t, d, w.src)
			} else {
				stand(t, d)
			}
			want := o.judge(h, w)
			if got := run(t, d, h, w); got != want.passes {
				t.Fatalf("seed %d, hook %d: %+v passes: %v, want %+v\n%+v", seed, h, w, got, want, o.sets)
			}
			if !want.ours {
				seen["not ours"]++
				continue
			}
			var e Event
			must(t, events.Read(&e))
			if got := (outcome{true, e.Kind != FlowDenied, e.Kind, e.Reply, e.Direction, e.Said}); got.kind != want.kind || got.said != want.said ||
				got.reply != want.reply || want.kind != FlowNew && got.direction != want.direction {
				t.Fatalf("seed %d, hook %d: %+v: told %+v (%+v), want %+v\n%+v", seed, h, w, got, e, want, o.sets)
			}
			if w.protocol == 47 {
				w.sport, w.dport = 0, 0
			}
			if e.Source != w.src || e.Destination != w.dst || e.Protocol != w.protocol || e.DestinationPort != w.dport || e.Hook != h {
				t.Fatalf("seed %d, hook %d: %+v: told of %+v", seed, h, w, e)
			}
			seen[fmt.Sprint("hook ", h, " kind ", e.Kind)]++
			seen[fmt.Sprint("protocol ", w.protocol, " six ", w.six(), " passes ", want.passes)]++
			forget(t, d)
			if e.Kind != FlowDenied && w.flags&(fin|rst) != 0 && w.protocol == tcp && w.flags&rst != 0 {
				must(t, events.Read(&e)) // it was closed at once
			}
		}
		for _, c := range written {
			c.remove(t, d)
		}
	}
	for _, p := range []uint8{tcp, udp, sctp, icmp, icmpv6, 47} {
		for _, passes := range []bool{false, true} {
			if n := seen[fmt.Sprint("protocol ", p, " six ", p == icmpv6, " passes ", passes)]; n < 200 {
				t.Errorf("protocol %d passes %v: only %d packets", p, passes, n)
			}
		}
	}
	for _, h := range hooks {
		for _, k := range []EventKind{FlowNew, FlowDenied, FlowAudited} {
			if n := seen[fmt.Sprint("hook ", h, " kind ", k)]; n < 100 {
				t.Errorf("hook %d: only %d events of kind %d", h, n, k)
			}
		}
	}
}
