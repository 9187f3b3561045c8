package policy

import (
	"math/rand/v2"
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"fairlead.io/fairlead/pkg/verdict"
)

// party is one side of a connection, in the world that random policies of all kinds are judged in.
type party struct {
	name, namespace, account string
	labels                   map[string]string
	ports                    []verdict.NamedPort
	address                  netip.Addr
	entities                 verdict.Entity
}

func (p *party) pod() bool { return p.entities&verdict.Pods != 0 }

var specNamespaces = map[string]map[string]string{
	"shop": {"team": "red", nameLabel: "shop"}, "bank": {"team": "blue", nameLabel: "bank"}, "ops": {nameLabel: "ops"},
}

func specParties() []*party {
	addr := netip.MustParseAddr
	pod := func(ns, account, app, tier, address string, ports ...verdict.NamedPort) *party {
		labels := map[string]string{"app": app}
		if tier != "" {
			labels["tier"] = tier
		}
		return &party{ns + "/" + app, ns, account, labels, ports, addr(address), verdict.All | verdict.Pods}
	}
	http := func(n uint16) verdict.NamedPort { return verdict.NamedPort{Name: "http", Protocol: TCP, Port: n} }
	return []*party{
		pod("shop", "web", "web", "front", "10.1.0.1", http(80), verdict.NamedPort{Name: "dns", Protocol: UDP, Port: 53}),
		pod("shop", "db", "db", "back", "10.1.0.2", verdict.NamedPort{Name: "http", Protocol: UDP, Port: 80}),
		pod("shop", "web", "cart", "", "fd00::1", http(8080)),
		pod("bank", "teller", "web", "front", "10.1.0.3", http(443)),
		pod("bank", "default", "vault", "", "fd00::2"),
		pod("ops", "web", "db", "front", "10.2.0.1"),
		{"node/a", "", "", map[string]string{"pool": "a"}, nil, addr("192.168.0.1"), verdict.All | verdict.Host},
		{"node/b", "", "", map[string]string{"pool": "b"}, nil, addr("192.168.0.2"), verdict.All | verdict.RemoteNode},
		{"node/c", "", "", map[string]string{"pool": "a"}, nil, addr("192.168.0.3"), verdict.All | verdict.RemoteNode | verdict.KubeAPIServer},
		{"world/4", "", "", nil, nil, addr("203.0.113.7"), verdict.All | verdict.World},
		{"world/near", "", "", nil, nil, addr("10.1.0.99"), verdict.All | verdict.World},
		{"world/6", "", "", nil, nil, addr("2001:db8::7"), verdict.All | verdict.World},
	}
}

// specSelects tells whether a Selector selects, by what its fields say.
func specSelects(s *Selector, p *party) bool {
	if s.Nodes {
		return p.entities&(verdict.Host|verdict.RemoteNode) != 0 && meets(p.labels, s.Labels)
	}
	id := &Identity{Namespace: p.namespace, ServiceAccount: p.account, Labels: p.labels, Ports: p.ports}
	return p.pod() && s.selects(id) && meets(specNamespaces[p.namespace], s.NamespaceLabels)
}

// judge decides by compiled policies, for one subject.
func judge(policies []*Policy, family verdict.Family, d verdict.Direction, subject, other *party, protocol uint8, port uint16) bool {
	destination := other
	if d == verdict.Ingress {
		destination = subject
	}
	named := func(n NamedPort) bool {
		return destination.pod() && slices.ContainsFunc(destination.ports, func(p verdict.NamedPort) bool {
			return p.Name == n.Name && (n.Protocol == 0 || n.Protocol == p.Protocol) && p.Protocol == protocol && p.Port == port
		})
	}
	is := func(p Peer) bool {
		switch {
		case p.Pods != nil:
			return specSelects(p.Pods, other)
		case p.Range != nil:
			return p.Range.CIDR.Contains(other.address) && (!p.Range.World || other.entities&verdict.World != 0) &&
				!slices.ContainsFunc(p.Range.Except, func(x netip.Prefix) bool { return x.Contains(other.address) })
		}
		return p.Entity&other.entities != 0
	}
	var found [3][]Rule
	isolated := false
	for _, p := range policies {
		if !slices.ContainsFunc(p.Subjects, func(s Selector) bool { return specSelects(&s, subject) }) {
			continue
		}
		isolated = isolated || p.Isolates[d][family]
		for _, r := range p.Rules {
			ports := slices.ContainsFunc(r.Ports, func(q verdict.Ports) bool {
				return (q.Protocol == 0 || q.Protocol == protocol) && q.First <= port && port <= q.Last
			}) || slices.ContainsFunc(r.Named, named)
			if r.Family == family && r.Direction == d && ports && slices.ContainsFunc(r.Peers, is) {
				found[r.Tier] = append(found[r.Tier], r)
			}
		}
	}
	byRank := func(tier verdict.Tier) (verdict.Action, bool) {
		list := found[tier]
		slices.SortStableFunc(list, func(a, b Rule) int { return int(a.Priority - b.Priority) })
		if len(list) == 0 {
			return 0, false
		}
		return list[0].Action, list[0].Action != verdict.Pass
	}
	if a, ok := byRank(verdict.Admin); ok {
		return a == verdict.Allow
	}
	for _, action := range []verdict.Action{verdict.Deny, verdict.Allow} {
		if slices.ContainsFunc(found[verdict.Main], func(r Rule) bool { return r.Action == action }) {
			return action == verdict.Allow
		}
	}
	if isolated {
		return false
	}
	a, ok := byRank(verdict.Baseline)
	return !ok || a == verdict.Allow
}

