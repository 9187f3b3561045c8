package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// defrag has the kernel put fragments together before a program sees them (BPF_F_NETFILTER_IP_DEFRAG; link.NetfilterIPDefrag of
// cilium/ebpf v0.22.0 is 0).
const defrag link.NetfilterAttachFlags = 1

type hook struct {
	name    string
	at      link.NetfilterInetHook
	family  link.NetfilterProtocolFamily
	program *ebpf.Program
}

func (d *Datapath) hooks() (out []hook) {
	for _, f := range []struct {
		name   string
		family link.NetfilterProtocolFamily
	}{{"4", link.NetfilterProtoIPv4}, {"6", link.NetfilterProtoIPv6}} {
		out = append(out,
			hook{"forward" + f.name, link.NetfilterInetForward, f.family, d.programs.Forward},
			hook{"in" + f.name, link.NetfilterInetLocalIn, f.family, d.programs.LocalIn},
			hook{"out" + f.name, link.NetfilterInetLocalOut, f.family, d.programs.LocalOut})
	}
	return out
}

// AttachHost has the programs of the netfilter hooks FORWARD, LOCAL_IN and LOCAL_OUT run, for IPv4 and IPv6, in the network namespace
// of the calling thread. It replaces what is there without a gap.
func (d *Datapath) AttachHost() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, h := range d.hooks() {
		if err := d.attachHook(h); err != nil {
			return fmt.Errorf("attach netfilter hook %s: %w", h.name, err)
		}
	}
	return nil
}

// attachHook has a hook's program run. The kernel has no way to replace the program of such a link, so the new link is beside the old
// one for a moment, and both judge.
func (d *Datapath) attachHook(h hook) error {
	pin := filepath.Join(d.links(), h.name)
	// Of a run that ended in between; the one before it still runs.
	if err := os.Remove(pin + "-new"); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	old, err := link.LoadPinnedLink(pin, nil)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("load pinned link: %w", err)
	}
	if old != nil {
		defer func() { _ = old.Close() }()
		if d.runs(old, h.program) {
			return nil
		}
	}
	l, err := d.hang(h)
	if err != nil {
		return err
	}
	defer func() { _ = l.Close() }()
	if old == nil {
		if err := l.Pin(pin); err != nil {
			return fmt.Errorf("pin link: %w", err)
		}
		return nil
	}
	if err := l.Pin(pin + "-new"); err != nil {
		return fmt.Errorf("pin link: %w", err)
	}
	if err := os.Rename(pin+"-new", pin); err != nil {
		return fmt.Errorf("replace pinned link: %w", err)
	}
	return nil
}

// hang links a program at the first free of the priorities: a BPF program has one for itself.
func (d *Datapath) hang(h hook) (l link.Link, err error) {
	for _, p := range []int32{d.priority, d.priority + 1} {
		l, err = link.AttachNetfilter(link.NetfilterOptions{
			Program: h.program, ProtocolFamily: h.family, Hook: h.at, Priority: p, NetfilterFlags: defrag,
		})
		if !errors.Is(err, unix.EBUSY) {
			return l, err
		}
	}
	return nil, fmt.Errorf("priorities %d and %d are taken; configure another: %w", d.priority, d.priority+1, err)
}

// enforces tells whether the host's programs that are pinned run on these maps.
func (d *Datapath) enforces() (bool, error) {
	id, err := mapID(d.maps.Rules)
	if err != nil {
		return false, err
	}
	for _, h := range d.hooks() {
		l, err := link.LoadPinnedLink(filepath.Join(d.links(), h.name), nil)
		if errors.Is(err, os.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("load pinned link: %w", err)
		}
		ok, err := uses(l, id)
		_ = l.Close()
		if err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

func mapID(m *ebpf.Map) (ebpf.MapID, error) {
	info, err := m.Info()
	if err != nil {
		return 0, fmt.Errorf("look at map: %w", err)
	}
	id, _ := info.ID()
	return id, nil
}

func uses(l link.Link, id ebpf.MapID) (bool, error) {
	info, err := l.Info()
	if err != nil {
		return false, fmt.Errorf("look at link: %w", err)
	}
	p, err := ebpf.NewProgramFromID(info.Program)
	if err != nil {
		return false, fmt.Errorf("look at program: %w", err)
	}
	defer func() { _ = p.Close() }()
	pi, err := p.Info()
	if err != nil {
		return false, fmt.Errorf("look at program: %w", err)
	}
	ids, _ := pi.MapIDs()
	for _, have := range ids {
		if have == id {
			return true, nil
		}
	}
	return false, nil
}
