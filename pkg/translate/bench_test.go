package translate_test

import (
	"runtime"
	"testing"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/source"
	"fairlead.io/fairlead/pkg/translate"
)

// The size that figures are promised for: 5,000 services of 10 endpoints, 500 VirtualServices, 1,000 HTTPRoutes.
const (
	benchServices  = 5000
	benchEndpoints = 10
)

// BenchmarkEndpointSlice is one EndpointSlice change, to published, encoded bytes.
func BenchmarkEndpointSlice(b *testing.B) {
	benchChange(b, func(v int) any { return meshSlice(2500, benchEndpoints, v) },
		snapshot.Key{Type: resource.EndpointType, Name: "svc/ns-25/svc-2500.ns-25.svc.cluster.local/80"})
}

// BenchmarkVirtualService is one VirtualService change, to published, encoded bytes.
func BenchmarkVirtualService(b *testing.B) {
	benchChange(b, func(v int) any { return meshVS(2500, v) },
		snapshot.Key{Type: resource.RouteType, Name: "svc/ns-25/svc-2500.ns-25.svc.cluster.local/80"})
}

// BenchmarkHTTPRoute is one HTTPRoute change at a gateway of 1,000 hosts.
func BenchmarkHTTPRoute(b *testing.B) {
	benchChange(b, func(v int) any { return meshRoute(2500, v) },
		snapshot.Key{Type: translate.VirtualHostType, Name: "gateway/0.0.0.0:80/h2500.example.com"})
}

// benchChange applies versions of one object and demands that each changes what it is for, and little else.
func benchChange(b *testing.B, object func(version int) any, want snapshot.Key) {
	m := newMesh(b)
	m.apply(fullMesh(benchServices, benchEndpoints)...)
	src := m.out.Source()
	if src.Latest().Get(want) == nil {
		b.Fatalf("no %s", want.Name)
	}
	b.ReportAllocs()
	version := 1
	for b.Loop() {
		version++
		seq, hash := src.Latest().Seq(), src.Latest().Get(want).Hash
		m.apply(object(version))
		now := src.Latest()
		changes, ok := now.ChangesSince(seq)
		if !ok || len(changes) != 1 || now.Get(want).Hash == hash {
			b.Fatalf("version %d changed %v", version, changes)
		}
	}
}

// BenchmarkRebuild is everything from nothing.
func BenchmarkRebuild(b *testing.B) {
	objects := fullMesh(benchServices, benchEndpoints)
	b.ReportAllocs()
	for b.Loop() {
		newMesh(b).apply(objects...)
	}
}

// BenchmarkTableMemory reports what the tables hold, sources included, after a collection.
func BenchmarkTableMemory(b *testing.B) {
	before := heap()
	m := newMesh(b)
	m.engine.Apply(m.res.Inputs.Batch(benchUpdates(), 1))
	held := heap() - before
	for b.Loop() {
		runtime.KeepAlive(m) // the size does not depend on how often one looks
	}
	b.ReportMetric(float64(held)/(1<<20), "MB")
}

func benchUpdates() []source.Update { return updates(fullMesh(benchServices, benchEndpoints)...) }

func heap() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
