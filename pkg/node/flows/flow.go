package flows

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"fairlead.io/fairlead/api/observe/flow"
	"fairlead.io/fairlead/pkg/node/datapath"
	"fairlead.io/fairlead/pkg/verdict"
)

// The types of events, as Hubble numbers them.
const (
	eventDrop    = 1
	eventTrace   = 4
	eventVerdict = 5
)

// The subtypes of eventTrace: where a packet was seen.
const (
	traceToEndpoint = 0
	traceToStack    = 3
)

// IANA's numbers of protocols.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
	protoSCTP   = 132
)

// flow makes of a record what observers read. It shares what records share, which nobody may change.
func (o *Observer) flow(r *record) *flow.Flow {
	e := &r.event
	f := &flow.Flow{
		Time: timestamppb.New(r.time), Uuid: o.uuid(r.number), Emitter: &flow.Emitter{Name: "Fairlead", Version: strings.TrimPrefix(o.cfg.Version, "v")},
		IP: &flow.IP{Source: e.Source.String(), Destination: e.Destination.String(), IpVersion: flow.IPVersion_IPv4},
		L4: layer4(e), Source: r.source, Destination: r.destination, Type: flow.FlowType_L3_L4, NodeName: o.cfg.Node,
		IsReply: wrapperspb.Bool(e.Reply), Reply: e.Reply, Summary: summary(e),
	}
	if e.Source.Is6() {
		f.IP.IpVersion = flow.IPVersion_IPv6
	}
	if e.Interface != 0 {
		f.Interface = &flow.NetworkInterface{Index: e.Interface}
	}
	d := direction(e)
	if f.TrafficDirection = flow.TrafficDirection_EGRESS; d == verdict.Ingress {
		f.TrafficDirection = flow.TrafficDirection_INGRESS
	}
	o.decided(f, r, d)
	return f
}

// direction is the one that has decided, and where both have, the last.
func direction(e *datapath.Event) verdict.Direction {
	switch {
	case e.Kind == datapath.FlowDenied || e.Kind == datapath.FlowAudited:
		return e.Direction
	case e.Said[verdict.Ingress].Judged:
		return verdict.Ingress
	}
	return verdict.Egress
}

// decided fills in what was decided and by whom.
func (o *Observer) decided(f *flow.Flow, r *record, d verdict.Direction) {
	e := &r.event
	f.EventType = &flow.CiliumEventType{Type: eventVerdict}
	switch e.Kind {
	case datapath.FlowDenied:
		f.Verdict = flow.Verdict_DROPPED
		f.DropReason, f.DropReasonDesc = uint32(e.Reason), flow.DropReason(e.Reason)
		f.EventType = &flow.CiliumEventType{Type: eventDrop, SubType: int32(e.Reason)}
	case datapath.FlowAudited:
		f.Verdict = flow.Verdict_AUDIT
	case datapath.FlowClosed:
		f.Verdict, f.TraceReason = flow.Verdict_FORWARDED, flow.TraceReason_ESTABLISHED
		f.EventType = &flow.CiliumEventType{Type: eventTrace, SubType: traceToStack}
		f.TraceObservationPoint = flow.TraceObservationPoint_TO_STACK
		if d == verdict.Ingress {
			f.EventType.SubType, f.TraceObservationPoint = traceToEndpoint, flow.TraceObservationPoint_TO_ENDPOINT
		}
	default:
		f.Verdict = flow.Verdict_FORWARDED
	}
	if f.EventType.GetType() == eventVerdict {
		f.PolicyMatchType = match(e.Said[d].Because)
	}
	for i := range r.by {
		by, allowed, denied := &r.by[i], &f.EgressAllowedBy, &f.EgressDeniedBy
		if verdict.Direction(i) == verdict.Ingress {
			allowed, denied = &f.IngressAllowedBy, &f.IngressDeniedBy
		}
		if e.Said[i].Allowed {
			*allowed = by.policies
		} else {
			*denied = by.policies
		}
		f.PolicyLog = append(f.PolicyLog, by.rules...)
	}
	if len(f.PolicyLog) > 1 {
		slices.Sort(f.PolicyLog)
		f.PolicyLog = slices.Compact(f.PolicyLog)
	}
}

// match is flow.Flow.policy_match_type.
func match(b datapath.Because) uint32 {
	switch b {
	case datapath.ByRule:
		return 2
	case datapath.NoPolicy, datapath.Exempt:
		return 4
	}
	return 0
}

func layer4(e *datapath.Event) *flow.Layer4 {
	source, destination := uint32(e.SourcePort), uint32(e.DestinationPort)
	switch e.Protocol {
	case protoTCP:
		return &flow.Layer4{Protocol: &flow.Layer4_TCP{TCP: &flow.TCP{SourcePort: source, DestinationPort: destination, Flags: tcpFlags(e.TCPFlags)}}}
	case protoUDP:
		return &flow.Layer4{Protocol: &flow.Layer4_UDP{UDP: &flow.UDP{SourcePort: source, DestinationPort: destination}}}
	case protoSCTP:
		return &flow.Layer4{Protocol: &flow.Layer4_SCTP{SCTP: &flow.SCTP{SourcePort: source, DestinationPort: destination}}}
	case protoICMP:
		return &flow.Layer4{Protocol: &flow.Layer4_ICMPv4{ICMPv4: &flow.ICMPv4{Type: destination >> 8, Code: destination & 0xff}}}
	case protoICMPv6:
		return &flow.Layer4{Protocol: &flow.Layer4_ICMPv6{ICMPv6: &flow.ICMPv6{Type: destination >> 8, Code: destination & 0xff}}}
	}
	return nil
}

// flagNames are the flags of TCP in the order of their bits, from the lowest.
func flagNames() []string { return []string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"} }

func tcpFlags(b uint8) *flow.TCPFlags {
	has := func(bit int) bool { return b&(1<<bit) != 0 }
	return &flow.TCPFlags{FIN: has(0), SYN: has(1), RST: has(2), PSH: has(3), ACK: has(4), URG: has(5), ECE: has(6), CWR: has(7)}
}

// summary is what is behind a flow in one line, as Hubble writes it.
func summary(e *datapath.Event) string {
	switch e.Protocol {
	case protoTCP:
		var set []string
		for i, name := range flagNames() {
			if e.TCPFlags&(1<<i) != 0 {
				set = append(set, name)
			}
		}
		return "TCP Flags: " + strings.Join(set, ", ")
	case protoUDP:
		return "UDP"
	case protoSCTP:
		return "SCTP"
	case protoICMP:
		return "ICMPv4 " + icmpName(e.DestinationPort, map[uint16]string{0: "EchoReply", 3: "DestinationUnreachable", 5: "Redirect", 8: "EchoRequest", 11: "TimeExceeded"})
	case protoICMPv6:
		return "ICMPv6 " + icmpName(e.DestinationPort, map[uint16]string{
			1: "DestinationUnreachable", 2: "PacketTooBig", 3: "TimeExceeded", 128: "EchoRequest", 129: "EchoReply",
			133: "RouterSolicitation", 134: "RouterAdvertisement", 135: "NeighborSolicitation", 136: "NeighborAdvertisement", 137: "Redirect",
		})
	}
	return fmt.Sprintf("IP protocol %d", e.Protocol)
}

func icmpName(typeCode uint16, names map[uint16]string) string {
	kind, code := typeCode>>8, typeCode&0xff
	name, ok := names[kind]
	switch {
	case !ok:
		return fmt.Sprintf("%d(%d)", kind, code)
	case code != 0:
		return fmt.Sprintf("%s(%d)", name, code)
	}
	return name
}
