package enforce

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"

	"fairlead.io/fairlead/pkg/verdict"
)

// What random resources are about.
var (
	identityNames = []string{"ns/shop/web/1", "ns/shop/web/2", "ns/shop/db/1", "ns/bank/web/1", "ns/bank/vault/1"}
	setNames      = []string{"app=a", "app=b", "app=c", "app=d"}
	someAddresses = []string{"10.1.2.3", "10.1.2.4", "10.1.3.1", "10.9.9.9", "fd00:1::7", "fd00:1::8", "8.8.8.8", "2001:db8::1"}
	nodeAddresses = []string{"172.18.0.2", "172.18.0.3"}
	prefixes      = []string{"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "0.0.0.0/0", "fd00::/8", "fd00:1::/32", "fd00:1::7/128", "::/0"}
	protocols     = []uint8{6, 17, 132, 1}
	edges         = []uint16{0, 79, 80, 81, 443, 1023, 1024, 8080, 32768, 65535}
)

const thisNode = "node-a"

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

func namespaceOf(identity string) string { return identity[3:7] }

func randomPeer(r *rand.Rand) verdict.Peer {
	switch r.IntN(7) {
	case 0, 1, 2, 3:
		return verdict.Peer{Kind: verdict.PeerSet, Name: pick(r, setNames)}
	case 4:
		return verdict.Peer{Kind: verdict.PeerNamespace, Name: pick(r, []string{"shop", "bank"})}
	case 5:
		return verdict.Peer{Kind: verdict.PeerEntity, Entity: verdict.Entity(1 << r.IntN(6))}
	}
	p := verdict.Peer{Kind: pick(r, []verdict.PeerKind{verdict.PeerCIDR, verdict.PeerWorldCIDR}), CIDR: netip.MustParsePrefix(pick(r, prefixes))}
	for range r.IntN(3) {
		if x := netip.MustParsePrefix(pick(r, prefixes)); x.Bits() >= p.CIDR.Bits() && p.CIDR.Contains(x.Addr()) {
			p.Except = append(p.Except, x)
		}
	}
	return p
}

func randomPorts(r *rand.Rand) verdict.Ports {
	if r.IntN(3) == 0 {
		return verdict.AnyPort
	}
	p := verdict.Ports{Protocol: pick(r, protocols), First: pick(r, edges), Last: pick(r, edges)}
	if p.First > p.Last {
		p.First, p.Last = p.Last, p.First
	}
	return p
}

func randomSet(r *rand.Rand) *verdict.Set {
	s := &verdict.Set{}
	for sd := range sides() {
		if r.IntN(2) == 0 {
			s.Isolated[sd.d][sd.f] = []verdict.Origin{{Name: "isolates"}}
		}
	}
	for n := range r.IntN(10) {
		rule := verdict.Rule{Direction: verdict.Direction(r.IntN(2)), Family: verdict.Family(max(0, r.IntN(8)-4)), Tier: verdict.Tier(r.IntN(3)), Action: verdict.Action(r.IntN(3))}
		if rule.Tier == verdict.Main {
			rule.Action = verdict.Action(r.IntN(2))
		} else {
			rule.Rank = uint32(n) + 1
		}
		for range 1 + r.IntN(2) {
			rule.Peers = append(rule.Peers, randomPeer(r))
		}
		for range 1 + r.IntN(2) {
			rule.Ports = append(rule.Ports, randomPorts(r))
		}
		rule.Origin = verdict.Origin{Name: fmt.Sprint(r.Uint32())}
		s.Rules = append(s.Rules, rule)
	}
	return s
}

// model is what an Engine has been told, and what follows from it, without any number.
type model struct {
	peers     map[string]Peer
	peerSets  map[string][]string
	held      map[string]*verdict.Set // by identity
	next      map[string]*verdict.Set // that wait for PeerSets
	pods      map[string]Workload
	has       map[string]string // identity by UID
	attached  map[string]bool
	hosts     []netip.Addr
	hostsSeen bool
}

func newModel() *model {
	return &model{
		peers: map[string]Peer{}, peerSets: map[string][]string{}, held: map[string]*verdict.Set{}, next: map[string]*verdict.Set{},
		pods: map[string]Workload{}, has: map[string]string{}, attached: map[string]bool{},
	}
}

func (m *model) clone() *model {
	return &model{
		maps.Clone(m.peers), maps.Clone(m.peerSets), maps.Clone(m.held), maps.Clone(m.next), maps.Clone(m.pods), maps.Clone(m.has),
		maps.Clone(m.attached), m.hosts, m.hostsSeen,
	}
}

// settle draws the conclusions of what was told.
func (m *model) settle() {
	for id, s := range m.next {
		if !slices.ContainsFunc(named(s), func(n string) bool { return m.peerSets[n] == nil }) {
			m.held[id] = s
			delete(m.next, id)
		}
	}
	for uid, p := range m.pods {
		if has := m.has[uid]; has == "" || m.held[p.Identity] != nil {
			m.has[uid] = p.Identity
		}
	}
	used := map[string]bool{}
	for _, id := range m.has {
		used[id] = true
	}
	for _, p := range m.pods {
		used[p.Identity] = true
	}
	for _, list := range []map[string]*verdict.Set{m.held, m.next} {
		for id := range list {
			if !used[id] {
				delete(list, id)
			}
		}
	}
}

// wanted lists PeerSets that are needed.
func (m *model) wanted() []string {
	out := map[string]bool{}
	for _, list := range []map[string]*verdict.Set{m.held, m.next} {
		for _, s := range list {
			for _, n := range named(s) {
				out[n] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(out))
}

// probe is a question.
type probe struct {
	uid      string
	d        verdict.Direction
	remote   netip.Addr
	protocol uint8
	port     uint16
}

func (m *model) remote(a netip.Addr) verdict.Remote {
	out := verdict.Remote{Address: a, Entities: verdict.All | verdict.World}
	for _, p := range m.peers {
		if slices.Contains(p.Addresses, a) {
			out.Identity, out.Namespace, out.Entities = p.Identity, p.Namespace, p.Entities
			if p.Identity == verdict.NodeIdentity(thisNode) {
				out.Entities = out.Entities&^verdict.RemoteNode | verdict.Host
			}
		}
	}
	for uid, w := range m.pods {
		if m.attached[uid] && slices.Contains(w.Addresses, a) {
			out.Identity, out.Namespace, out.Entities = m.has[uid], w.Namespace, verdict.All|verdict.Pods|out.Entities&verdict.KubeAPIServer
		}
	}
	if slices.Contains(m.hosts, a) {
		out.Namespace, out.Entities = "", verdict.All|verdict.Host|out.Entities&verdict.KubeAPIServer
		if out.Identity = ""; m.peers[verdict.NodeIdentity(thisNode)].Name != "" {
			out.Identity = verdict.NodeIdentity(thisNode)
		}
	}
	return out
}

// answer is what both families say, and the audited ones.
type answer struct{ allowed, network, mesh bool }

// judge answers by the remote as another model has it, by the specifications.
func (m *model) judge(p probe, to verdict.Remote) answer {
	s := m.held[m.has[p.uid]]
	if s == nil {
		return answer{}
	}
	in := func(set, identity string) bool { return slices.Contains(m.peerSets[set], identity) }
	by := func(f verdict.Family) bool { return s.Judge(p.d, f, to, p.protocol, p.port, in).Allowed }
	return answer{by(verdict.Network) && by(verdict.Mesh), by(verdict.NetworkAudit), by(verdict.MeshAudit)}
}
