package datapath

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/bpf"
	"fairlead.io/fairlead/pkg/verdict"
)

// bench is a datapath whose programs are run by the test: pods of oracleWho, of which shop/web may reach shop/db at port 80 of TCP
// and UDP, and ping it; nothing else passes to or from either.
type bench struct {
	*Datapath
	t      testing.TB
	events *EventReader
}

func pair(six bool) (web, db netip.Addr) {
	if six {
		return netip.MustParseAddr("fd00:1::7"), netip.MustParseAddr("fd00:1::8")
	}
	return netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("10.1.2.4")
}

// toDB lets shop/web in.
func toDB(d verdict.Direction, peer int) *verdict.Set {
	s := only(d, verdict.Peer{Kind: verdict.PeerSet, Name: []string{"1", "2"}[peer]}, 80)
	s.Rules[0].Ports = append(s.Rules[0].Ports, verdict.Ports{Protocol: sctp, First: 80, Last: 80},
		verdict.Ports{Protocol: icmp, First: 8 << 8, Last: 8<<8 | 255}, verdict.Ports{Protocol: icmpv6, First: 128 << 8, Last: 128<<8 | 255})
	s.Isolated[1-d][verdict.Network] = []verdict.Origin{{Name: "nobody"}}
	return s
}

func newBench(t testing.TB, c Config) *bench {
	t.Helper()
	b := &bench{Datapath: open(t, c), t: t}
	arrange(t, b.Datapath)
	compile(1, toDB(verdict.Egress, 1), oracleNames).put(t, b.Datapath)
	compile(2, toDB(verdict.Ingress, 0), oracleNames).put(t, b.Datapath)
	must(t, b.PutSubject(1, 1))
	must(t, b.PutSubject(2, 2))
	stand(t, b.Datapath)
	events, err := b.Events()
	must(t, err)
	b.events = events
	t.Cleanup(func() { _ = events.Close() })
	return b
}

// want runs a packet through a hook, and wants it to pass or not, and these events.
func (b *bench) want(what string, h Hook, w wire, passes bool, kinds ...EventKind) []Event {
	b.t.Helper()
	if h == FromPod {
		stand(b.t, b.Datapath, w.src)
	}
	if got := run(b.t, b.Datapath, h, w); got != passes {
		b.t.Errorf("%s passes: %v", what, got)
	}
	events := b.told()
	var got []EventKind
	for _, e := range events {
		got = append(got, e.Kind)
	}
	if diff := cmp.Diff(kinds, got); diff != "" {
		b.t.Errorf("%s is told otherwise (-want +got):\n%s", what, diff)
	}
	return events
}

// told gives the events that wait.
func (b *bench) told() (out []Event) {
	b.t.Helper()
	b.events.ring.SetDeadline(time.Now())
	for {
		var e Event
		switch err := b.events.Read(&e); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return out
		case err != nil:
			b.t.Fatal(err)
		}
		out = append(out, e)
	}
}

// both runs a test for IPv4 and IPv6, on packets between shop/web and shop/db.
func both(t *testing.T, c Config, fn func(b *bench, there, back func(wire) wire)) {
	t.Parallel()
	b := newBench(t, c)
	for name, six := range map[string]bool{"v4": false, "v6": true} {
		t.Run(name, func(t *testing.T) {
			b.t = t
			web, db := pair(six)
			fn(b, func(w wire) wire {
				w.src, w.dst = web, db
				return w
			}, func(w wire) wire {
				w.src, w.dst = db, web
				return w
			})
		})
	}
}

func TestConnection(t *testing.T) {
	both(t, Config{}, func(b *bench, there, back func(wire) wire) {
		for _, h := range []Hook{FromPod, Forward} {
			to := func(flags uint8) wire { return there(wire{protocol: tcp, sport: 40000, dport: 80, flags: flags}) }
			from := func(flags uint8) wire { return back(wire{protocol: tcp, sport: 80, dport: 40000, flags: flags}) }
			forget(b.t, b.Datapath)
			b.want("an answer to nothing", h, from(syn|ack), true, FlowNew) // it opens nothing, and the connection may be older than its entry
			forget(b.t, b.Datapath)
			b.want("SYN", h, to(syn), true, FlowNew)
			b.want("SYN again", h, to(syn), true)
			b.want("SYN ACK", h, from(syn|ack), true)
			b.want("data", h, to(ack), true)
			e := b.want("SYN of the other side", h, from(syn), false, FlowDenied)
			if len(e) == 1 && (e[0].Established || e[0].Reply || e[0].Reason != PolicyDenied || e[0].Direction != verdict.Egress) {
				b.t.Errorf("told of a SYN of the other side: %+v", e[0])
			}
			b.want("FIN", h, to(fin|ack), true)
			b.want("FIN again", h, to(fin|ack), true)
			e = b.want("FIN of the other side", h, from(fin|ack), true, FlowClosed)
			if len(e) == 1 && (!e[0].Reply || e[0].SourceIdentity != 2 || e[0].DestinationIdentity != 1) {
				b.t.Errorf("told of the end: %+v", e[0])
			}
			b.want("the last ACK", h, to(ack), true)
			b.want("SYN anew", h, to(syn), true, FlowNew)
			b.want("RST", h, from(rst|ack), true, FlowClosed)
			b.want("RST again", h, from(rst), true)
		}
	})
}

