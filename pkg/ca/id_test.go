package ca

import (
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

func TestIDsComeBack(t *testing.T) {
	td := spiffeid.RequireTrustDomainFromString("cluster.local")
	w, err := WorkloadID(td, "shop", "web")
	if err != nil || w.String() != "spiffe://cluster.local/ns/shop/sa/web" {
		t.Fatalf("workload: %v, %v", w, err)
	}
	if ns, sa, ok := ParseWorkloadID(w); !ok || ns != "shop" || sa != "web" {
		t.Errorf("workload parsed: %q %q %v", ns, sa, ok)
	}
	n, err := NodeID(td, NodeRef{"n1", "0f1e"})
	if err != nil || n.String() != "spiffe://cluster.local/node/n1/0f1e" {
		t.Fatalf("node: %v, %v", n, err)
	}
	if ref, ok := ParseNodeID(n); !ok || ref != (NodeRef{"n1", "0f1e"}) {
		t.Errorf("node parsed: %v %v", ref, ok)
	}
	if _, ok := ParseNodeID(w); ok {
		t.Error("a workload is taken for a node")
	}
	g, err := GatewayID(td, "shop", "front")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, ok := ParseWorkloadID(g); ok {
		t.Error("a gateway is taken for a workload")
	}
	for _, bad := range [][2]string{{"", "web"}, {"shop", ""}, {"a/b", "web"}, {"shop", ".."}, {"shop", "w eb"}, {"shop", "x%2f"}, {"é", "web"}} {
		if id, err := WorkloadID(td, bad[0], bad[1]); err == nil {
			t.Errorf("namespace %q, service account %q give %v", bad[0], bad[1], id)
		}
	}
}

func TestAliasesAreOurs(t *testing.T) {
	own := spiffeid.RequireTrustDomainFromString("cluster.local")
	aliases := []spiffeid.TrustDomain{spiffeid.RequireTrustDomainFromString("old.example")}
	for id, want := range map[string]string{
		"spiffe://cluster.local/ns/shop/sa/web":   "spiffe://cluster.local/ns/shop/sa/web",
		"spiffe://old.example/ns/shop/sa/web":     "spiffe://cluster.local/ns/shop/sa/web",
		"spiffe://older.example/ns/shop/sa/web":   "",
		"spiffe://a.old.example/ns/shop/sa/web":   "",
		"spiffe://partner.example/ns/shop/sa/web": "",
	} {
		got, ok := Own(own, aliases, spiffeid.RequireFromString(id))
		if ok != (want != "") || ok && got.String() != want {
			t.Errorf("%s is %q, %v; want %q", id, got, ok, want)
		}
		if in := Ours(own, aliases, spiffeid.RequireFromString(id).TrustDomain()); in != ok {
			t.Errorf("%s is ours: %v", id, in)
		}
	}
}
