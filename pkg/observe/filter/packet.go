package filter

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"fairlead.io/fairlead/api/observe/flow"
)

// Protocols are the words for what is in an IP packet.
func Protocols() []string { return []string{"tcp", "udp", "sctp", "icmp", "icmpv4", "icmpv6"} }

// ParseProtocol reads one of Protocols, in letters of any case.
func ParseProtocol(s string) (string, error) {
	s = strings.ToLower(s)
	if !slices.Contains(Protocols(), s) {
		return "", fmt.Errorf("protocol %.100q is none of %s", s, strings.Join(Protocols(), ", "))
	}
	return s, nil
}

func protocols(list []string) (test, error) {
	var want []string
	for _, s := range list {
		p, err := ParseProtocol(s)
		if err != nil {
			return nil, err
		}
		if p == "icmp" {
			want = append(want, "icmpv4", "icmpv6")
			continue
		}
		want = append(want, p)
	}
	return func(f *flow.Flow) bool { return slices.Contains(want, protocolOf(f)) }, nil
}

func protocolOf(f *flow.Flow) string {
	switch f.GetL4().GetProtocol().(type) {
	case *flow.Layer4_TCP:
		return "tcp"
	case *flow.Layer4_UDP:
		return "udp"
	case *flow.Layer4_SCTP:
		return "sctp"
	case *flow.Layer4_ICMPv4:
		return "icmpv4"
	case *flow.Layer4_ICMPv6:
		return "icmpv6"
	}
	return ""
}

// Ports gives the ports of a flow; false for a protocol without.
func Ports(f *flow.Flow) (source, destination uint32, ok bool) {
	switch p := f.GetL4().GetProtocol().(type) {
	case *flow.Layer4_TCP:
		return p.TCP.GetSourcePort(), p.TCP.GetDestinationPort(), true
	case *flow.Layer4_UDP:
		return p.UDP.GetSourcePort(), p.UDP.GetDestinationPort(), true
	case *flow.Layer4_SCTP:
		return p.SCTP.GetSourcePort(), p.SCTP.GetDestinationPort(), true
	}
	return 0, 0, false
}

func ports(list []string, pick func(source, destination uint32) uint32) (test, error) {
	var want []uint32
	for _, s := range list {
		n, err := strconv.ParseUint(s, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("port %.100q is no number from 0 to 65535", s)
		}
		want = append(want, uint32(n))
	}
	return func(f *flow.Flow) bool {
		s, d, ok := Ports(f)
		return ok && slices.Contains(want, pick(s, d))
	}, nil
}

func flags(list []*flow.TCPFlags) test {
	return func(f *flow.Flow) bool {
		has := f.GetL4().GetTCP().GetFlags()
		return has != nil && slices.ContainsFunc(list, func(w *flow.TCPFlags) bool {
			return (has.FIN || !w.GetFIN()) && (has.SYN || !w.GetSYN()) && (has.RST || !w.GetRST()) && (has.PSH || !w.GetPSH()) &&
				(has.ACK || !w.GetACK()) && (has.URG || !w.GetURG()) && (has.ECE || !w.GetECE()) && (has.CWR || !w.GetCWR()) && (has.NS || !w.GetNS())
		})
	}
}

func events(list []*flow.EventTypeFilter) test {
	return func(f *flow.Flow) bool {
		e := f.GetEventType()
		return e != nil && slices.ContainsFunc(list, func(w *flow.EventTypeFilter) bool {
			return (w.GetType() == 0 || w.GetType() == e.GetType()) && (!w.GetMatchSubType() || w.GetSubType() == e.GetSubType())
		})
	}
}

func interfaces(list []*flow.NetworkInterface) test {
	return func(f *flow.Flow) bool {
		i := f.GetInterface()
		return i != nil && slices.ContainsFunc(list, func(w *flow.NetworkInterface) bool {
			return (w.GetIndex() == 0 || w.GetIndex() == i.GetIndex()) && (w.GetName() == "" || w.GetName() == i.GetName())
		})
	}
}
