package policy

import (
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"

	ciliumv2 "fairlead.io/fairlead/api/cilium/v2"
	"fairlead.io/fairlead/pkg/verdict"
)

// The IANA numbers of ICMP.
const (
	ICMP   uint8 = 1
	ICMPv6 uint8 = 58
)

// icmp adds a type of ICMP: 256 ports, one for each code.
func (l *portList) icmp(f *ciliumv2.ICMPField) error {
	protocol, names := ICMP, icmpTypes()
	switch f.Family {
	case "", "IPv4":
	case "IPv6":
		protocol, names = ICMPv6, icmpv6Types()
	default:
		return fmt.Errorf("family %q is neither IPv4 nor IPv6", f.Family)
	}
	if f.Type == nil {
		return fmt.Errorf("type must be set")
	}
	number := uint64(uint32(f.Type.IntVal))
	if f.Type.Type == intstr.String {
		var err error
		if number, err = strconv.ParseUint(f.Type.StrVal, 10, 8); err != nil {
			named, ok := names[f.Type.StrVal]
			if !ok {
				return fmt.Errorf("type %q is none of ICMP for %s", f.Type.StrVal, map[uint8]string{ICMP: "IPv4", ICMPv6: "IPv6"}[protocol])
			}
			number = uint64(named)
		}
	}
	if number > 255 {
		return fmt.Errorf("type %s is not between 0 and 255", f.Type)
	}
	first := uint16(number << 8)
	l.ports = append(l.ports, verdict.Ports{Protocol: protocol, First: first, Last: first | 0xff})
	return nil
}

// icmpTypes are the names that Cilium takes (IANA, "ICMP Type Numbers").
func icmpTypes() map[string]uint8 {
	return map[string]uint8{
		"EchoReply": 0, "DestinationUnreachable": 3, "Redirect": 5, "Echo": 8, "EchoRequest": 8, "RouterAdvertisement": 9,
		"RouterSelection": 10, "TimeExceeded": 11, "ParameterProblem": 12, "Timestamp": 13, "TimestampReply": 14, "Photuris": 40,
		"ExtendedEchoRequest": 42, "ExtendedEchoReply": 43,
	}
}

// icmpv6Types are those of IPv6 (IANA, "ICMPv6 'type' Numbers").
func icmpv6Types() map[string]uint8 {
	return map[string]uint8{
		"DestinationUnreachable": 1, "PacketTooBig": 2, "TimeExceeded": 3, "ParameterProblem": 4, "EchoRequest": 128, "EchoReply": 129,
		"MulticastListenerQuery": 130, "MulticastListenerReport": 131, "MulticastListenerDone": 132, "RouterSolicitation": 133,
		"RouterAdvertisement": 134, "NeighborSolicitation": 135, "NeighborAdvertisement": 136, "RedirectMessage": 137,
		"RouterRenumbering": 138, "ICMPNodeInformationQuery": 139, "ICMPNodeInformationResponse": 140,
		"InverseNeighborDiscoverySolicitation": 141, "InverseNeighborDiscoveryAdvertisement": 142,
		"HomeAgentAddressDiscoveryRequest": 144, "HomeAgentAddressDiscoveryReply": 145, "MobilePrefixSolicitation": 146,
		"MobilePrefixAdvertisement": 147, "DuplicateAddressRequestCodeSuffix": 157, "DuplicateAddressConfirmationCodeSuffix": 158,
		"ExtendedEchoRequest": 160, "ExtendedEchoReply": 161,
	}
}
