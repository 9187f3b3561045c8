package translate_test

import (
	"net/netip"
	"testing"

	nodev1 "fairlead.io/fairlead/api/node/v1"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/translate"
)

func meshPod(node string, version int) *model.Pod {
	p := &model.Pod{Meta: meta("", "Pod", "ns-0", "web", version), Node: node, ServiceAccount: "web"}
	p.UID = "uid-of-web"
	return p
}

// An agent hears of a pod when it is bound, has an address or is gone, and not when it becomes ready.
func TestWorkloadChangesWithThePodsIdentityAlone(t *testing.T) {
	m := newMesh(t)
	at := func(node string) *snapshot.Resource {
		return m.out.Source().Latest().Get(snapshot.Key{Type: translate.WorkloadType, Name: "uid-of-web", Variant: "node/" + node})
	}
	m.apply(meshPod("", 1))
	bound := meshPod("a", 2)
	m.apply(bound)
	first := at("a")
	if first == nil {
		t.Fatal("no workload for a pod that is bound")
	}
	ready := meshPod("a", 3)
	ready.Ready = true
	seq := m.out.Source().Latest().Seq()
	m.apply(ready)
	keys, ok := m.out.Source().Latest().ChangesSince(seq)
	for _, k := range keys {
		if k.Type == translate.WorkloadType || !ok {
			t.Errorf("readiness changed %v", k)
		}
	}
	addressed := meshPod("a", 4)
	addressed.Addresses = []netip.Addr{netip.MustParseAddr("10.1.0.1")}
	m.apply(addressed)
	if now := at("a"); now == nil || now.Hash == first.Hash {
		t.Errorf("an address changed nothing: %v", now)
	}
	m.apply(addressed.Ref)
	if now := at("a"); now != nil {
		t.Errorf("a pod that is gone is still served: %v", now)
	}
	m.apply(meshPod("b", 5)) // made again elsewhere
	if at("a") != nil || at("b") == nil {
		t.Errorf("served at a: %v, at b: %v", at("a"), at("b"))
	}
	snap := m.out.Source().Latest()
	for _, node := range []string{"a", "c"} {
		if r := snap.Lookup(snapshot.Node{ID: node}.Variants(), translate.WorkloadType, "uid-of-web"); r != nil {
			t.Errorf("node %s is served another's pod: %v", node, r)
		}
	}
}

// A static pod is judged by policy as any other, but nothing is signed for it: who can write its manifest could name any account.
func TestStaticPodHasPolicyAndNoSVID(t *testing.T) {
	m := newMesh(t)
	static := meshPod("a", 1)
	static.Static = true
	m.apply(static)
	r := m.out.Source().Latest().Get(snapshot.Key{Type: translate.WorkloadType, Name: "uid-of-web", Variant: "node/a"})
	if r == nil {
		t.Fatal("the node is not told of its static pod")
	}
	w := &nodev1.Workload{}
	if err := r.Body.UnmarshalTo(w); err != nil {
		t.Fatal(err)
	}
	if w.Identity == "" || w.SpiffeId != "" || w.ServiceAccount != "" {
		t.Errorf("workload of a static pod: %v", w)
	}
}
