package datapath

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"fairlead.io/fairlead/bpf"
)

// Attach has the policy of a pod enforced: the maps first, then the programs on the host's side of its veth, in the network namespace
// of the calling thread. It replaces what is there without a gap. The pod's Addresses and its subject are put by their own calls.
func (d *Datapath) Attach(e Endpoint) error {
	if err := d.PutEndpoint(e); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.tcx() {
		if err := d.attachTCX(e.Interface, t); err != nil {
			return fmt.Errorf("attach interface %d: %w", e.Interface, err)
		}
	}
	return nil
}

// PutEndpoint is the first half of Attach: only the maps. Where the maps are new and pods run, it is called for all of them before any
// is attached, as the program of one asks whether what comes from another was judged there.
func (d *Datapath) PutEndpoint(e Endpoint) error {
	v, err := e.encode()
	if err != nil {
		return err
	}
	if err := d.maps.Endpoints.Put(e.Interface, v); err != nil {
		return fmt.Errorf("put endpoint %d: %w", e.Interface, full(err))
	}
	return nil
}

// tcx is what is attached at each pod.
func (d *Datapath) tcx() []tcx {
	// To the pod first: it must not receive what nobody has judged before it can send.
	return []tcx{{"to", ebpf.AttachTCXEgress, d.programs.ToPod}, {"from", ebpf.AttachTCXIngress, d.programs.FromPod}}
}

type tcx struct {
	name    string
	at      ebpf.AttachType
	program *ebpf.Program
}

func (d *Datapath) pin(ifindex uint32, name string) string {
	return filepath.Join(d.links(), fmt.Sprintf("%d-%s", ifindex, name))
}

func (d *Datapath) attachTCX(ifindex uint32, t tcx) error {
	pin := d.pin(ifindex, t.name)
	old, err := link.LoadPinnedLink(pin, nil)
	switch {
	case err == nil:
		defer func() { _ = old.Close() }()
		if here(old, ifindex) {
			return d.renew(old, t.program)
		}
		// Its interface is gone, and another has the index now.
		if err := old.Unpin(); err != nil {
			return fmt.Errorf("unpin link: %w", err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("load pinned link: %w", err)
	}
	// Before all others: what they take away would pass unseen.
	l, err := link.AttachTCX(link.TCXOptions{Interface: int(ifindex), Program: t.program, Attach: t.at, Anchor: link.Head()})
	if err != nil {
		return fmt.Errorf("attach tcx program: %w", err)
	}
	defer func() { _ = l.Close() }()
	if err := l.Pin(pin); err != nil {
		return fmt.Errorf("pin link: %w", err)
	}
	return nil
}

// here tells whether a link is at an interface still.
func here(l link.Link, ifindex uint32) bool {
	info, err := l.Info()
	return err == nil && info.TCX() != nil && info.TCX().Ifindex == ifindex
}

// renew has a link run a program, if it does not.
func (d *Datapath) renew(l link.Link, p *ebpf.Program) error {
	if d.runs(l, p) {
		return nil
	}
	if err := l.Update(p); err != nil {
		return fmt.Errorf("update link: %w", err)
	}
	return nil
}

// runs tells whether a link runs a program: the same instructions on the same maps of ours; the constants are the kernel's.
func (d *Datapath) runs(l link.Link, p *ebpf.Program) bool {
	linked, err := l.Info()
	if err != nil {
		return false
	}
	old, err := ebpf.NewProgramFromID(linked.Program)
	if err != nil {
		return false
	}
	defer func() { _ = old.Close() }()
	return equal(old, p)
}

func equal(a, b *ebpf.Program) bool {
	x, err := a.Info()
	if err != nil {
		return false
	}
	y, err := b.Info()
	if err != nil || x.Tag != y.Tag {
		return false
	}
	xs, _ := x.MapIDs()
	ys, _ := y.MapIDs()
	if len(xs) != len(ys) {
		return false
	}
	seen := map[ebpf.MapID]bool{}
	for _, id := range xs {
		seen[id] = true
	}
	for _, id := range ys {
		if !seen[id] {
			return false
		}
	}
	return len(xs) > 0
}

// Detach takes a pod out, whose interface may be gone.
func (d *Datapath) Detach(ifindex uint32) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range d.tcx() {
		if err := os.Remove(d.pin(ifindex, t.name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("detach interface %d: %w", ifindex, err)
		}
	}
	// Last: a program without its endpoint drops everything.
	if err := d.maps.Endpoints.Delete(ifindex); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("delete endpoint %d: %w", ifindex, err)
	}
	return nil
}

// Endpoints calls fn for each that is attached, until it gives false.
func (d *Datapath) Endpoints(fn func(Endpoint) bool) error {
	return each(d.maps.Endpoints, func(ifindex uint32, e bpf.DatapathEndpoint) (bool, error) { return fn(decodeEndpoint(ifindex, e)), nil })
}
