package endpoints

import (
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"fairlead.io/fairlead/pkg/node/datapath"
)

// In finds the place of the pod whose network namespace is at a path, by the other end of its interface. With an empty name it is
// the only veth that there is.
func (h *Host) In(path, name string) (Place, []netip.Addr, error) {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return Place{}, nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer func() { _ = ns.Close() }()
	if ns.Equal(h.ns) {
		return Place{}, nil, fmt.Errorf("%w: %s is the node's own network namespace", ErrNotFound, path)
	}
	pod, err := netlink.NewHandleAt(ns)
	if err != nil {
		return Place{}, nil, fmt.Errorf("enter network namespace %s: %w", path, err)
	}
	defer pod.Close()
	inner, err := veth(pod, name)
	if err != nil {
		return Place{}, nil, fmt.Errorf("network namespace %s: %w", path, err)
	}
	a := inner.Attrs()
	outer, err := h.nl.LinkByIndex(a.ParentIndex)
	// The index is that of wherever the other end is: it is here only when it says so too.
	if err != nil || outer.Attrs().ParentIndex != a.Index || outer.Type() != "veth" {
		return Place{}, nil, fmt.Errorf("%w: the other end of %s is not in the node's network namespace", ErrNotFound, a.Name)
	}
	p, err := h.side(outer, toMAC(a.HardwareAddr))
	if err != nil {
		return Place{}, nil, err
	}
	list, err := pod.AddrList(inner, netlink.FAMILY_ALL)
	if err != nil {
		return Place{}, nil, fmt.Errorf("list addresses of %s: %w", a.Name, err)
	}
	var addresses []netip.Addr
	for _, x := range list {
		if ip, ok := netip.AddrFromSlice(x.IP); ok && !ip.IsLinkLocalUnicast() {
			addresses = append(addresses, ip.Unmap())
		}
	}
	return p, addresses, nil
}

func veth(pod *netlink.Handle, name string) (netlink.Link, error) {
	if name != "" {
		l, err := pod.LinkByName(name)
		if err != nil || l.Type() != "veth" {
			return nil, fmt.Errorf("%w: %s is not a veth", ErrNotFound, name)
		}
		return l, nil
	}
	links, err := pod.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var found netlink.Link
	for _, l := range links {
		if l.Type() != "veth" {
			continue
		}
		if found != nil {
			return nil, fmt.Errorf("%w: %s and %s are veths", ErrNotFound, found.Attrs().Name, l.Attrs().Name)
		}
		found = l
	}
	if found == nil {
		return nil, fmt.Errorf("%w: there is no veth", ErrNotFound)
	}
	return found, nil
}

// At finds the place of the pod that has an address, by the node's routes, neighbours and bridges. The answer comes from what the pod
// itself has said (ARP, neighbour discovery): In is to be preferred.
func (h *Host) At(a netip.Addr) (Place, error) {
	ip := net.IP(a.AsSlice())
	routes, err := h.nl.RouteGet(ip)
	if err != nil || len(routes) == 0 {
		return Place{}, fmt.Errorf("%w for %s: there is no route", ErrNotFound, a)
	}
	out, err := h.nl.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return Place{}, fmt.Errorf("%w for %s: %w", ErrNotFound, a, err)
	}
	if routes[0].Gw != nil || out.Type() != "veth" && out.Type() != "bridge" {
		return Place{}, fmt.Errorf("%w for %s: the way goes by %s", ErrNotFound, a, out.Attrs().Name)
	}
	mac, err := h.neighbour(a, out)
	if err != nil {
		return Place{}, err
	}
	if out.Type() == "veth" {
		return h.side(out, mac)
	}
	return h.port(a, out, mac)
}

const afBridge = 7

// port finds the port of a bridge behind which a MAC address is.
func (h *Host) port(a netip.Addr, bridge netlink.Link, mac datapath.MAC) (Place, error) {
	entries, err := h.nl.NeighList(0, afBridge)
	if err != nil {
		return Place{}, fmt.Errorf("list ports of %s: %w", bridge.Attrs().Name, err)
	}
	for _, n := range entries {
		if n.MasterIndex != bridge.Attrs().Index || toMAC(n.HardwareAddr) != mac {
			continue
		}
		l, err := h.nl.LinkByIndex(n.LinkIndex)
		if err != nil {
			continue
		}
		return h.side(l, mac)
	}
	return Place{}, fmt.Errorf("%w for %s: no port of %s has seen its MAC address", ErrNotFound, a, bridge.Attrs().Name)
}

// neighbour gives the MAC address that an address has, and has the kernel ask for it when it does not know.
func (h *Host) neighbour(a netip.Addr, on netlink.Link) (datapath.MAC, error) {
	family := netlink.FAMILY_V4
	if a.Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := h.nl.NeighList(on.Attrs().Index, family)
	if err != nil {
		return datapath.MAC{}, fmt.Errorf("list neighbours: %w", err)
	}
	for _, n := range list {
		if x, ok := netip.AddrFromSlice(n.IP); ok && x.Unmap() == a && len(n.HardwareAddr) == 6 && n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
			return toMAC(n.HardwareAddr), nil
		}
	}
	h.ask(a)
	return datapath.MAC{}, fmt.Errorf("%w for %s: its MAC address is not known yet", ErrNotFound, a)
}

// ask has the kernel look for a neighbour, by a datagram that nobody waits for (port 9, discard).
func (h *Host) ask(a netip.Addr) {
	_ = h.Do(func() error {
		c, err := net.DialTimeout("udp", netip.AddrPortFrom(a, 9).String(), time.Second)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_, err = c.Write([]byte{0})
		return err
	})
}