func TestWithdrawnFlow(t *testing.T) {
	both(t, Config{}, func(b *bench, there, back func(wire) wire) {
		to, from := there(wire{protocol: tcp, sport: 40000, dport: 80, flags: syn}), back(wire{protocol: tcp, sport: 80, dport: 40000, flags: ack})
		b.want("SYN", Forward, to, true, FlowNew)
		must(b.t, b.Bump())
		b.want("a reply in the next epoch", Forward, from, true)
		must(b.t, b.PutSubject(2, 0))
		b.want("a reply before the next epoch", Forward, from, true)
		must(b.t, b.Bump())
		for range 2 {
			e := b.want("a reply after it", Forward, from, false, FlowDenied)
			if len(e) == 1 && (!e[0].Established || !e[0].Reply || e[0].Direction != verdict.Ingress || e[0].Said[verdict.Ingress].Because != Unknown) {
				b.t.Errorf("told of a withdrawn flow: %+v", e[0])
			}
		}
		to.flags = ack
		b.want("data after it", Forward, to, false, FlowDenied)
		must(b.t, b.PutSubject(2, 2))
		must(b.t, b.Bump())
		b.want("a reply when it is given back", Forward, from, true)
		must(b.t, b.PutSubject(2, 0))
		must(b.t, b.Bump())
		b.want("data after it is withdrawn again", Forward, to, false, FlowDenied)
		to.flags = rst
		b.want("its reset", Forward, to, true, FlowClosed)
		b.want("another", Forward, to, false, FlowDenied)
		must(b.t, b.PutSubject(2, 2))
	})
}

// TestIdle has no answer pass to a question of long ago.
func TestIdle(t *testing.T) {
	both(t, Config{}, func(b *bench, there, back func(wire) wire) {
		to, from := there(wire{protocol: udp, sport: 40000, dport: 80}), back(wire{protocol: udp, sport: 80, dport: 40000})
		b.want("an answer to nothing", Forward, from, false, FlowDenied)
		b.want("a question", Forward, to, true, FlowNew)
		b.want("its answer", Forward, from, true)
		b.age(119 * time.Second)
		b.want("an answer two minutes later", Forward, from, true)
		b.age(121 * time.Second)
		b.want("a later answer", Forward, from, false, FlowDenied)
		b.want("a later question", Forward, to, true, FlowNew)
		syn := there(wire{protocol: tcp, sport: 40000, dport: 80, flags: syn})
		b.want("SYN", Forward, syn, true, FlowNew)
		b.age(24 * time.Hour)
		b.want("data a day later", Forward, back(wire{protocol: tcp, sport: 80, dport: 40000, flags: ack}), true)
	})
}

// age makes what is known of flows older.
func (b *bench) age(by time.Duration) {
	b.t.Helper()
	var state bpf.DatapathState
	must(b.t, b.maps.State.Lookup(uint32(0), &state))
	must(b.t, each(b.maps.Flows, func(k bpf.DatapathFlowKey, f bpf.DatapathFlow) (bool, error) {
		f.Seen -= uint32(by.Seconds()) * state.Hz
		return true, b.maps.Flows.Put(k, f)
	}))
}

