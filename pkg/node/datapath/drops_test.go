package datapath

import (
	"testing"

	"fairlead.io/fairlead/pkg/verdict"
)

// TestAudit lets pass, and tells and counts, what the node's audit mode or an audited policy would drop.
func TestAudit(t *testing.T) {
	both(t, Config{Audit: true}, func(b *bench, there, back func(wire) wire) {
		must(b.t, b.SetAudit(true))
		must(b.t, b.PutSubject(2, 2))
		before := b.dropped(true)
		denied := there(wire{protocol: udp, sport: 40000, dport: 81})
		e := b.want("what is denied", Forward, denied, true, FlowAudited)
		if len(e) == 1 && (e[0].Direction != verdict.Egress || e[0].Said[verdict.Egress].Allowed || e[0].Said[verdict.Ingress].Allowed || !e[0].Said[verdict.Ingress].Judged) {
			b.t.Errorf("told of what is audited: %+v", e[0])
		}
		b.want("more of it", Forward, denied, true)
		b.want("a reply", Forward, back(wire{protocol: udp, sport: 81, dport: 40000}), true)
		b.want("what is allowed", Forward, there(wire{protocol: udp, sport: 40000, dport: 80}), true, FlowNew)
		if got := b.dropped(true) - before; got != 1 {
			b.t.Errorf("%d packets are counted as audited", got)
		}
		must(b.t, b.SetAudit(false))
		b.want("what is denied, without audit", Forward, denied, false, FlowDenied)

		s := toDB(verdict.Ingress, 0)
		s.Rules = append(s.Rules, verdict.Rule{
			Direction: verdict.Ingress, Family: verdict.NetworkAudit, Tier: verdict.Main, Action: verdict.Deny,
			Peers: []verdict.Peer{{Kind: verdict.PeerEntity, Entity: verdict.All}}, Ports: []verdict.Ports{verdict.AnyPort},
		})
		compile(3, s, oracleNames).put(b.t, b.Datapath)
		must(b.t, b.PutSubject(2, 3))
		must(b.t, b.Bump())
		e = b.want("what an audited policy denies", Forward, there(wire{protocol: udp, sport: 40001, dport: 80}), true, FlowAudited)
		if len(e) == 1 && (e[0].Said[verdict.Ingress] != Said{Judged: true, Family: verdict.NetworkAudit, Set: 3, Rule: 1}) {
			b.t.Errorf("told of an audited policy: %+v", e[0])
		}
	})
}

// dropped sums the counters.
func (b *bench) dropped(audited bool) (sum uint64) {
	b.t.Helper()
	must(b.t, b.Drops(func(d Drop) bool {
		if d.Audited == audited {
			sum += d.Packets
		}
		return true
	}))
	return sum
}

// TestOverload counts every drop, though neither events nor counters have room.
func TestOverload(t *testing.T) {
	sizes := smallSizes
	sizes.Events, sizes.Drops = 4096, 4
	b := newBench(t, Config{Sizes: sizes})
	web, db := pair(false)
	const packets = 2000
	o := options(Forward, wire{src: web, dst: db, protocol: udp, sport: 40000, dport: 81})
	o.Repeat = packets
	_, err := b.programs.Forward.Run(o)
	must(t, err)
	n := uint64(packets)
	// Counters of more keys than there is room for.
	for _, x := range oracleWho {
		if x.address.Is4() && x.address != web && x.address != db {
			b.want1(Forward, wire{src: web, dst: x.address, protocol: udp, dport: 81})
			b.want1(Forward, wire{src: x.address, dst: db, protocol: udp, dport: 81})
			n += 2
		}
	}
	var bytes uint64
	must(t, b.Drops(func(d Drop) bool {
		bytes += d.Bytes
		return true
	}))
	if got := b.dropped(false); got != n || bytes != n*28 {
		t.Errorf("%d packets and %d bytes are counted, of %d and %d", got, bytes, n, n*28)
	}
	lost, err := b.Lost()
	must(t, err)
	if told := uint64(len(b.told())); told == 0 || lost == 0 || told+lost != n {
		t.Errorf("%d events are told and %d lost, of %d", told, lost, n)
	}
}

func (b *bench) want1(h Hook, w wire) {
	b.t.Helper()
	if run(b.t, b.Datapath, h, w) {
		b.t.Errorf("%+v passes", w)
	}
}

func TestForgetDrops(t *testing.T) {
	b := newBench(t, Config{})
	web, db := pair(true)
	for range 3 {
		b.want1(Forward, wire{src: web, dst: db, protocol: udp, dport: 81})
	}
	b.want1(Forward, wire{src: db, dst: web, protocol: udp, dport: 81})
	rows, err := b.ForgetDrops(1)
	must(t, err)
	if len(rows) != 1 || rows[0].Packets != 3 || rows[0].DropKey != (DropKey{Subject: 1, Peer: 2, Because: Isolation, Set: 1, Reason: PolicyDenied}) {
		t.Errorf("forgotten: %+v", rows)
	}
	if got := b.dropped(false); got != 1 {
		t.Errorf("%d packets are still counted", got)
	}
}
