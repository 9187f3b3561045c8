package datapath

import "github.com/cilium/ebpf"

var _ = ebpf.Hash
