package explain

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/verdict"
	"fairlead.io/fairlead/pkg/verdict/wire"
)

const (
	webID = "td/ns/web/sa/client/00"
	dbID  = "td/ns/shop/sa/db/11"
	newID = "td/ns/shop/sa/new/22"
)

// published is a snapshot with a client, a database with a Set, a pod without one, two nodes, and the API server.
func published(t *testing.T, db *verdict.Set) snapshot.Snapshot {
	t.Helper()
	var list []*snapshot.Resource
	add := func(name string, m proto.Message) {
		r, err := snapshot.Encode(name, m, 1)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, r)
	}
	addresses := func(texts ...string) (out []netip.Addr) {
		for _, s := range texts {
			out = append(out, netip.MustParseAddr(s))
		}
		return out
	}
	pods, node := verdict.All|verdict.Pods, verdict.All|verdict.RemoteNode
	for name, p := range map[string]*wire.Peer{
		"u1":        {Identity: webID, Namespace: "web", Name: "client-1", Node: "a", Entities: pods, Addresses: addresses("10.1.0.5", "fd00::5"), Labels: map[string]string{"app": "client"}},
		"u2":        {Identity: dbID, Namespace: "shop", Name: "db-0", Node: "a", Entities: pods, Addresses: addresses("10.2.0.7", "fd00::7")},
		"u3":        {Identity: newID, Namespace: "shop", Name: "new", Node: "b", Entities: pods, Addresses: addresses("fd00::8")},
		"node/a":    {Identity: "node/a", Name: "a", Node: "a", Entities: node, Addresses: addresses("10.0.0.1")},
		"node/b":    {Identity: "node/b", Name: "b", Node: "b", Entities: node | verdict.KubeAPIServer, Addresses: addresses("10.0.0.2")},
		"apiserver": {Name: "kubernetes", Entities: verdict.All | verdict.World | verdict.KubeAPIServer, Addresses: addresses("192.0.2.1")},
	} {
		add(name, wire.EncodePeer(p))
	}
	add("clients", wire.EncodePeerSet([]string{webID}))
	add(webID, wire.Encode(&verdict.Set{}))
	add(dbID, wire.Encode(db))
	src := snapshot.NewStatic()
	src.Update(1, list)
	return src.Latest()
}

func rule(name string, tier verdict.Tier, action verdict.Action, port uint16, peers ...verdict.Peer) verdict.Rule {
	r := verdict.Rule{
		Direction: verdict.Ingress, Tier: tier, Action: action, Peers: peers, Ports: []verdict.Ports{{Protocol: 6, First: port, Last: port}},
		Origin: verdict.Origin{Kind: "P", Namespace: "shop", Name: name, Rule: "ingress[0]"},
	}
	if tier != verdict.Main {
		r.Rank = 1
	}
	return r
}

func TestExplain(t *testing.T) {
	clients, host := verdict.Peer{Kind: verdict.PeerSet, Name: "clients"}, verdict.Peer{Kind: verdict.PeerEntity, Entity: verdict.Host}
	all, api := verdict.Peer{Kind: verdict.PeerEntity, Entity: verdict.All}, verdict.Peer{Kind: verdict.PeerEntity, Entity: verdict.KubeAPIServer}
	set := &verdict.Set{Rules: []verdict.Rule{
		rule("guard", verdict.Admin, verdict.Deny, 22, all), rule("on", verdict.Admin, verdict.Pass, 5432, all), rule("clients", verdict.Main, verdict.Allow, 5432, clients),
		rule("host", verdict.Main, verdict.Allow, 80, host), rule("api", verdict.Main, verdict.Allow, 443, api),
	}}
	set.Isolated[verdict.Ingress][verdict.Network] = []verdict.Origin{{Kind: "P", Namespace: "shop", Name: "clients"}}
	set.Isolated[verdict.Ingress][verdict.MeshAudit] = []verdict.Origin{{Kind: "A", Namespace: "shop", Name: "audited"}}
	s := published(t, set)
	for _, c := range []struct{ from, to, want string }{
		{"pod/web/client-1", "pod/shop/db-0:5432", "AUDIT 10.1.0.5 10.2.0.7 egress network no policy true; egress mesh no policy true; ingress network rule true P shop/clients ingress[0]; ingress mesh no policy true; ingress mesh (audit) isolation false A shop/audited"},
		{"fd00::5", "[fd00::7]:5432", "AUDIT fd00::5 fd00::7 egress network"},
		{"pod/web/client-1", "pod/shop/db-0:22", "DENIED 10.1.0.5 10.2.0.7 egress network no policy true; egress mesh no policy true; ingress network rule false P shop/guard ingress[0]"},
		{"pod/web/client-1", "pod/shop/db-0:23", "ingress network isolation false P shop/clients not P shop/guard ingress[0] P shop/on ingress[0] P shop/clients ingress[0] P shop/host"},
		{"node/a", "pod/shop/db-0:80", "AUDIT 10.0.0.1 10.2.0.7 ingress network rule true P shop/host ingress[0]"}, // its own node
		{"node/b", "pod/shop/db-0:80", "DENIED 10.0.0.2 10.2.0.7"},
		{"node/b", "pod/shop/db-0:443", "rule true P shop/api ingress[0]"},
		{"192.0.2.1", "pod/shop/db-0:443", "rule true P shop/api ingress[0]"},
		{"192.0.2.2", "pod/shop/db-0:443", "DENIED 192.0.2.2 10.2.0.7"},
		{"pod/web/client-1", "pod/shop/new:80", "DENIED fd00::5 fd00::8 egress network no policy true; egress mesh no policy true; ingress network unknown false"},
		{"pod/shop/db-0", "10.0.0.1:10250", "ALLOWED 10.2.0.7 10.0.0.1 egress network no policy true; egress mesh no policy true;"},
	} {
		q, err := ParseQuery(c.from, c.to, "tcp")
		if err != nil {
			t.Fatal(err)
		}
		a, err := Explain(s, q)
		if err != nil {
			t.Errorf("%s %s: %v", c.from, c.to, err)
			continue
		}
		got := fmt.Sprintf("%s %s %s ", a.Verdict, a.From.Address, a.To.Address)
		for _, side := range a.Sides {
			for _, f := range side.Families {
				got += fmt.Sprintf("%s %s %s %v", side.Direction, f.Family, f.Because, f.Allowed)
				for _, o := range f.By {
					got += " " + o.String()
				}
				for i, o := range f.NoMatch {
					if i == 0 {
						got += " not"
					}
					got += " " + o.String()
				}
				got += "; "
			}
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s %s:\ngot  %s\nwant %s", c.from, c.to, got, c.want)
		}
	}
}

// FuzzParseQuery takes any text as an end.
func FuzzParseQuery(f *testing.F) {
	f.Add("pod/a/b", "pod/c/d:80", "tcp")
	f.Add("10.0.0.1", "[fd00::1]:8", "icmpv6")
	f.Add("node/x", "fd00::1%eth0", "47")
	f.Fuzz(func(t *testing.T, from, to, protocol string) {
		q, err := ParseQuery(from, to, protocol)
		if err == nil && (q.From != from || q.To == "") {
			t.Errorf("%q, %q become %q, %q", from, to, q.From, q.To)
		}
	})
}
