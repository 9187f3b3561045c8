package sds_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"fairlead.io/fairlead/pkg/node"
	"fairlead.io/fairlead/pkg/node/nodetest"
)

const secretType = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

// subscriber is one stream of an Envoy, which has one for each secret.
type subscriber struct {
	secret.SecretDiscoveryService_DeltaSecretsClient
}

func subscribe(t testing.TB, path, id string, names ...string) *subscriber {
	t.Helper()
	stream, err := secret.NewSecretDiscoveryServiceClient(dial(t, path)).DeltaSecrets(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	s := &subscriber{stream}
	s.send(t, &discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: id}, ResourceNamesSubscribe: names})
	return s
}

func (s *subscriber) send(t testing.TB, req *discovery.DeltaDiscoveryRequest) {
	t.Helper()
	req.TypeUrl = secretType
	if err := s.Send(req); err != nil {
		t.Fatal(err)
	}
}

// next takes a response, and acknowledges it.
func (s *subscriber) next(t testing.TB) *discovery.DeltaDiscoveryResponse {
	t.Helper()
	r, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	s.send(t, &discovery.DeltaDiscoveryRequest{ResponseNonce: r.GetNonce()})
	return r
}

// BenchmarkOneOfMany is from a new SVID to its stream, with a stream for each of many identities: what the others cost is the
// difference between the lines.
func BenchmarkOneOfMany(b *testing.B) {
	for _, n := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, path := newState(), folder(b)+"/s"
			ca := nodetest.NewAuthority(b)
			var two []*node.SVID
			var streams []*subscriber
			serve(b, s, path)
			for i := range n {
				id := spiffeid.RequireFromPath(nodetest.Domain, fmt.Sprintf("/ns/shop/sa/p%d", i))
				if x := svid(b, ca, id); i == 0 {
					two = append(two, x, svid(b, ca, id))
				} else {
					s.give(x)
				}
				if i < 100 {
					streams = append(streams, subscribe(b, path, "envoy", id.String()))
				}
			}
			s.give(two[0])
			for _, x := range streams {
				x.next(b)
			}
			turn := 0
			for b.Loop() {
				turn++
				s.give(two[turn%2])
				streams[0].next(b)
			}
		})
	}
}

// BenchmarkFanOut is from new bundles to the acknowledgement of the last of 100 streams.
func BenchmarkFanOut(b *testing.B) {
	s, path := newState(), folder(b)+"/s"
	ca := nodetest.NewAuthority(b)
	server := serve(b, s, path)
	two := []*node.Bundles{ca.Bundles(), nil}
	ca.Trust()
	two[1] = ca.Bundles()
	s.set(func(c *content) { c.Bundles = two[0] })
	for i := range 100 {
		x := subscribe(b, path, fmt.Sprint("envoy-", i%3), "fairlead/bundles")
		x.next(b)
		go func() {
			for {
				r, err := x.Recv()
				if err != nil || x.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: secretType, ResponseNonce: r.GetNonce()}) != nil {
					return
				}
			}
		}()
	}
	var took []time.Duration
	for turn := 1; b.Loop(); turn++ {
		began := time.Now()
		s.set(func(c *content) { c.Bundles = two[turn%2] })
		if err := server.Served(b.Context()); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
}
