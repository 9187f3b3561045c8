package datapath

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// wire is a packet to be made.
type wire struct {
	src, dst     netip.Addr
	protocol     uint8
	sport, dport uint16 // of ICMP, dport is type<<8|code and sport the id
	flags        uint8  // of TCP; of SCTP, the type of the first chunk
	options      []byte // of IPv4, in words of 4 bytes
	extensions   []extension
	// fragment is the offset in units of 8 bytes; more follow.
	fragment  uint16
	more      bool
	id        uint32
	inner     []byte // of an ICMP error
	truncated int    // bytes cut off
}

// extension is a header of IPv6: its type, and all of it but the first byte.
type extension struct {
	kind uint8
	body []byte
}

const (
	icmp, tcp, udp, icmpv6, sctp uint8 = unix.IPPROTO_ICMP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMPV6, unix.IPPROTO_SCTP

	fin, syn, rst, ack = 1, 2, 4, 16
)

func (w wire) transport() (b []byte) {
	if w.fragment != 0 {
		return make([]byte, 32)
	}
	switch w.protocol {
	case tcp:
		b = make([]byte, 20)
		b[12], b[13] = 5<<4, w.flags
	case sctp:
		b = make([]byte, 32)
		b[12], b[15] = w.flags, 20
	case udp:
		b = make([]byte, 8)
		b[5] = 8
	case icmp, icmpv6:
		b = make([]byte, 8)
		binary.BigEndian.PutUint16(b, w.dport)
		binary.BigEndian.PutUint16(b[4:], w.sport)
		return append(b, w.inner...)
	default:
		return make([]byte, 24)
	}
	binary.BigEndian.PutUint16(b, w.sport)
	binary.BigEndian.PutUint16(b[2:], w.dport)
	return b
}

// bytes is the packet from its IP header on.
func (w wire) bytes() []byte {
	body := w.transport()
	var b []byte
	if w.src.Is4() {
		b = make([]byte, 20)
		b[0], b[8], b[9] = byte(4<<4|(5+len(w.options)/4)), 64, w.protocol
		binary.BigEndian.PutUint16(b[2:], uint16(20+len(w.options)+len(body)))
		binary.BigEndian.PutUint16(b[4:], uint16(w.id))
		frag := w.fragment
		if w.more {
			frag |= 1 << 13
		}
		binary.BigEndian.PutUint16(b[6:], frag)
		copy(b[12:], w.src.AsSlice())
		copy(b[16:], w.dst.AsSlice())
		b = append(b, w.options...)
	} else {
		ext := w.extensions
		if w.fragment != 0 || w.more {
			h := make([]byte, 7)
			frag := w.fragment << 3
			if w.more {
				frag |= 1
			}
			binary.BigEndian.PutUint16(h[1:], frag)
			binary.BigEndian.PutUint32(h[3:], w.id)
			ext = append(slices.Clone(ext), extension{unix.IPPROTO_FRAGMENT, h})
		}
		b = make([]byte, 40)
		b[0], b[7] = 6<<4, 64
		copy(b[8:], w.src.AsSlice())
		copy(b[24:], w.dst.AsSlice())
		next := 6
		for _, x := range ext {
			b[next] = x.kind
			next = len(b)
			b = append(append(b, 0), x.body...)
		}
		b[next] = w.protocol
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40+len(body)))
	}
	b = append(b, body...)
	return b[:len(b)-w.truncated]
}

func (w wire) six() bool { return !w.src.Is4() }

// frame is the packet on a link.
func (w wire) frame(from, to MAC) []byte {
	b := append(append(to[:], from[:]...), 8, 0)
	if w.six() {
		b[12], b[13] = 0x86, 0xdd
	}
	return append(b, w.bytes()...)
}

var podMAC, routerMAC, otherMAC = MAC{2, 0, 0, 0, 0, 1}, MAC{2, 0, 0, 0, 0, 2}, MAC{2, 0, 0, 0, 0, 3}

// elsewhere is a port of the bridge that is no pod's.
const elsewhere = 77

// run has the program of a hook judge a packet, and tells whether it passes.
func run(t testing.TB, d *Datapath, h Hook, w wire) bool {
	t.Helper()
	r, err := program(d, h).Run(options(h, w))
	must(t, err)
	switch h {
	case FromPod, ToPod:
		if int32(r) != -1 && r != 2 {
			t.Fatalf("a tcx program says %d", int32(r))
		}
		return int32(r) == -1
	default:
		if r > 1 {
			t.Fatalf("a netfilter program says %d", r)
		}
		return r == 1
	}
}

func program(d *Datapath, h Hook) *ebpf.Program {
	return map[Hook]*ebpf.Program{
		FromPod: d.programs.FromPod, ToPod: d.programs.ToPod,
		Forward: d.programs.Forward, LocalIn: d.programs.LocalIn, LocalOut: d.programs.LocalOut,
	}[h]
}

// options are those of a test run: the packet, and where it seems to be.
func options(h Hook, w wire) *ebpf.RunOptions {
	switch h {
	case FromPod:
		return &ebpf.RunOptions{Data: w.frame(podMAC, otherMAC)}
	case ToPod:
		// struct __sk_buff as far as ingress_ifindex.
		var skb [10]uint32
		skb[9] = elsewhere
		return &ebpf.RunOptions{Data: w.frame(otherMAC, podMAC), Context: skb}
	}
	// struct nf_hook_state.
	var state [48]byte
	state[0], state[1] = map[Hook]byte{LocalIn: 1, Forward: 2, LocalOut: 3}[h], unix.AF_INET
	if w.six() {
		state[1] = unix.AF_INET6
	}
	o := &ebpf.RunOptions{Data: w.bytes(), Context: state}
	if h != LocalOut {
		o.Data = w.frame(otherMAC, routerMAC)
	}
	return o
}
