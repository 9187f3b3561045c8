// Package endpoints finds where pods are connected to their node: the host's side of the veth, the MAC addresses on both sides, the
// bridge that it is a port of. It asks the kernel, not the CNI plugin, and so works with all that connect pods by veths.
//
//	Workload, CNI ADD ─► endpoints ─► enforce, datapath
//
// Everything is looked up in the node's network namespace, which need not be that of this process.
package endpoints

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/pkg/node/datapath"
)

// ErrNotFound says that a pod is not connected, as far as can be seen now.
var ErrNotFound = errors.New("no interface found")

// Place is how a pod is connected. It is what datapath.Attach wants, but for the identity.
type Place struct {
	// Interface is the host's side, by index, and Name its name.
	Interface uint32
	Name      string
	// MAC is the pod's, Router what it sends to have it routed.
	MAC, Router datapath.MAC
	// Bridge is the bridge that Interface is a port of, by index, or 0.
	Bridge uint32
}

// Host is a node's network namespace.
type Host struct {
	ns netns.NsHandle
	nl *netlink.Handle
}

// Open takes the path of a network namespace ("/proc/1/ns/net"); empty is that of the calling thread.
func Open(path string) (*Host, error) {
	if path == "" {
		path = "/proc/thread-self/ns/net"
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	nl, err := netlink.NewHandleAt(ns)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open network namespace %s: %w", path, err), ns.Close())
	}
	return &Host{ns: ns, nl: nl}, nil
}

// Close lets go of the namespace.
func (h *Host) Close() error {
	h.nl.Close()
	return h.ns.Close()
}

// Do runs fn in a thread of the namespace.
func (h *Host) Do(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		// The thread ends with the goroutine, since it is not unlocked: nobody else gets its namespace.
		runtime.LockOSThread()
		if err := unix.Setns(int(h.ns), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- fn()
	}()
	return <-done
}

// Addresses are the node's own, of all interfaces but lo, and but those that a proxy has for Services (kube-ipvs0).
func (h *Host) Addresses() ([]netip.Addr, error) {
	links, err := h.nl.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	skip := map[int]bool{}
	for _, l := range links {
		if a := l.Attrs(); a.Flags&net.FlagLoopback != 0 || a.Name == "kube-ipvs0" {
			skip[a.Index] = true
		}
	}
	list, err := h.nl.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var out []netip.Addr
	for _, a := range list {
		if x, ok := netip.AddrFromSlice(a.IP); ok && !skip[a.LinkIndex] && !x.IsLinkLocalUnicast() {
			out = append(out, x.Unmap())
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out), nil
}

// Is tells whether a place is as it was. What has changed of it but the interface is in the Place that comes back.
func (h *Host) Is(p Place) (Place, bool) {
	l, err := h.nl.LinkByIndex(int(p.Interface))
	if err != nil || l.Attrs().Name != p.Name && p.Name != "" {
		return p, false
	}
	now, err := h.side(l, p.MAC)
	return now, err == nil
}

// side describes a pod's place by the host's side.
func (h *Host) side(l netlink.Link, mac datapath.MAC) (Place, error) {
	a := l.Attrs()
	if l.Type() != "veth" {
		return Place{}, fmt.Errorf("%w: %s is a %s, and no veth", ErrNotFound, a.Name, l.Type())
	}
	p := Place{Interface: uint32(a.Index), Name: a.Name, MAC: mac}
	router := l
	if a.MasterIndex != 0 {
		master, err := h.nl.LinkByIndex(a.MasterIndex)
		if err != nil {
			return Place{}, fmt.Errorf("look at the master of %s: %w", a.Name, err)
		}
		if master.Type() == "bridge" {
			p.Bridge, router = uint32(a.MasterIndex), master
		}
	}
	p.Router = toMAC(router.Attrs().HardwareAddr)
	return p, nil
}

func toMAC(a net.HardwareAddr) (out datapath.MAC) {
	copy(out[:], a)
	return out
}