func pick[T any](r *rand.Rand, list ...T) T { return list[r.IntN(len(list))] }

// some are up to n of what make gives.
func some[T any](r *rand.Rand, n int, make func() T) (out []T) {
	for range r.IntN(n + 1) {
		out = append(out, make())
	}
	return out
}

// randomLabels is a label selector; half of them are empty.
func randomLabels(r *rand.Rand, keys map[string][]string) metav1.LabelSelector {
	s := metav1.LabelSelector{}
	names := sortedKeys(keys)
	for range r.IntN(3) {
		key := pick(r, names...)
		if r.IntN(2) == 0 {
			s.MatchLabels = map[string]string{key: pick(r, keys[key]...)}
			continue
		}
		e := metav1.LabelSelectorRequirement{Key: key, Operator: pick(r, metav1.LabelSelectorOpIn, metav1.LabelSelectorOpNotIn, metav1.LabelSelectorOpExists, metav1.LabelSelectorOpDoesNotExist)}
		if e.Operator == metav1.LabelSelectorOpIn || e.Operator == metav1.LabelSelectorOpNotIn {
			e.Values = []string{pick(r, keys[key]...)}
		}
		s.MatchExpressions = append(s.MatchExpressions, e)
	}
	return s
}

// specLabels evaluates a label selector by labels, as the API reference tells it.
func specLabels(s *metav1.LabelSelector, lookUp func(key string) (string, bool)) bool {
	for k, v := range s.MatchLabels {
		if got, has := lookUp(k); !has || got != v {
			return false
		}
	}
	for _, e := range s.MatchExpressions {
		got, has := lookUp(e.Key)
		ok := false
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			ok = has && slices.Contains(e.Values, got)
		case metav1.LabelSelectorOpNotIn:
			ok = !has || !slices.Contains(e.Values, got)
		case metav1.LabelSelectorOpExists:
			ok = has
		case metav1.LabelSelectorOpDoesNotExist:
			ok = !has
		}
		if !ok {
			return false
		}
	}
	return true
}

func in(labels map[string]string) func(string) (string, bool) {
	return func(key string) (string, bool) {
		v, ok := labels[key]
		return v, ok
	}
}

// packets are what is tried between every two parties.
var packets = []struct {
	protocol uint8
	port     uint16
}{
	{TCP, 80}, {UDP, 80}, {SCTP, 80}, {TCP, 443}, {TCP, 8080}, {UDP, 53}, {TCP, 1500}, {ICMP, 8 << 8}, {ICMPv6, 128 << 8}, {47, 0},
}

// specCompare tries all packets between the pods and everybody, and tells how many are allowed.
func specCompare(policies []*Policy, family verdict.Family, spec func(d verdict.Direction, subject, other *party, protocol uint8, port uint16) bool,
	differ func(d verdict.Direction, subject, other *party, protocol uint8, port uint16, got bool),
) (allowed, all int) {
	parties := specParties()
	for _, subject := range parties {
		for _, other := range parties {
			if !subject.pod() || subject == other {
				continue
			}
			for _, d := range []verdict.Direction{verdict.Egress, verdict.Ingress} {
				for _, k := range packets {
					got := judge(policies, family, d, subject, other, k.protocol, k.port)
					if got != spec(d, subject, other, k.protocol, k.port) {
						differ(d, subject, other, k.protocol, k.port, got)
					}
					all++
					if got {
						allowed++
					}
				}
			}
		}
	}
	return allowed, all
}
