package datapath

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"fairlead.io/fairlead/pkg/verdict"
)

// What the kernel takes for a packet, measured by runs of the programs (BPF_PROG_TEST_RUN), beside 20,000 peers and 50,000 rules.
// About 11 ns of it are the run's own.

// BenchmarkKnownFlow is a packet of a flow that is known.
func BenchmarkKnownFlow(b *testing.B) {
	each4(b, func(b *testing.B, d *bench, h Hook, w wire) {
		run(b, d.Datapath, h, w)
		w.flags = ack
		packets(b, d, h, w, true)
	})
}

// BenchmarkSYN is a packet that is judged, and its flow written.
func BenchmarkSYN(b *testing.B) {
	each4(b, func(b *testing.B, d *bench, h Hook, w wire) { packets(b, d, h, w, true) })
}

// BenchmarkDenied is a packet that is judged, counted and told.
func BenchmarkDenied(b *testing.B) {
	each4(b, func(b *testing.B, d *bench, h Hook, w wire) {
		w.dport = 9999
		packets(b, d, h, w, false)
	})
}

func each4(b *testing.B, fn func(b *testing.B, d *bench, h Hook, w wire)) {
	d := &bench{Datapath: open(b, Config{Sizes: Sizes{Events: 1 << 20}})}
	fill(b, d.Datapath)
	events, err := d.Events()
	must(b, err)
	defer func() { _ = events.Close() }()
	d.events = events
	for _, h := range []struct {
		name string
		hook Hook
	}{{"tcx", FromPod}, {"forward", Forward}} {
		for _, six := range []bool{false, true} {
			w := wire{src: netip.MustParseAddr("10.1.2.3"), dst: peer(77), protocol: tcp, sport: 40000, dport: 8080, flags: syn}
			if six {
				w.src, w.dst = netip.MustParseAddr("fd00:1::7"), peer6(77)
			}
			stand(b, d.Datapath, w.src)
			must(b, d.PutAddress(w.src, Address{Identity: 1, Namespace: 1, Entities: verdict.All | verdict.Pods, Interface: 1}))
			b.Run(fmt.Sprintf("%s/v%d", h.name, map[bool]int{false: 4, true: 6}[six]), func(b *testing.B) {
				d.t = b
				fn(b, d, h.hook, w)
			})
		}
	}
}

// packets runs a program on one packet, in calls of so many packets that the call itself hardly counts, and so few that some are
// undisturbed. The least is told: the machine has other things to do, and what it adds is not the program's.
func packets(b *testing.B, d *bench, h Hook, w wire, passes bool) {
	if run(b, d.Datapath, h, w) != passes {
		b.Fatalf("%+v passes: %v", w, !passes)
	}
	o := options(h, w)
	o.Repeat = 1000
	best := time.Duration(math.MaxInt64)
	for range 1000 {
		start := time.Now()
		_, err := program(d.Datapath, h).Run(o)
		must(b, err)
		best = min(best, time.Since(start))
		d.told()
	}
	b.ReportMetric(float64(best.Nanoseconds())/float64(o.Repeat), "ns/packet")
	b.ReportMetric(0, "ns/op")
}

func peer(i int) netip.Addr {
	a := [4]byte{10, 100}
	binary.BigEndian.PutUint16(a[2:], uint16(i))
	return netip.AddrFrom4(a)
}

func peer6(i int) netip.Addr {
	a := [16]byte{0xfd, 0x64}
	binary.BigEndian.PutUint16(a[14:], uint16(i))
	return netip.AddrFrom16(a)
}

// fill makes 20,000 peers of 5,000 identities, and 50,000 rules, of which identity 1 has 10 for each peer of 5,000.
func fill(b testing.TB, d *Datapath) {
	for i := range 20_000 {
		a := peer(i)
		if i >= 10_000 {
			a = peer6(i - 10_000)
		}
		must(b, d.PutAddress(a, Address{Identity: 2 + uint32(i%5000), Namespace: 2 + uint32(i%100), Entities: verdict.All | verdict.Pods}))
	}
	var rules []Rule
	for i := range uint32(5000) {
		for j := range uint16(10) {
			k := RuleKey{Set: 1, Number: 2 + i, Class: ClassIdentity, Direction: verdict.Egress, Family: verdict.Network}
			k.PortKey = verdict.PortKey{Protocol: tcp, Bits: 16, Port: 8080 + j}
			rules = append(rules, Rule{k, verdict.Value{Allow: 1 + i}})
		}
	}
	must(b, d.PutRules(rules))
	var p Parts
	p[verdict.Egress][verdict.Network] = Part{Isolated: true, Classes: 1 << ClassIdentity, Lengths: 1 << 16}
	must(b, d.PutParts(1, p))
	must(b, d.PutSubject(1, 1))
}
