// Package datapath is the kernel's half of enforcing, as Go sees it: the programs of bpf/ are loaded, pinned and attached here, and
// their maps are read and written in the words of pkg/verdict.
//
//	enforce ─► datapath ─► maps, links ─► tcx at every pod, netfilter at the host
//	flows   ◄─ events, drops ◄──────────┘
//
// Everything is pinned under one directory of a bpffs, so that the kernel goes on enforcing when the agent is not there; Open
// adopts what it finds. Nothing here decides anything: who may speak to whom is what the maps say.
package datapath

import (
	"cmp"
	"log/slog"
	"path/filepath"
	"sync"

	"fairlead.io/fairlead/bpf"
)

// Config is what Open needs.
type Config struct {
	// Dir is a directory of a bpffs, which is made when it is missing: "/sys/fs/bpf/fairlead".
	Dir   string
	Sizes Sizes
	// Priority is where the netfilter programs stand in each hook: after DNAT (-100), before SNAT (100), and not where anything else
	// is; 0 is DefaultPriority. The one after it is used too, while a program is replaced.
	Priority int32
	// Audit has everything pass, and told.
	Audit bool
	Log   *slog.Logger
}

// DefaultPriority comes after the filter tables of iptables and kube-proxy (0), so that what these drop is not told as allowed.
const DefaultPriority = 17

// Sizes are how many entries the maps have room for. 0 is the default.
type Sizes struct {
	Addresses  uint32 // of all pods and nodes; 65536
	Identities uint32 // numbers of subjects below this; 65536
	Sets       uint32 // numbers below this; 8192
	Rules      uint32 // 262144
	Ranges     uint32 // 65536
	Endpoints  uint32 // 1024
	Flows      uint32 // 131072
	Drops      uint32 // 16384
	Events     uint32 // bytes, a power of two; 1 MiB
}

func (s Sizes) byMap() map[string]uint32 {
	return map[string]uint32{
		bpf.DatapathMapAddresses: cmp.Or(s.Addresses, 1<<16),
		bpf.DatapathMapSubjects:  cmp.Or(s.Identities, 1<<16),
		bpf.DatapathMapSets:      cmp.Or(s.Sets, 1<<13),
		bpf.DatapathMapRules:     cmp.Or(s.Rules, 1<<18),
		bpf.DatapathMapRanges:    cmp.Or(s.Ranges, 1<<16),
		bpf.DatapathMapEndpoints: cmp.Or(s.Endpoints, 1<<10),
		bpf.DatapathMapFlows:     cmp.Or(s.Flows, 1<<17),
		bpf.DatapathMapFragments: 1 << 12,
		bpf.DatapathMapDrops:     cmp.Or(s.Drops, 1<<14),
		bpf.DatapathMapEvents:    cmp.Or(s.Events, 1<<20),
	}
}

// Datapath is the programs and maps. Its methods are safe for concurrent use, but who writes one key from two goroutines does not
// know which came last.
type Datapath struct {
	dir      string
	priority int32
	log      *slog.Logger
	adopted  bool
	maps     *bpf.DatapathMaps
	programs *bpf.DatapathPrograms

	mu sync.Mutex // of links and the epoch
}

func (d *Datapath) links() string { return filepath.Join(d.dir, "links") }

// Adopted tells whether the maps are those of an earlier run: what they hold is enforced. They are not when their layout or size has
// changed; then everything has to be written before Attach and AttachHost have the new maps take the place of the old, whose links
// enforce until then. The endpoints are there already, if they could be read; of others PutEndpoint is called before any Attach.
func (d *Datapath) Adopted() bool { return d.adopted }

// Close lets go of everything; the kernel goes on enforcing.
func (d *Datapath) Close() error {
	err := d.programs.Close()
	return cmp.Or(err, d.maps.Close())
}
