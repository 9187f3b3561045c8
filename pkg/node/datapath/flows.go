package datapath

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"

	"fairlead.io/fairlead/bpf"
)

// Flow is a connection or a conversation that has been allowed.
type Flow struct {
	Protocol uint8
	// Source has started it. Of ICMP, SourcePort is the id of an echo, and DestinationPort 0, or without one type<<8|code.
	Source, Destination         netip.Addr
	SourcePort, DestinationPort uint16
	// Host says that the source or the destination is the node itself.
	SourceHost, DestinationHost bool
	Closed, Audited             bool
}

// The bits of enum flow_flag.
const (
	byHigh, audited, closed = 1, 2, 16
	lowHost, highHost       = 32, 64
)

// Flows calls fn for each flow that is known until it gives false. Many are over: only of TCP and SCTP it is known when.
func (d *Datapath) Flows(fn func(Flow) bool) error {
	return each(d.maps.Flows, func(k bpf.DatapathFlowKey, v bpf.DatapathFlow) (bool, error) { return fn(decodeFlow(k, v)), nil })
}

func decodeFlow(k bpf.DatapathFlowKey, v bpf.DatapathFlow) Flow {
	f := Flow{
		Protocol: k.Protocol, Source: netipOf(k.Low), SourcePort: k.LowPort, SourceHost: v.Flags&lowHost != 0,
		Destination: netipOf(k.High), DestinationPort: k.HighPort, DestinationHost: v.Flags&highHost != 0,
		Closed: v.Flags&closed != 0, Audited: v.Flags&audited != 0,
	}
	if v.Flags&byHigh != 0 {
		f.Source, f.Destination = f.Destination, f.Source
		f.SourcePort, f.DestinationPort = f.DestinationPort, f.SourcePort
		f.SourceHost, f.DestinationHost = f.DestinationHost, f.SourceHost
	}
	if isICMP(f.Protocol) {
		if f.SourcePort = f.DestinationPort; k.Apart != 0 {
			f.SourcePort = 0
		} else {
			f.DestinationPort = 0
		}
	}
	return f
}

func isICMP(protocol uint8) bool { return protocol == 1 || protocol == 58 }

// Withdrawn calls fn, until it gives false, for each flow that is open, was allowed before the last Bump, and would be denied now. The
// kernel drops its packets already; its ends do not know.
func (d *Datapath) Withdrawn(fn func(Flow) bool) error {
	var s bpf.DatapathState
	if err := d.maps.State.Lookup(uint32(0), &s); err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	return each(d.maps.Flows, func(k bpf.DatapathFlowKey, v bpf.DatapathFlow) (bool, error) {
		f := decodeFlow(k, v)
		if v.Epoch == s.Epoch || f.Closed {
			return true, nil
		}
		denied, err := d.denied(f)
		return err != nil || !denied || fn(f), err
	})
}

const deniedVerdict = 3 // enum verdict

// denied asks the kernel what it would say of a flow's first packet.
func (d *Datapath) denied(f Flow) (bool, error) {
	q := bpf.DatapathQuestion{Src: addrOf(f.Source), Dst: addrOf(f.Destination), Sport: f.SourcePort, Dport: f.DestinationPort, Protocol: f.Protocol}
	switch {
	case f.SourceHost:
		q.Host = 1
	case f.DestinationHost:
		q.Host = 2
	}
	if isICMP(f.Protocol) && f.DestinationPort == 0 { // an echo, or its like
		q.Dport = map[uint8]uint16{1: 8 << 8, 58: 128 << 8}[f.Protocol]
	}
	const ethernet = 14
	data, err := binary.Append(make([]byte, ethernet), binary.NativeEndian, q)
	if err != nil {
		return false, fmt.Errorf("encode question: %w", err)
	}
	got, err := d.programs.Check.Run(&ebpf.RunOptions{Data: data})
	if err != nil {
		return false, fmt.Errorf("ask about a flow: %w", err)
	}
	return got == deniedVerdict, nil
}
