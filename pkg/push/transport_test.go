package push

import (
	"testing"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/snapshot"
)

// What is put together from shared bytes is, to a client, what protobuf would have made of the message.
func TestFrameIsTheMessage(t *testing.T) {
	byHand := *res(t, listenerType, "by/hand", "x", 3)
	byHand = snapshot.Resource{Type: byHand.Type, Name: byHand.Name, Hash: byHand.Hash, Position: 3, Body: byHand.Body}
	for name, r := range map[string]*reply{
		"nothing":   {typeURL: clusterType, nonce: "1"},
		"removals":  {typeURL: clusterType, nonce: "2", seq: 7, removed: []string{"a", "b"}},
		"resources": {typeURL: clusterType, nonce: "3", seq: 1 << 40, resources: many(t, clusterType, "text", 9, 300), removed: []string{"z"}},
		"by hand":   {typeURL: listenerType, nonce: "4", resources: []*snapshot.Resource{&byHand}},
	} {
		t.Run(name, func(t *testing.T) {
			f := &frame{reply: r, identifier: "fairlead/test"}
			wire, err := newCodec().Marshal(f)
			if err != nil {
				t.Fatal(err)
			}
			got := &discovery.DeltaDiscoveryResponse{}
			if err := proto.Unmarshal(wire.Materialize(), got); err != nil {
				t.Fatal(err)
			}
			if want := f.ProtoReflect().Interface(); !proto.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			for i, x := range r.resources {
				if got.Resources[i].Version != x.Version() || got.Resources[i].Name != x.Name {
					t.Errorf("resource %d is %s %s", i, got.Resources[i].Name, got.Resources[i].Version)
				}
			}
		})
	}
}

// A resource is encoded once: sending it to many clients copies none of its bytes.
func TestResourcesAreShared(t *testing.T) {
	r := &reply{typeURL: clusterType, nonce: "1", resources: many(t, clusterType, "text", 9, 100)}
	one, err := newCodec().Marshal(&frame{reply: r})
	if err != nil {
		t.Fatal(err)
	}
	two, err := newCodec().Marshal(&frame{reply: r})
	if err != nil {
		t.Fatal(err)
	}
	if len(one) != 101 || len(two) != 101 {
		t.Fatalf("%d and %d buffers, want one for each resource and one for the rest", len(one), len(two))
	}
	for i := 1; i < len(one); i++ {
		if &one[i].ReadOnlyData()[0] != &two[i].ReadOnlyData()[0] {
			t.Fatalf("resource %d was copied", i-1)
		}
	}
	if body := r.resources[0].Body.Value; &body[0] != &one[1].ReadOnlyData()[one[1].Len()-len(body)] {
		t.Error("the body is kept twice")
	}
}
