package policy

import (
	"cmp"
	"strconv"

	"fairlead.io/fairlead/pkg/verdict"
)

// The IANA numbers of the protocols that have ports.
const (
	TCP  uint8 = 6
	UDP  uint8 = 17
	SCTP uint8 = 132
)

// ProtocolNumber is the IANA number of a protocol as Kubernetes names it; TCP when it has no name.
func ProtocolNumber(name string) (uint8, bool) {
	switch name {
	case "", "TCP":
		return TCP, true
	case "UDP":
		return UDP, true
	case "SCTP":
		return SCTP, true
	}
	return 0, false
}

func portKey(name string, protocol uint8) string { return name + "/" + strconv.Itoa(int(protocol)) }

func comparePorts(a, b verdict.NamedPort) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}
