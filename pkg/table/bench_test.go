package table_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"runtime"
	"testing"

	. "fairlead.io/fairlead/pkg/table"
)

// A mesh of the promised size: 5,000 services with 10 endpoints each, in 100 namespaces; policies select 50
// services each; three stages (endpoints; cluster = service + its policies + whether it has endpoints; encoded
// bytes with their hash), each published.
const (
	benchServices  = 5000
	benchEndpoints = 10
	benchPerNS     = 50
)

type benchService struct {
	Host string
	Port uint16
}

type benchSlice struct {
	Service string
	Addrs   []string
}

type encoded struct {
	Bytes []byte
	Hash  uint64
}

type benchMesh struct {
	e        *Engine
	services *Source[*benchService]
	pods     *Source[string]
	slices   *Source[*benchSlice]
	policies *Source[string]
	eds, cds *Output[encoded]
}

func encode(parts ...any) encoded {
	var b bytes.Buffer
	for _, p := range parts {
		fmt.Fprint(&b, p, ";")
	}
	h := fnv.New64a()
	h.Write(b.Bytes())
	return encoded{b.Bytes(), h.Sum64()}
}

func sameEncoded(a, b encoded) bool { return a.Hash == b.Hash && bytes.Equal(a.Bytes, b.Bytes) }

// newBenchMesh: each endpoint address is a row of pods that the endpoint set reads, so there are 50,000 rows and as
// many recorded reads besides the chain's own.
func newBenchMesh(why bool) *benchMesh {
	m := &benchMesh{e: New(Options{Strict: true, Why: why})}
	m.services = NewSource[*benchService](m.e, "services")
	m.pods = NewSource[string](m.e, "pods")
	m.slices = NewSource[*benchSlice](m.e, "slices", Urgent())
	m.policies = NewSource[string](m.e, "policies")
	bySvc := NewIndex(m.slices, "service", func(_ string, s *benchSlice) []string { return []string{s.Service} })
	eds := NewDerived(m.e, "eds", func(r *Reader, key string) (encoded, bool) {
		svc, ok := Get(r, m.services, key)
		if !ok {
			return encoded{}, false
		}
		buf := make([]byte, 0, 512)
		for _, s := range List(r, bySvc, key) {
			for _, a := range s.Value.Addrs {
				node, _ := Get(r, m.pods, a)
				buf = append(append(buf, a...), node...)
				buf = binary.BigEndian.AppendUint16(buf, svc.Port)
			}
		}
		h := fnv.New64a()
		h.Write(buf)
		return encoded{buf, h.Sum64()}, true
	}, []Trigger{m.services}, Equal(sameEncoded), UrgentStage())
	policies := NewIndex(m.policies, "namespace", byNamespace[string])
	cluster := NewDerived(m.e, "cluster", func(r *Reader, key string) (string, bool) {
		svc, _ := Get(r, m.services, key)
		_, live := Get(r, m.slices, key+"-1")
		text := fmt.Sprint(svc.Host, svc.Port, live)
		for _, p := range List(r, policies, namespace(key)) {
			text += p.Key + p.Value
		}
		return text, true
	}, []Trigger{m.services})
	cds := NewDerived(m.e, "cds", func(r *Reader, key string) (encoded, bool) {
		c, ok := Get(r, cluster, key)
		return encode("cluster", key, c), ok
	}, []Trigger{cluster}, Equal(sameEncoded))
	m.eds, m.cds = Publish(eds), Publish(cds)
	return m
}

func benchKey(i int) string { return fmt.Sprintf("ns-%03d/service-%04d", i/benchPerNS, i) }

func addr(svc, ep int) string { return fmt.Sprintf("10.%d.%d.%d", svc/250, svc%250, ep) }

func (m *benchMesh) batch() *Batch {
	b := m.e.NewBatch()
	for i := range benchServices {
		key := benchKey(i)
		m.services.Set(b, key, &benchService{Host: key + ".svc.cluster.local", Port: 8080})
		sl := &benchSlice{Service: key}
		for ep := range benchEndpoints {
			a := addr(i, ep)
			sl.Addrs = append(sl.Addrs, a)
			m.pods.Set(b, a, fmt.Sprint("node-", ep))
		}
		m.slices.Set(b, key+"-1", sl)
	}
	return b
}

