package datapath

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/bpf"
)

// PutAddress says who has an address, at once.
func (d *Datapath) PutAddress(a netip.Addr, v Address) error {
	if err := d.maps.Addresses.Put(addrOf(a), v.encode()); err != nil {
		return fmt.Errorf("put address %s: %w", a, full(err))
	}
	return nil
}

// DeleteAddress makes an address one of the World. It may be missing.
func (d *Datapath) DeleteAddress(a netip.Addr) error {
	if err := d.maps.Addresses.Delete(addrOf(a)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete address %s: %w", a, err)
	}
	return nil
}

// Addresses calls fn for each address until it gives false. IPv4 addresses are not mapped.
func (d *Datapath) Addresses(fn func(netip.Addr, Address) bool) error {
	return each(d.maps.Addresses, func(k bpf.DatapathAddr, v bpf.DatapathAddress) (bool, error) {
		return fn(netipOf(k), decodeAddress(v)), nil
	})
}

// PutSubject has a Set hold for an identity, at once; 0 is none.
func (d *Datapath) PutSubject(identity, set uint32) error {
	if err := d.maps.Subjects.Put(identity, set); err != nil {
		return fmt.Errorf("put set %d of identity %d: %w", set, identity, full(err))
	}
	return nil
}

// DeleteSubject has everything denied to an identity.
func (d *Datapath) DeleteSubject(identity uint32) error { return d.PutSubject(identity, 0) }

// Subjects calls fn for each identity that has a Set, until it gives false.
func (d *Datapath) Subjects(fn func(identity, set uint32) bool) error {
	return each(d.maps.Subjects, func(identity, set uint32) (bool, error) { return set == 0 || fn(identity, set), nil })
}

// PutParts says what of a Set is in use.
func (d *Datapath) PutParts(set uint32, parts Parts) error {
	if err := d.maps.Sets.Put(set, parts.encode()); err != nil {
		return fmt.Errorf("put set %d: %w", set, full(err))
	}
	return nil
}

// DeleteParts forgets a Set, which then denies everything.
func (d *Datapath) DeleteParts(set uint32) error {
	if err := d.maps.Sets.Put(set, bpf.DatapathSet{}); err != nil {
		return fmt.Errorf("delete set %d: %w", set, full(err))
	}
	return nil
}

// Parts calls fn for each Set that is there, until it gives false.
func (d *Datapath) Parts(fn func(set uint32, parts Parts) bool) error {
	return each(d.maps.Sets, func(set uint32, v bpf.DatapathSet) (bool, error) {
		return v.Parts[0][0].Known == 0 || fn(set, decodeParts(v)), nil
	})
}

// PutRules writes in the order that is given, in as few calls as can be. An error leaves some written.
func (d *Datapath) PutRules(rules []Rule) error {
	keys, values := make([]bpf.DatapathRuleKey, len(rules)), make([]bpf.DatapathValue, len(rules))
	for i, r := range rules {
		keys[i], values[i] = r.encode(), encodeValue(r.Value)
	}
	if err := putAll(d.maps.Rules, keys, values); err != nil {
		return fmt.Errorf("put rules: %w", err)
	}
	return nil
}

// DeleteRules deletes in the order that is given. What is missing is passed over.
func (d *Datapath) DeleteRules(rules []RuleKey) error {
	for _, r := range rules {
		if err := d.maps.Rules.Delete(r.encode()); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete rules: %w", err)
		}
	}
	return nil
}

// Rules calls fn for each until it gives false.
func (d *Datapath) Rules(fn func(Rule) bool) error {
	return each(d.maps.Rules, func(k bpf.DatapathRuleKey, v bpf.DatapathValue) (bool, error) {
		return fn(Rule{decodeRuleKey(k), decodeValue(v)}), nil
	})
}

// PutRanges and DeleteRanges are as PutRules and DeleteRules.
func (d *Datapath) PutRanges(ranges []Range) error {
	for _, r := range ranges {
		k, err := r.encode()
		if err == nil {
			err = full(d.maps.Ranges.Put(k, r.Number))
		}
		if err != nil {
			return fmt.Errorf("put range %s: %w", r.Prefix, err)
		}
	}
	return nil
}

// DeleteRanges is as DeleteRules.
func (d *Datapath) DeleteRanges(ranges []RangeKey) error {
	for _, r := range ranges {
		k, err := r.encode()
		if err == nil {
			err = d.maps.Ranges.Delete(k)
		}
		if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("delete range %s: %w", r.Prefix, err)
		}
	}
	return nil
}

// Ranges calls fn for each until it gives false.
func (d *Datapath) Ranges(fn func(Range) bool) error {
	return each(d.maps.Ranges, func(k bpf.DatapathRangeKey, number uint32) (bool, error) {
		key, err := decodeRangeKey(k)
		return err == nil && fn(Range{key, number}), err
	})
}

// setState changes the node's state, which one goroutine at a time does.
func (d *Datapath) setState(change func(*bpf.DatapathState)) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var s bpf.DatapathState
	if err := d.maps.State.Lookup(uint32(0), &s); err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	change(&s)
	if err := d.maps.State.Put(uint32(0), s); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// Bump has every flow that is known judged anew, on its next packet.
func (d *Datapath) Bump() error {
	return d.setState(func(s *bpf.DatapathState) { s.Epoch++ })
}

// SetAudit has everything pass, and told, or ends that.
func (d *Datapath) SetAudit(on bool) error {
	return d.setState(func(s *bpf.DatapathState) {
		s.Epoch++
		s.Flags = uint32(bit(on))
	})
}

// membarrierGlobal is MEMBARRIER_CMD_GLOBAL.
const membarrierGlobal = 1

// Settle returns when no program reads any more what was there before the call.
func (d *Datapath) Settle() error {
	// The kernel waits for all readers (RCU) that there are, as membarrier(2) promises of this command.
	if _, _, e := unix.Syscall(unix.SYS_MEMBARRIER, membarrierGlobal, 0, 0); e != 0 {
		return fmt.Errorf("wait for the kernel's readers: %w", e)
	}
	return nil
}
