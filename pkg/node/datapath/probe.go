package datapath

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// What a kernel lacks. Probe and Open give errors that are these, and name the kernel that is needed.
var (
	ErrPermission = errors.New("privileges are missing: CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed")
	ErrBTF        = errors.New("the kernel has no type information: CONFIG_DEBUG_INFO_BTF is needed")
	ErrTCX        = errors.New("the kernel has no tcx: Linux 6.6 with CONFIG_NET_XGRESS is needed")
	ErrNetfilter  = errors.New("the kernel has no netfilter programs: Linux 6.4 with CONFIG_NETFILTER_BPF_LINK is needed")
	ErrDefrag     = errors.New("the kernel puts no fragments together for netfilter programs: Linux 6.6 with CONFIG_NF_DEFRAG_IPV4 and _IPV6 is needed")
	ErrBPFFS      = errors.New("not a bpffs")
)

// Probe tells what the kernel lacks, all of it, in the network namespace of the calling thread; nil when it has everything.
func Probe() error {
	if _, err := os.Stat("/sys/kernel/btf/vmlinux"); err != nil {
		return ErrBTF
	}
	err := features.HaveProgramType(ebpf.Netfilter)
	switch {
	case errors.Is(err, unix.EPERM):
		return ErrPermission
	case errors.Is(err, ebpf.ErrNotSupported):
		return errors.Join(ErrNetfilter, probeTCX())
	}
	return errors.Join(probeNetfilter(), probeTCX())
}

func verdictOf(t ebpf.ProgramType, at ebpf.AttachType, r int32) (*ebpf.Program, error) {
	return ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: t, AttachType: at, License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, r), asm.Return()},
	})
}

// probeNetfilter hangs a program that accepts everything into a hook that nothing here uses, for a moment.
func probeNetfilter() error {
	p, err := verdictOf(ebpf.Netfilter, ebpf.AttachNetfilter, 1)
	if err != nil {
		return refused(ErrNetfilter, err)
	}
	defer func() { _ = p.Close() }()
	for flags, lacks := range map[link.NetfilterAttachFlags]error{0: ErrNetfilter, defrag: ErrDefrag} {
		l, err := link.AttachNetfilter(link.NetfilterOptions{
			Program: p, ProtocolFamily: link.NetfilterProtoIPv6, Hook: link.NetfilterInetPostRouting, Priority: 23571113, NetfilterFlags: flags,
		})
		if err != nil {
			return refused(lacks, err)
		}
		_ = l.Close()
	}
	return nil
}

func probeTCX() error {
	p, err := verdictOf(ebpf.SchedCLS, ebpf.AttachTCXIngress, -1)
	if err != nil {
		return refused(ErrTCX, err)
	}
	defer func() { _ = p.Close() }()
	const loopback = 1
	l, err := link.AttachTCX(link.TCXOptions{Interface: loopback, Program: p, Attach: ebpf.AttachTCXIngress})
	if err != nil {
		return refused(ErrTCX, err)
	}
	_ = l.Close()
	return nil
}

func refused(lacks, err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (%w)", ErrPermission, err)
	}
	return fmt.Errorf("%w (%w)", lacks, err)
}