func TestPing(t *testing.T) {
	both(t, Config{}, func(b *bench, there, back func(wire) wire) {
		protocol, request, reply := icmp, uint16(8<<8), uint16(0)
		if there(wire{}).six() {
			protocol, request, reply = icmpv6, 128<<8, 129<<8
		}
		b.want("a reply to nothing", Forward, back(wire{protocol: protocol, dport: reply, sport: 7}), false, FlowDenied)
		b.want("ping", Forward, there(wire{protocol: protocol, dport: request, sport: 7}), true, FlowNew)
		b.want("ping on", Forward, there(wire{protocol: protocol, dport: request, sport: 7}), true)
		b.want("reply", Forward, back(wire{protocol: protocol, dport: reply, sport: 7}), true)
		b.want("reply of another id", Forward, back(wire{protocol: protocol, dport: reply, sport: 8}), false, FlowDenied)
		b.want("ping of the other side", Forward, back(wire{protocol: protocol, dport: request, sport: 7}), false, FlowDenied)
		must(b.t, b.Bump())
		b.want("reply in the next epoch", Forward, back(wire{protocol: protocol, dport: reply, sport: 7}), true)
	})
}

// TestError has ICMP errors pass with the flows that they are about.
func TestError(t *testing.T) {
	both(t, Config{}, func(b *bench, there, back func(wire) wire) {
		protocol, unreachable := icmp, uint16(3<<8|3)
		if there(wire{}).six() {
			protocol, unreachable = icmpv6, 1<<8|4
		}
		for _, h := range []Hook{FromPod, Forward} {
			for _, p := range []uint8{udp, tcp, sctp} {
				inner := there(wire{protocol: p, sport: 40000, dport: 80, flags: map[uint8]uint8{tcp: syn, sctp: 1}[p]})
				of := func(inner wire) wire {
					// As a router does: the IP header and 8 bytes.
					b := inner.bytes()
					return back(wire{protocol: protocol, dport: unreachable, inner: b[:len(b)-len(inner.transport())+8]})
				}
				b.want("an error of nothing", h, of(inner), false, FlowDenied)
				b.want("the packet", h, inner, true, FlowNew)
				b.want("an error", h, of(inner), true)
				must(b.t, b.Bump())
				b.want("an error in the next epoch", h, of(inner), true)
				other := inner
				other.dport = 81
				b.want("an error of another flow", h, of(other), false, FlowDenied)
				// The packet inside must be one that the receiver sent.
				b.want("an error of a reply", h, of(back(wire{protocol: p, sport: 80, dport: 40000})), false, FlowDenied)
				must(b.t, b.PutSubject(2, 0))
				must(b.t, b.Bump())
				b.want("an error of a flow that was withdrawn", h, of(inner), false, FlowDenied)
				must(b.t, b.PutSubject(2, 2))
				forget(b.t, b.Datapath)
			}
		}
	})
}

// TestFragment has later fragments be judged by the ports of the first.
func TestFragment(t *testing.T) {
	both(t, Config{}, func(b *bench, there, _ func(wire) wire) {
		part := func(dport, offset uint16, id uint32, more bool) wire {
			return there(wire{protocol: udp, sport: 40000, dport: dport, fragment: offset, id: id, more: more})
		}
		e := b.want("a fragment without a first", FromPod, part(80, 4, 7, true), false, FlowDenied)
		if len(e) == 1 && e[0].Reason != FragmentUnknown {
			b.t.Errorf("a fragment without a first is dropped because of %d", e[0].Reason)
		}
		b.want("the first", FromPod, part(80, 0, 7, true), true, FlowNew)
		b.want("a later one", FromPod, part(0, 4, 7, true), true)
		b.want("the last", FromPod, part(0, 8, 7, false), true)
		b.want("one of another datagram", FromPod, part(0, 4, 8, false), false, FlowDenied)
		b.want("the first to a port that is denied", FromPod, part(81, 0, 9, true), false, FlowDenied)
		e = b.want("a later one to a port that is denied", FromPod, part(0, 4, 9, false), false, FlowDenied)
		if len(e) == 1 && (e[0].DestinationPort != 81 || e[0].Reason != PolicyDenied) {
			b.t.Errorf("told of a fragment: %+v", e[0])
		}
	})
}

