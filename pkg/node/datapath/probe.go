package datapath

import "errors"

// What a kernel lacks. Probe and Open give errors that are these, and name the kernel that is needed.
var (
	ErrPermission = errors.New("missing privileges: CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are needed")
	ErrBTF        = errors.New("no type information (CONFIG_DEBUG_INFO_BTF)")
	ErrTCX        = errors.New("no tcx (Linux 6.6, CONFIG_NET_XGRESS)")
	ErrNetfilter  = errors.New("no netfilter programs (Linux 6.4, CONFIG_NETFILTER_BPF_LINK)")
	ErrDefrag     = errors.New("no reassembly for netfilter programs (Linux 6.6, CONFIG_NF_DEFRAG_IPV4 and IPV6)")
	ErrBPFFS      = errors.New("not a bpffs")

	errNotYet = errors.New("not there yet")
)

// Probe tells what the kernel lacks, all of it.
func Probe() error { return errNotYet }
