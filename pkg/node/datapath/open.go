package datapath

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"fairlead.io/fairlead/bpf"
)

// layout is counted up when a map's bytes mean something else though its sizes are the same.
const layout = 1

// Open loads the programs and makes the maps, or adopts what is pinned. Of programs that are older or newer than this binary's,
// those of Attach and AttachHost take the place, link by link.
func Open(c Config) (*Datapath, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	d := &Datapath{dir: c.Dir, priority: cmp.Or(c.Priority, DefaultPriority), log: c.Log}
	if err := prepare(d.links()); err != nil {
		return nil, err
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		c.Log.Debug("The limit of locked memory stays.", "error", err) // kernels after 5.11 do not count so
	}
	spec, err := bpf.LoadDatapath()
	if err != nil {
		return nil, fmt.Errorf("read programs: %w", err)
	}
	shape(spec, c.Sizes)
	dir, before, err := d.pinMaps(spec)
	if err != nil {
		return nil, err
	}
	if err := d.load(spec, dir); err != nil {
		return nil, err
	}
	for _, e := range before {
		if err = d.PutEndpoint(e); err != nil {
			_ = d.Close()
			return nil, err
		}
	}
	hz, err := ticks()
	if err == nil {
		d.adopted, err = d.enforces()
	}
	if err == nil {
		err = d.setState(func(s *bpf.DatapathState) {
			s.Epoch++
			s.Hz = hz
			if s.Flags = 0; c.Audit {
				s.Flags = 1
			}
		})
	}
	if err != nil {
		_ = d.Close()
		return nil, err
	}
	return d, nil
}

// shape leaves in a spec what is loaded, with the sizes wanted.
func shape(spec *ebpf.CollectionSpec, sizes Sizes) {
	// It only names types for Go.
	delete(spec.Maps, ".bss")
	clear(spec.Variables)
	for name, n := range sizes.byMap() {
		spec.Maps[name].MaxEntries = n
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinByName
	}
}

// generation names maps that are of one layout.
func generation(spec *ebpf.CollectionSpec) string {
	var lines []string
	for name, m := range spec.Maps {
		lines = append(lines, fmt.Sprint(name, m.Type, m.KeySize, m.ValueSize, m.MaxEntries, m.Flags))
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(strings.Join(lines, "\n")))
	return fmt.Sprintf("maps-%d-%s", layout, hex.EncodeToString(sum[:6]))
}

// pinMaps gives the directory of the maps, and takes those of other layouts away, which live on in the links that use them. It gives
// the endpoints that they have: those of new maps must be whole before any pod has its programs replaced.
func (d *Datapath) pinMaps(spec *ebpf.CollectionSpec) (dir string, before []Endpoint, err error) {
	name := generation(spec)
	rows, err := os.ReadDir(d.dir)
	if err != nil {
		return "", nil, fmt.Errorf("list %s: %w", d.dir, err)
	}
	for _, r := range rows {
		if !strings.HasPrefix(r.Name(), "maps-") || r.Name() == name {
			continue
		}
		d.log.Info("The maps have another layout: they are made anew.", "old", r.Name(), "new", name)
		old := filepath.Join(d.dir, r.Name())
		found, err := endpointsOf(old)
		if err != nil {
			d.log.Warn("What pods were attached cannot be read.", "error", err)
		}
		before = append(before, found...)
		if err := os.RemoveAll(old); err != nil {
			return "", nil, fmt.Errorf("unpin old maps: %w", err)
		}
	}
	dir = filepath.Join(d.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("make directory of maps: %w", err)
	}
	return dir, before, nil
}

// endpointsOf reads those of maps that this binary may not use otherwise.
func endpointsOf(dir string) (out []Endpoint, err error) {
	m, err := ebpf.LoadPinnedMap(filepath.Join(dir, bpf.DatapathMapEndpoints), nil)
	if err != nil {
		return nil, fmt.Errorf("load pinned map: %w", err)
	}
	defer func() { _ = m.Close() }()
	if !strings.HasPrefix(filepath.Base(dir), fmt.Sprintf("maps-%d-", layout)) || int(m.ValueSize()) != binary.Size(bpf.DatapathEndpoint{}) {
		return nil, errors.New("read endpoints: they have another layout")
	}
	err = each(m, func(ifindex uint32, e bpf.DatapathEndpoint) (bool, error) {
		out = append(out, decodeEndpoint(ifindex, e))
		return true, nil
	})
	return out, err
}

func (d *Datapath) load(spec *ebpf.CollectionSpec, dir string) error {
	// LoadAndAssign wants what the spec no longer has; the parts are assigned by themselves.
	var o struct {
		bpf.DatapathMaps
		bpf.DatapathPrograms
	}
	if err := spec.LoadAndAssign(&o, &ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: dir}}); err != nil {
		var verifier *ebpf.VerifierError
		if errors.As(err, &verifier) {
			d.log.Debug("The kernel refuses a program.", "log", fmt.Sprintf("%+v", verifier))
		}
		if lacks := Probe(); lacks != nil {
			return lacks
		}
		return fmt.Errorf("load programs: %w", err)
	}
	d.maps, d.programs = &o.DatapathMaps, &o.DatapathPrograms
	return nil
}

// prepare makes the directories, in a bpffs.
func prepare(links string) error {
	if err := os.MkdirAll(links, 0o700); err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	return inBPFFS(links)
}

func inBPFFS(dir string) error {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return fmt.Errorf("look at %s: %w", dir, err)
	}
	if s.Type != unix.BPF_FS_MAGIC {
		return fmt.Errorf("%s is %w: run mount -t bpf bpf <directory>", dir, ErrBPFFS)
	}
	return nil
}

// Uninstall removes every trace: links, programs, maps and the directory.
func Uninstall(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := inBPFFS(dir); err != nil {
		return err
	}
	// Links first: a program without its maps would drop.
	for _, part := range []string{filepath.Join(dir, "links"), dir} {
		if err := os.RemoveAll(part); err != nil {
			return fmt.Errorf("uninstall: %w", err)
		}
	}
	return nil
}
