package wire

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/verdict"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, t := range texts {
		out = append(out, netip.MustParsePrefix(t))
	}
	return out
}

// full has every kind of everything.
func full() *verdict.Set {
	origin := verdict.Origin{Group: "g", Kind: "K", Namespace: "n", Name: "o", Rule: "ingress[0]"}
	s := &verdict.Set{Rules: []verdict.Rule{
		{Tier: verdict.Admin, Rank: 1, Action: verdict.Pass, Family: verdict.MeshAudit, Origin: origin},
		{Direction: verdict.Ingress, Tier: verdict.Main, Action: verdict.Allow, Family: verdict.NetworkAudit, Peers: []verdict.Peer{
			{Kind: verdict.PeerSet, Name: "pods;label:app=web"},
			{Kind: verdict.PeerNamespace, Name: "shop"},
			{Kind: verdict.PeerEntity, Entity: verdict.Host | verdict.KubeAPIServer},
			{Kind: verdict.PeerCIDR, CIDR: prefixes("10.0.0.0/8")[0], Except: prefixes("10.1.0.0/16", "10.2.0.0/16")},
			{Kind: verdict.PeerWorldCIDR, CIDR: prefixes("fd00::/8")[0]},
		}, Ports: []verdict.Ports{verdict.AnyPort, {Protocol: 6, First: 80, Last: 443}, {Protocol: 132, First: 0, Last: 0xffff}}, Origin: origin},
		{Tier: verdict.Baseline, Rank: 2, Action: verdict.Deny, Family: verdict.Mesh},
	}}
	s.Isolated[verdict.Egress][verdict.Network] = []verdict.Origin{origin, {Kind: "L"}}
	s.Isolated[verdict.Ingress][verdict.MeshAudit] = []verdict.Origin{origin}
	return s
}

func TestRoundTrip(t *testing.T) {
	s := full()
	got, err := Decode(Encode(s))
	if err != nil || !reflect.DeepEqual(got, s) {
		t.Errorf("%+v, %v\nafter %+v", got, err, s)
	}
	p := &Peer{
		Identity: "i", Namespace: "n", Name: "p", Node: "a", Workload: "Deployment/p", Labels: map[string]string{"app": "p"},
		Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")}, Entities: verdict.All | verdict.Pods,
	}
	if got, err := DecodePeer(EncodePeer(p)); err != nil || !reflect.DeepEqual(got, p) {
		t.Errorf("%+v, %v after %+v", got, err, p)
	}
}

func TestRefused(t *testing.T) {
	rule := func(change func(*nodev1.Rule)) *nodev1.VerdictSet {
		m := Encode(full())
		change(m.Rules[1])
		return m
	}
	for want, m := range map[string]*nodev1.VerdictSet{
		"direction 7":        rule(func(r *nodev1.Rule) { r.Direction = 7 }),
		"family 9":           rule(func(r *nodev1.Rule) { r.Family = 9 }),
		"tier 3":             rule(func(r *nodev1.Rule) { r.Tier = 3 }),
		"rank 4":             rule(func(r *nodev1.Rule) { r.Rank = 4 }),
		"action 5":           rule(func(r *nodev1.Rule) { r.Action = 5 }),
		"passes to none":     rule(func(r *nodev1.Rule) { r.Action = nodev1.Action_ACTION_PASS }),
		"not known":          rule(func(r *nodev1.Rule) { r.Peers[0].Who = nil }),
		"entities 0x40":      rule(func(r *nodev1.Rule) { r.Peers[2] = &nodev1.RulePeer{Who: &nodev1.RulePeer_Entities{Entities: 64}} }),
		"its canonical form": rule(func(r *nodev1.Rule) { r.Peers[3].GetRange().Cidr = "10.0.0.1/8" }),
		"no '/'":             rule(func(r *nodev1.Rule) { r.Peers[3].GetRange().Except[0] = "x" }),
		"protocol 256":       rule(func(r *nodev1.Rule) { r.Ports[1].Protocol = 256 }),
		"443 to 80":          rule(func(r *nodev1.Rule) { r.Ports[1].First, r.Ports[1].Last = 443, 80 }),
		"ports 0 to 7":       rule(func(r *nodev1.Rule) { r.Ports[0].Last = 7 }),
		"0 origins":          {Isolations: []*nodev1.Isolation{{}}},
	} {
		if s, err := Decode(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v: want an error with %q", s, err, want)
		}
	}
	for want, m := range map[string]*nodev1.Peer{
		"entities 0x4":   {Entities: uint32(verdict.Pods)},
		"entities 0x9":   {Entities: uint32(verdict.All | verdict.Host)},
		"of 5 bytes":     {Entities: uint32(verdict.All), Addresses: [][]byte{{1, 2, 3, 4, 5}}},
		"entities 0x101": {Entities: 0x101},
	} {
		if p, err := DecodePeer(m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v: want an error with %q", p, err, want)
		}
	}
	for _, list := range [][]string{{"b", "a"}, {"a", "a"}, {""}} {
		if _, err := DecodePeerSet(&nodev1.PeerSet{Identities: list}); err == nil {
			t.Errorf("%q is taken", list)
		}
	}
}

// FuzzDecode reads whatever comes; what is taken is the same after a second journey, and can be judged and folded.
func FuzzDecode(f *testing.F) {
	b, err := proto.Marshal(Encode(full()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p := &nodev1.Peer{}
		if proto.Unmarshal(b, p) == nil {
			if peer, err := DecodePeer(p); err == nil {
				if again, err := DecodePeer(EncodePeer(peer)); err != nil || !reflect.DeepEqual(again, peer) {
					t.Fatalf("%+v, %v after %+v", again, err, peer)
				}
			}
		}
		m := &nodev1.VerdictSet{}
		if proto.Unmarshal(b, m) != nil {
			return
		}
		s, err := Decode(m)
		if err != nil {
			return
		}
		if again, err := Decode(Encode(s)); err != nil || !reflect.DeepEqual(again, s) {
			t.Fatalf("%+v, %v after %+v", again, err, s)
		}
		for _, d := range []verdict.Direction{verdict.Egress, verdict.Ingress} {
			for family := range verdict.Families {
				s.Judge(d, family, verdict.Remote{Address: netip.MustParseAddr("10.0.0.1"), Entities: verdict.All}, 6, 80, func(string, string) bool { return true })
				if rules := s.OfEntity(d, family, verdict.All); len(rules) < 100 {
					s.Fold(rules)
				}
			}
		}
	})
}
