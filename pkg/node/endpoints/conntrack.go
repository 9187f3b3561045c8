package endpoints

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Connection is a TCP connection as its client sees it.
type Connection struct{ Client, Server netip.AddrPort }

// Translated gives the servers that connections really have (DNAT: Services), of those that are not as their clients see them.
func (h *Host) Translated() (map[Connection]netip.AddrPort, error) {
	out := map[Connection]netip.AddrPort{}
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		flows, err := h.nl.ConntrackTableList(netlink.ConntrackTable, family)
		if err != nil {
			return nil, fmt.Errorf("list connections: %w", err)
		}
		for _, f := range flows {
			if f.Forward.Protocol != unix.IPPROTO_TCP {
				continue
			}
			seen := Connection{at(f.Forward.SrcIP, f.Forward.SrcPort), at(f.Forward.DstIP, f.Forward.DstPort)}
			if server := at(f.Reverse.SrcIP, f.Reverse.SrcPort); server != seen.Server {
				out[seen] = server
			}
		}
	}
	return out, nil
}

func at(ip net.IP, port uint16) netip.AddrPort {
	a, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(a.Unmap(), port)
}