// TestInvalid drops what cannot be read, at tcx; netfilter lets pass what is no pod's.
func TestInvalid(t *testing.T) {
	both(t, Config{}, func(b *bench, there, _ func(wire) wire) {
		for _, p := range []uint8{tcp, udp, sctp, icmp, icmpv6} {
			w := there(wire{protocol: p, sport: 40000, dport: 80, flags: map[uint8]uint8{tcp: syn, sctp: 1}[p]})
			if p == icmp && w.six() || p == icmpv6 && !w.six() {
				continue
			}
			for w.truncated = len(w.transport()) - 7; w.truncated <= len(w.transport()); w.truncated++ {
				if e := b.want("half a header", FromPod, w, false, FlowDenied); len(e) == 1 && e[0].Reason != InvalidPacket {
					b.t.Errorf("half a header is dropped because of %d", e[0].Reason)
				}
				b.want("half a header", Forward, w, false, FlowDenied)
				other := w
				other.src, other.dst = netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("10.200.0.1")
				if w.six() {
					other.src, other.dst = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("fd00:ffff::1")
				}
				b.want("what is no pod's", Forward, other, true)
			}
		}
		if w := there(wire{protocol: tcp, dport: 80, flags: syn}); w.six() {
			w.extensions = []extension{{unix.IPPROTO_ROUTING, []byte{0, 4, 1, 0, 0, 0, 0}}}
			b.want("a route that goes on", FromPod, w, false, FlowDenied)
			w.extensions[0].body[2] = 0
			b.want("a route at its end", FromPod, w, true, FlowNew)
			for range 7 {
				w.extensions = append(w.extensions, extension{unix.IPPROTO_DSTOPTS, make([]byte, 7)})
			}
			b.want("too many headers", FromPod, w, false, FlowDenied)
		}
	})
}

// TestStray refuses a pod's address that comes in by a port of the bridge where the pod is not.
func TestStray(t *testing.T) {
	both(t, Config{}, func(b *bench, there, _ func(wire) wire) {
		e := b.want("a stray packet", ToPod, there(wire{protocol: tcp, sport: 40000, dport: 80, flags: syn}), false, FlowDenied)
		if len(e) == 1 && e[0].Reason != InvalidSourceIP {
			b.t.Errorf("a stray packet is dropped because of %d", e[0].Reason)
		}
	})
}

// TestWithdrawnFlows finds the flows that policy would not allow any more, before any packet of them.
func TestWithdrawnFlows(t *testing.T) {
	both(t, Config{}, func(b *bench, there, back func(wire) wire) {
		forget(b.t, b.Datapath)
		must(b.t, b.PutSubject(2, 2))
		protocol, request := icmp, uint16(8<<8)
		if there(wire{}).six() {
			protocol, request = icmpv6, 128<<8
		}
		web, db := there(wire{}).src, there(wire{}).dst
		b.want("TCP", Forward, there(wire{protocol: tcp, sport: 40000, dport: 80, flags: syn}), true, FlowNew)
		b.want("TCP that ends", Forward, there(wire{protocol: tcp, sport: 40001, dport: 80, flags: syn}), true, FlowNew)
		b.want("its end", Forward, there(wire{protocol: tcp, sport: 40001, dport: 80, flags: rst}), true, FlowClosed)
		b.want("UDP", FromPod, there(wire{protocol: udp, sport: 40000, dport: 80}), true, FlowNew)
		b.want("a ping", Forward, there(wire{protocol: protocol, sport: 7, dport: request}), true, FlowNew)
		b.want("a ping of the host", LocalOut, there(wire{protocol: protocol, sport: 8, dport: request}), true, FlowNew)
		all := map[Flow]bool{}
		must(b.t, b.Flows(func(f Flow) bool {
			all[f] = true
			return true
		}))
		open := map[Flow]bool{
			{Protocol: tcp, Source: web, Destination: db, SourcePort: 40000, DestinationPort: 80}: true,
			{Protocol: udp, Source: web, Destination: db, SourcePort: 40000, DestinationPort: 80}: true,
			{Protocol: protocol, Source: web, Destination: db, SourcePort: 7}:                     true,
			{Protocol: protocol, Source: web, Destination: db, SourcePort: 8, SourceHost: true}:   true,
		}
		if len(all) != len(open)+1 {
			b.t.Errorf("flows: %+v", all)
		}
		withdrawn := func() map[Flow]bool {
			out := map[Flow]bool{}
			must(b.t, b.Withdrawn(func(f Flow) bool {
				out[f] = true
				return true
			}))
			return out
		}
		must(b.t, b.Bump())
		if got := withdrawn(); len(got) != 0 {
			b.t.Errorf("withdrawn with nothing changed: %+v", got)
		}
		must(b.t, b.PutSubject(2, 0))
		must(b.t, b.Bump())
		if diff := cmp.Diff(open, withdrawn(), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
			b.t.Errorf("withdrawn (-want +got):\n%s", diff)
		}
		must(b.t, b.PutSubject(2, 2))
		_ = back
	})
}