func (m *benchMesh) edit(i, round int) *Batch {
	b := m.e.NewBatch()
	sl := &benchSlice{Service: benchKey(i)}
	for ep := range benchEndpoints {
		sl.Addrs = append(sl.Addrs, addr(i, (ep+round)%benchEndpoints))
	}
	m.slices.Set(b, benchKey(i)+"-1", sl)
	return b
}

func heap() float64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return float64(s.HeapAlloc)
}

// BenchmarkRebuild: everything from nothing (60,000 source rows, 15,000 derived rows), encoded and published.
func BenchmarkRebuild(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		m := newBenchMesh(false)
		batch := m.batch()
		b.StartTimer()
		m.e.Apply(batch)
	}
}

// BenchmarkMemory reports what the engine holds a row (sources and derived), values and their bytes included.
func BenchmarkMemory(b *testing.B) {
	for _, why := range []bool{false, true} {
		b.Run(fmt.Sprint("why=", why), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				m := newBenchMesh(why)
				batch := m.batch()
				inputs := heap() - before
				m.e.Apply(batch)
				held := heap() - before
				rows, deps := 0, 0
				for _, s := range m.e.Stats() {
					rows += s.Rows
					deps += s.Dependencies
				}
				b.ReportMetric(held/float64(rows), "B/row")
				b.ReportMetric(held/1e6, "MB")
				b.ReportMetric(inputs/1e6, "MB-inputs-and-batch")
				b.ReportMetric(float64(deps), "reads")
				runtime.KeepAlive(m)
			}
		})
	}
}

// BenchmarkEndpointSlice: one EndpointSlice change to encoded, published bytes.
func BenchmarkEndpointSlice(b *testing.B) {
	m := newBenchMesh(false)
	m.e.Apply(m.batch())
	b.ReportAllocs()
	seq, round := m.e.Snapshot().Seq, 0
	for b.Loop() {
		round++
		m.e.Apply(m.edit(round*7%benchServices, round/benchServices+1))
	}
	if got := m.e.Snapshot().Seq - seq; int(got) != round {
		b.Fatalf("%d publications for %d changes", got, round)
	}
}

// BenchmarkPolicy: one policy that touches the 50 services of its namespace, two stages each.
func BenchmarkPolicy(b *testing.B) {
	m := newBenchMesh(false)
	m.e.Apply(m.batch())
	b.ReportAllocs()
	round := 0
	for b.Loop() {
		round++
		batch := m.e.NewBatch()
		m.policies.Set(batch, fmt.Sprintf("ns-%03d/p", round%(benchServices/benchPerNS)), fmt.Sprint("rule", round))
		m.e.Apply(batch)
	}
	if changes, _ := m.e.Snapshot().ChangesSince(m.e.Snapshot().Seq - 1); len(changes) != benchPerNS {
		b.Fatalf("%d changes", len(changes))
	}
}

// BenchmarkPublish: a new version of 50,000 rows of which one changed, against the pass that makes the row alone.
func BenchmarkPublish(b *testing.B) {
	for _, publish := range []bool{false, true} {
		b.Run(fmt.Sprint("published=", publish), func(b *testing.B) {
			e := New(Options{Strict: true})
			src := NewSource[uint64](e, "src")
			d := NewDerived(e, "out", func(r *Reader, key string) (uint64, bool) { return Get(r, src, key) }, []Trigger{src})
			if publish {
				Publish(d)
			}
			batch := e.NewBatch()
			for i := range benchServices * benchEndpoints {
				src.Set(batch, addr(i/10, i%10), 0)
			}
			e.Apply(batch)
			b.ReportAllocs()
			n := uint64(0)
			for b.Loop() {
				n++
				batch := e.NewBatch()
				src.Set(batch, addr(int(n*7%benchServices), int(n%10)), n)
				e.Apply(batch)
			}
		})
	}
}
