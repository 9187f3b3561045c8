package datapath

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"

	"fairlead.io/fairlead/bpf"
	"fairlead.io/fairlead/pkg/verdict"
)

// The numbers of bpf/words.h, enum counter.
const (
	eventsLost uint32 = iota
	uncountedPackets
	uncountedBytes
)

// Lost is how many events found no room in the ring buffer since the maps were made. What they were about is counted in Drops.
func (d *Datapath) Lost() (uint64, error) { return d.counter(eventsLost) }

func (d *Datapath) counter(n uint32) (sum uint64, err error) {
	var cpus []uint64
	if err := d.maps.Counters.Lookup(n, &cpus); err != nil {
		return 0, fmt.Errorf("read counter: %w", err)
	}
	for _, c := range cpus {
		sum += c
	}
	return sum, nil
}

// Drops calls fn for each counter until it gives false. They only grow. The last has a DropKey of zeros: what found no room.
func (d *Datapath) Drops(fn func(Drop) bool) error {
	done := false
	err := eachCPU(d.maps.Drops, func(k bpf.DatapathDropKey, cpus []bpf.DatapathDrop) (bool, error) {
		done = !fn(decodeDrop(k, cpus))
		return !done, nil
	})
	if err != nil || done {
		return err
	}
	var rest Drop
	if rest.Packets, err = d.counter(uncountedPackets); err != nil {
		return err
	}
	if rest.Bytes, err = d.counter(uncountedBytes); err != nil {
		return err
	}
	fn(rest)
	return nil
}

func decodeDrop(k bpf.DatapathDropKey, cpus []bpf.DatapathDrop) Drop {
	out := Drop{DropKey: DropKey{
		Subject: k.Subject, Peer: k.Peer, Direction: verdict.Direction(k.Direction & 1), Family: verdict.Family(k.Family),
		Because: Because(k.Because), Set: k.Set, Rule: k.Rule, Reason: Reason(k.Reason), Audited: k.Audited != 0,
	}}
	for _, c := range cpus {
		out.Packets += c.Packets
		out.Bytes += c.Bytes
	}
	return out
}

// ForgetDrops takes the counters of a Set away that is no more, and gives their last values.
func (d *Datapath) ForgetDrops(set uint32) ([]Drop, error) {
	var keys []bpf.DatapathDropKey
	err := eachCPU(d.maps.Drops, func(k bpf.DatapathDropKey, _ []bpf.DatapathDrop) (bool, error) {
		if k.Set == set {
			keys = append(keys, k)
		}
		return true, nil
	})
	if err != nil {
		return nil, err
	}
	var out []Drop
	for _, k := range keys {
		var cpus []bpf.DatapathDrop
		// Read and deleted at once: what is counted after it makes a new row.
		switch err := d.maps.Drops.LookupAndDelete(k, &cpus); {
		case err == nil:
			out = append(out, decodeDrop(k, cpus))
		case !errors.Is(err, ebpf.ErrKeyNotExist):
			return out, fmt.Errorf("forget drops: %w", err)
		}
	}
	return out, nil
}
