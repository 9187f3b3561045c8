package endpoints

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Socket is a TCP socket of a pod that is connected.
type Socket struct {
	Local, Remote netip.AddrPort
	// Inbound says that something listens at the local port: the other side has connected.
	Inbound bool

	family uint8
	id     [48]byte // struct inet_diag_sockid
}

// Sockets lists the connected TCP sockets of a network namespace. An IPv4 connection of an IPv6 socket has IPv4 addresses here.
func (h *Host) Sockets(path string) ([]Socket, error) {
	var out []Socket
	err := h.within(path, func() (err error) {
		out, err = sockets()
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list sockets of %s: %w", path, err)
	}
	return out, nil
}

// Destroy aborts connections (SOCK_DESTROY): who uses them gets ECONNABORTED, and the other side a RST. Those that have ended meanwhile
// are left out.
func (h *Host) Destroy(path string, list []Socket) error {
	err := h.within(path, func() error {
		var errs []error
		for _, s := range list {
			req := nl.NewNetlinkRequest(nl.SOCK_DESTROY, unix.NLM_F_ACK)
			req.AddRawData(s.request(0xffffffff))
			if _, err := req.Execute(unix.NETLINK_SOCK_DIAG, 0); err != nil && !errors.Is(err, unix.ENOENT) {
				errs = append(errs, fmt.Errorf("%s to %s: %w", s.Local, s.Remote, err))
			}
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("destroy sockets of %s: %w", path, err)
	}
	return nil
}

// within runs fn in a network namespace that is not the node's.
func (h *Host) within(path string, fn func() error) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return err
	}
	defer func() { _ = ns.Close() }()
	if ns.Equal(h.ns) {
		return errors.New("it is the node's own network namespace")
	}
	return (&Host{ns: ns}).Do(fn)
}

// The layout of struct inet_diag_req_v2 and inet_diag_msg (include/uapi/linux/inet_diag.h), and states of TCP.
const (
	requestSize = 8 + 48
	messageSize = 4 + 48 + 20
	tcpListen   = 10
)

func (s *Socket) request(states uint32) []byte {
	b := make([]byte, requestSize)
	b[0], b[1] = s.family, unix.IPPROTO_TCP
	binary.NativeEndian.PutUint32(b[4:], states)
	copy(b[8:], s.id[:])
	return b
}

func sockets() (out []Socket, err error) {
	listens := map[uint16]bool{}
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		req := nl.NewNetlinkRequest(nl.SOCK_DIAG_BY_FAMILY, unix.NLM_F_DUMP)
		// ESTABLISHED, SYN_SENT, SYN_RECV, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LISTEN
		req.AddRawData((&Socket{family: family}).request(1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<8 | 1<<tcpListen))
		messages, err := req.Execute(unix.NETLINK_SOCK_DIAG, nl.SOCK_DIAG_BY_FAMILY)
		if err != nil {
			return nil, err
		}
		for _, m := range messages {
			if len(m) < messageSize {
				return nil, fmt.Errorf("socket of %d bytes", len(m))
			}
			s := Socket{family: m[0]}
			copy(s.id[:], m[4:])
			s.Local, s.Remote = s.ends()
			if m[1] == tcpListen {
				listens[s.Local.Port()] = true
				continue
			}
			out = append(out, s)
		}
	}
	for i := range out {
		out[i].Inbound = listens[out[i].Local.Port()]
	}
	return out, nil
}

// ends reads the ports, in network order, and the addresses of an id.
func (s *Socket) ends() (local, remote netip.AddrPort) {
	address := func(b []byte) netip.Addr {
		if s.family == unix.AF_INET {
			b = b[:4]
		}
		a, _ := netip.AddrFromSlice(b)
		return a.Unmap()
	}
	return netip.AddrPortFrom(address(s.id[4:20]), binary.BigEndian.Uint16(s.id[0:])),
		netip.AddrPortFrom(address(s.id[20:36]), binary.BigEndian.Uint16(s.id[2:]))
}
