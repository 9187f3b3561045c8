package loadclient

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/protobuf/proto"
)

// BenchmarkClient is what one more client of a fleet costs: 5,000 clusters and their endpoints, which other clients have
// already seen, from received bytes to known state.
func BenchmarkClient(b *testing.B) {
	const n = 5000
	clusters := &discovery.DeltaDiscoveryResponse{TypeUrl: xds.ClusterType, Nonce: "1"}
	endpoints := &discovery.DeltaDiscoveryResponse{TypeUrl: xds.EndpointType, Nonce: "2"}
	for i := range n {
		name := fmt.Sprintf("svc/namespace-%d/service-%d.namespace-%d.svc.cluster.local/80", i%20, i, i%20)
		clusters.Resources = append(clusters.Resources, &discovery.Resource{Name: name, Version: "0123456789abcdef@1", Resource: pack(b, clusterOf(name, ""))})
		endpoints.Resources = append(endpoints.Resources, &discovery.Resource{Name: name, Version: "0123456789abcdef@1", Resource: pack(b, endpointsOf(name, fmt.Sprintf("%500d", i)))})
	}
	var wire [][]byte
	size := 0
	for _, m := range []proto.Message{clusters, endpoints} {
		bytes, err := proto.Marshal(m)
		if err != nil {
			b.Fatal(err)
		}
		wire = append(wire, bytes)
		size += len(bytes)
	}
	cfg := Config{Addresses: []string{"unix:none"}}
	if err := cfg.check(); err != nil {
		b.Fatal(err)
	}
	f := &Fleet{cfg: cfg}
	cold := func() *Client {
		c := newClient(f, 0)
		defer c.release()
		c.settle()
		for _, w := range wire {
			if err := c.handle(w, time.Now()); err != nil {
				b.Fatal(err)
			}
		}
		return c
	}
	first := cold()
	b.SetBytes(int64(size))
	b.ReportAllocs()
	var kept []*Client
	before := heap()
	for b.Loop() {
		kept = append(kept, cold())
	}
	b.ReportMetric(float64(heap()-before)/float64(len(kept))/(2*n), "B/resource-held")
	runtime.KeepAlive(first)
	runtime.KeepAlive(kept)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
