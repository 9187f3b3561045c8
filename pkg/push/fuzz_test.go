package push

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"fairlead.io/fairlead/pkg/snapshot"
)

func TestStrangers(t *testing.T) {
	node := &core.Node{Id: "n"}
	long := strings.Repeat("x", maxName+1)
	versions := map[string]string{}
	names := []string{}
	for i := range 11 {
		names = append(names, fmt.Sprint(i))
		versions[fmt.Sprint(i)] = "1@1"
	}
	for name, tt := range map[string]struct {
		req  *discovery.DeltaDiscoveryRequest
		code codes.Code
	}{
		"no node":       {&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType}, codes.InvalidArgument},
		"empty node":    {&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType, Node: &core.Node{}}, codes.InvalidArgument},
		"long node":     {&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType, Node: &core.Node{Id: long}}, codes.InvalidArgument},
		"no type":       {&discovery.DeltaDiscoveryRequest{Node: node}, codes.InvalidArgument},
		"long name":     {&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: clusterType, ResourceNamesSubscribe: []string{long}}, codes.InvalidArgument},
		"long version":  {&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: clusterType, InitialResourceVersions: map[string]string{long: "1"}}, codes.InvalidArgument},
		"many names":    {&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: endpointType, ResourceNamesSubscribe: names}, codes.ResourceExhausted},
		"many versions": {&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: endpointType, InitialResourceVersions: versions}, codes.ResourceExhausted},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, Config{MaxNames: 10}, func(t *testing.T, r *rig) {
				r.src.Update(1, nil)
				c := r.client("")
				c.first = false
				c.send(tt.req)
				if err := <-c.err; status.Code(err) != tt.code {
					t.Errorf("got %v, want %v", err, tt.code)
				}
			})
		})
	}
	bubble(t, Config{}, func(t *testing.T, r *rig) {
		r.src.Update(1, nil)
		c := r.client("n")
		for i := range maxTypes + 1 {
			c.subscribe(fmt.Sprintf("type.googleapis.com/t%d", i))
		}
		if err := <-c.err; status.Code(err) != codes.ResourceExhausted {
			t.Errorf("got %v for too many types", err)
		}
	})
}

// script is a server stream that plays requests and acknowledges nothing by itself.
type script struct {
	grpc.ServerStream
	ctx  context.Context
	in   chan *discovery.DeltaDiscoveryRequest
	sent chan *discovery.DeltaDiscoveryResponse
}

func (s *script) Context() context.Context { return s.ctx }
func (s *script) Recv() (*discovery.DeltaDiscoveryRequest, error) {
	if r, ok := <-s.in; ok {
		return r, nil
	}
	return nil, io.EOF
}

// SendMsg takes what deltaTransport sends, as the wire has it.
func (s *script) SendMsg(v any) error {
	b, err := newCodec().Marshal(v)
	if err != nil {
		return err
	}
	m := &discovery.DeltaDiscoveryResponse{}
	if err := proto.Unmarshal(b.Materialize(), m); err != nil {
		return err
	}
	return s.Send(m)
}

func (s *script) Send(m *discovery.DeltaDiscoveryResponse) error {
	if len(m.Resources) == 0 && len(m.RemovedResources) == 0 && m.Nonce == "" {
		return fmt.Errorf("response without a nonce")
	}
	s.sent <- m
	return nil
}

// FuzzRequests plays a stream of requests, cut from the input, among snapshots that change. Whatever comes, the stream
// ends with a status, not with a panic, and the server forgets it.
func FuzzRequests(f *testing.F) {
	seed := func(reqs ...*discovery.DeltaDiscoveryRequest) {
		var in []byte
		for _, r := range reqs {
			b, _ := proto.Marshal(r)
			in = append(append(in, byte(len(b)>>8), byte(len(b))), b...)
		}
		f.Add(in)
	}
	n := &core.Node{Id: "n", UserAgentName: "envoy"}
	seed(&discovery.DeltaDiscoveryRequest{Node: n, TypeUrl: clusterType},
		&discovery.DeltaDiscoveryRequest{TypeUrl: clusterType, ResponseNonce: "1"},
		&discovery.DeltaDiscoveryRequest{TypeUrl: endpointType, ResourceNamesSubscribe: []string{"a", "*", ""}},
		&discovery.DeltaDiscoveryRequest{TypeUrl: routeType, ResourceNamesSubscribe: []string{"in", "\xff"}},
		&discovery.DeltaDiscoveryRequest{TypeUrl: virtualHostType},
		&discovery.DeltaDiscoveryRequest{TypeUrl: virtualHostType, ResourceNamesUnsubscribe: []string{"*", "in"}})
	seed(&discovery.DeltaDiscoveryRequest{Node: n, TypeUrl: "x", InitialResourceVersions: map[string]string{"a": "1@9999999999999999999"}})
	f.Fuzz(func(t *testing.T, in []byte) {
		src := snapshot.NewStatic()
		srv := New(Config{Source: src, Hold: time.Millisecond, MaxNames: 50})
		src.Update(1, append(many(t, clusterType, "1", 1, 3), res(t, endpointType, "a", "1", 1), res(t, routeType, "in", "1", 1),
			res(t, virtualHostType, "in/a", "1", 1)))
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		s := &script{ctx: ctx, in: make(chan *discovery.DeltaDiscoveryRequest), sent: make(chan *discovery.DeltaDiscoveryResponse, 1000)}
		done := make(chan error, 1)
		go func() { done <- srv.DeltaAggregatedResources(s) }()
		for i := 0; len(in) > 2; i++ {
			size := min(int(in[0])<<8|int(in[1]), len(in)-2)
			req := &discovery.DeltaDiscoveryRequest{}
			if proto.Unmarshal(in[2:2+size], req) != nil {
				break
			}
			in = in[2+size:]
			select {
			case s.in <- req:
			case err := <-done:
				if status.Code(err) == codes.Unknown {
					t.Fatalf("stream ended without a status: %v", err)
				}
				return
			}
			src.Update(uint64(i+2), []*snapshot.Resource{res(t, clusterType, "r000", fmt.Sprint(i), uint64(i+2))})
		}
		close(s.in)
		if err := <-done; err != nil && status.Code(err) == codes.Unknown {
			t.Fatalf("stream ended without a status: %v", err)
		}
		if len(srv.Clients()) != 0 {
			t.Fatal("stream is still listed after its end")
		}
		for k, tr := range srv.status.tracks {
			if len(tr.rejected) != 0 || srv.status.refusals.Load() != 0 {
				t.Fatalf("%v is still rejected by a stream that has ended", k)
			}
		}
		for typeURL, b := range srv.books {
			if len(b.ids) != 0 || len(b.free) != len(b.entries) {
				t.Fatalf("names of %s are still held for a stream that has ended: %v", typeURL, b.ids)
			}
		}
	})
}
