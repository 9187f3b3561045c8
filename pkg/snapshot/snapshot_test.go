package snapshot

import (
	"slices"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"fairlead.io/fairlead/pkg/model"
)

func TestVersion(t *testing.T) {
	r := &Resource{Hash: 0xabc, Position: 42}
	if h, p, ok := ParseVersion(r.Version()); h != 0xabc || p != 42 || !ok {
		t.Errorf("ParseVersion(%q) = %x, %d, %v", r.Version(), h, p, ok)
	}
	for _, v := range []string{"", "abc", "@", "xyz@1", "1@-1", "1@1@1", "11111111111111111@1"} {
		if _, _, ok := ParseVersion(v); ok {
			t.Errorf("ParseVersion(%q) is ok", v)
		}
	}
}

func TestVariants(t *testing.T) {
	for _, tt := range []struct {
		node Node
		want []string
	}{
		{Node{ID: "n"}, []string{"node/n", ""}},
		{Node{ID: "n", Locality: model.Locality{Region: "r"}}, []string{"node/n", "locality/r", ""}},
		{Node{ID: "n", Agent: "envoy", Namespace: "ns"}, []string{"node/n", ""}},
		{Node{ID: "n", Agent: "gRPC Java"}, []string{"node/n", "grpc", ""}},
		{
			Node{ID: "n", Agent: "gRPC Go", Namespace: "ns", Locality: model.Locality{Region: "r"}},
			[]string{"node/n", "grpc/ns", "grpc", "locality/r", ""},
		},
		{
			Node{ID: "n", Locality: model.Locality{Region: "r", Zone: "z", SubZone: "s"}},
			[]string{"node/n", "locality/r/z/s", "locality/r/z", "locality/r", ""},
		},
	} {
		if got := tt.node.Variants(); !slices.Equal(got, tt.want) {
			t.Errorf("Variants of %+v = %q, want %q", tt.node, got, tt.want)
		}
	}
}

func TestStatic(t *testing.T) {
	s := NewStatic()
	if s.Latest() != nil {
		t.Fatal("a source without an update has a snapshot")
	}
	made := func(name, text string) *Resource {
		r, err := Encode(name, &cluster.Cluster{Name: name, AltStatName: text}, 1)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first := s.Update(1, []*Resource{made("b", "1"), made("a", "1")})
	<-s.Ready()
	typeURL := made("a", "1").Type
	s.Update(2, []*Resource{made("a", "1")}) // equal: no change
	s.Update(3, []*Resource{made("b", "2")}, Key{Type: typeURL, Name: "a"})
	<-first.Newer()
	latest, variants := s.Latest(), Node{ID: "n"}.Variants()
	keys, ok := latest.ChangesSince(first.Seq())
	if len(keys) != 2 || !ok || latest.Seq() != 3 || latest.Position() != 3 {
		t.Errorf("changes %v %v at %d", keys, ok, latest.Seq())
	}
	if r := latest.Lookup(variants, typeURL, "a"); r != nil {
		t.Error("removed resource is served")
	}
	if r := first.Lookup(variants, typeURL, "a"); r == nil {
		t.Error("an older snapshot has changed")
	}
	var names []string
	first.Range(typeURL, func(r *Resource) bool { names = append(names, r.Name); return true })
	if !slices.Equal(names, []string{"a", "b"}) {
		t.Errorf("range gives %v", names)
	}
	for range history {
		latest = s.Update(4, nil)
	}
	if _, ok := latest.ChangesSince(first.Seq()); ok {
		t.Error("history has no end")
	}
	if keys, ok := latest.ChangesSince(latest.Seq()); !ok || len(keys) != 0 {
		t.Errorf("changes since now: %v %v", keys, ok)
	}
}
