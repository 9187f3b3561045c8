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
	"log/slog"
	"net/netip"
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
	Flows      uint32 // 131072
	Drops      uint32 // 16384
	Events     uint32 // bytes, a power of two; 1 MiB
}

// Datapath is the programs and maps. Its methods are safe for concurrent use, but who writes one key from two goroutines does not
// know which came last.
type Datapath struct{}

// Open loads the programs and makes the maps, or adopts what is pinned. Of programs that are older or newer than this binary's,
// those of Attach and AttachHost take the place, link by link.
func Open(Config) (*Datapath, error) { return nil, errNotYet }

// Adopted tells whether the maps are those of an earlier run: what they hold is enforced. They are not when their layout or size has
// changed; then everything has to be written before Attach and AttachHost have the new maps take the place of the old, whose links
// enforce until then.
func (d *Datapath) Adopted() bool { return false }

// Close lets go of everything; the kernel goes on enforcing.
func (d *Datapath) Close() error { return nil }

// Uninstall removes every trace: links, programs, maps and the directory.
func Uninstall(dir string) error { return errNotYet }

// PutAddress, DeleteAddress and Addresses: who has an address. IPv4 addresses are not mapped. What is deleted may be missing.
func (d *Datapath) PutAddress(netip.Addr, Address) error              { return errNotYet }
func (d *Datapath) DeleteAddress(netip.Addr) error                    { return errNotYet }
func (d *Datapath) Addresses(fn func(netip.Addr, Address) bool) error { return errNotYet }

// PutSubject has a Set hold for an identity, at once; 0 is none. Subjects gives those that have one.
func (d *Datapath) PutSubject(identity, set uint32) error { return errNotYet }

func (d *Datapath) DeleteSubject(identity uint32) error               { return d.PutSubject(identity, 0) }
func (d *Datapath) Subjects(fn func(identity, set uint32) bool) error { return errNotYet }

// PutParts says what of a Set is in use. DeleteParts forgets it: such a Set allows everything.
func (d *Datapath) PutParts(set uint32, parts Parts) error { return errNotYet }

func (d *Datapath) DeleteParts(set uint32) error                      { return d.PutParts(set, Parts{}) }
func (d *Datapath) Parts(fn func(set uint32, parts Parts) bool) error { return errNotYet }

// PutRules and DeleteRules write in the order that is given, in as few calls as can be. An error leaves some written.
func (d *Datapath) PutRules([]Rule) error          { return errNotYet }
func (d *Datapath) DeleteRules([]RuleKey) error    { return errNotYet }
func (d *Datapath) Rules(fn func(Rule) bool) error { return errNotYet }

// PutRanges and DeleteRanges are as PutRules and DeleteRules.
func (d *Datapath) PutRanges([]Range) error          { return errNotYet }
func (d *Datapath) DeleteRanges([]RangeKey) error    { return errNotYet }
func (d *Datapath) Ranges(fn func(Range) bool) error { return errNotYet }

// Bump has every flow that is known judged anew, on its next packet.
func (d *Datapath) Bump() error { return errNotYet }

// Settle returns when no program reads any more what was there before the call.
func (d *Datapath) Settle() error { return errNotYet }

// Attach has the policy of a pod enforced: the maps first, then the programs on the host's side of its veth, in the network namespace
// of the calling thread. It replaces what is there without a gap. The pod's Addresses and its subject are put by their own calls.
func (d *Datapath) Attach(Endpoint) error { return errNotYet }

// Detach takes a pod out, whose interface may be gone.
func (d *Datapath) Detach(ifindex uint32) error { return errNotYet }

// Endpoints gives those that are attached.
func (d *Datapath) Endpoints(fn func(Endpoint) bool) error { return errNotYet }

// AttachHost has the programs of the netfilter hooks FORWARD, LOCAL_IN and LOCAL_OUT run, for IPv4 and IPv6, in the network namespace
// of the calling thread. It replaces what is there without a gap.
func (d *Datapath) AttachHost() error { return errNotYet }

// Events is the ring buffer. One reader at a time.
func (d *Datapath) Events() (*EventReader, error) { return nil, errNotYet }

// EventReader reads events.
type EventReader struct{}

// Read waits for an event. It fails with os.ErrClosed after Close.
func (r *EventReader) Read(*Event) error { return errNotYet }

// Close ends Read.
func (r *EventReader) Close() error { return nil }

// Lost is how many events found no room in the ring buffer since the maps were made. What they were about is counted in Drops.
func (d *Datapath) Lost() (uint64, error) { return 0, errNotYet }

// Drops gives the counters, which only grow. Uncounted has what found no room in the map.
func (d *Datapath) Drops(fn func(Drop) bool) error { return errNotYet }

// ForgetDrops takes the counters of a Set away that is no more, and gives their last values.
func (d *Datapath) ForgetDrops(set uint32) ([]Drop, error) { return nil, errNotYet }
