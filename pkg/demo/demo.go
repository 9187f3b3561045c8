package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/process"
)

// Control is the running server, as far as the demo asks it.
type Control interface {
	// XDS is where it serves delta ADS.
	XDS() string
	// Seq numbers the latest snapshot; Acked tells that every node has taken all that the object has a part in.
	Seq() uint64
	Acked(model.Ref) bool
	// Problems are the faults that it finds in the manifests.
	Problems() []string
}

// Start runs a server on a folder of manifests until ctx ends, with the outbound listener on a port of loopback and the
// admin interface on a Unix socket. done gives its end.
type Start func(ctx context.Context, dir string, outbound int, admin string) (c Control, done <-chan error, err error)

// Config is what the demo needs.
type Config struct {
	// Envoy is the path of the binary; Manifests holds the folder "manifests".
	Envoy     string
	Manifests fs.FS
	Start     Start
	// Progress takes a line for each step.
	Progress io.Writer
	// Edits is how many times each of the two manifests is edited under load.
	Edits int
}

// Result is what was seen.
type Result struct {
	Rows  []Row  `json:"rows"`
	Edits []Edit `json:"edits"`
}

// Failed tells whether something was not as expected.
func (r *Result) Failed() bool {
	for _, row := range r.Rows {
		if !row.Pass {
			return true
		}
	}
	for _, e := range r.Edits {
		if !e.Pass {
			return true
		}
	}
	return false
}

// Where tells a person what runs, after Run with keep.
type Where struct {
	Dir, Manifests, Admin, EnvoyAdmin string
	Web, Edge, Outbound               int
}

// demo is one run.
type demo struct {
	cfg      Config
	start    time.Time
	dir      string // everything that the run makes is in it
	backends *backends
	ports    map[int]int // a port of the manifests to the real one
	outbound int
	control  Control
	done     <-chan error // the server's end
	envoy    *process.Process
	client   *client
}

// Run shows everything once. keep, when set, is called at the end while everything still runs.
func Run(ctx context.Context, cfg Config, keep func(*Result, Where) error) (result *Result, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &demo{cfg: cfg, start: time.Now(), ports: map[int]int{}, client: newClient()}
	defer d.client.close()
	if d.dir, err = os.MkdirTemp("", "fairlead-demo-"); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	defer os.RemoveAll(d.dir)
	if d.backends, err = startBackends(); err != nil {
		return nil, err
	}
	defer d.backends.stop()
	// The server goes down before the Envoy: an Envoy is expected to outlive it.
	defer func() { err = errors.Join(err, d.stop(cancel)) }()
	if err := d.up(ctx); err != nil {
		return nil, err
	}
	result = &Result{}
	if result.Rows, err = d.tryAll(ctx); err != nil {
		return nil, err
	}
	if result.Edits, err = d.editAll(ctx); err != nil {
		return nil, err
	}
	if keep != nil {
		return result, keep(result, d.where())
	}
	return result, nil
}

func (d *demo) progress(format string, args ...any) {
	fmt.Fprintf(d.cfg.Progress, "%6.1f s  %s\n", time.Since(d.start).Seconds(), fmt.Sprintf(format, args...))
}

// up starts the server on the manifests, and an Envoy on the server.
func (d *demo) up(ctx context.Context) error {
	n, err := d.write()
	if err != nil {
		return err
	}
	d.progress("%d backends listen on 127.0.0.1; %d manifests are in %s", len(d.backends.byPort), n, d.manifests())
	if d.control, d.done, err = d.cfg.Start(ctx, d.manifests(), d.outbound, "unix:"+d.adminSocket()); err != nil {
		return err
	}
	d.progress("the server serves delta ADS on %s", d.control.XDS())
	if err := d.startEnvoy(ctx); err != nil {
		return err
	}
	d.progress("Envoy (pid %d) has taken everything and is live", d.envoy.Pid())
	if p := d.control.Problems(); len(p) > 0 {
		return fmt.Errorf("the demo's own manifests are wrong:\n  %s", strings.Join(p, "\n  "))
	}
	return nil
}

func (d *demo) manifests() string   { return filepath.Join(d.dir, "manifests") }
func (d *demo) adminSocket() string { return filepath.Join(d.dir, "admin.sock") }

func (d *demo) where() Where {
	return Where{
		Dir: d.dir, Manifests: d.manifests(), Admin: "unix:" + d.adminSocket(), EnvoyAdmin: d.envoyAdmin(),
		Web: d.ports[18080], Edge: d.ports[18081], Outbound: d.outbound,
	}
}

// write copies the manifests with the real ports filled in, and returns how many there are.
func (d *demo) write() (int, error) {
	for port, b := range d.backends.byPort {
		d.ports[port] = b.port
	}
	free, err := freePorts(3)
	if err != nil {
		return 0, err
	}
	d.ports[18080], d.ports[18081], d.outbound = free[0], free[1], free[2]
	if err := os.Mkdir(d.manifests(), 0o755); err != nil {
		return 0, fmt.Errorf("write manifests: %w", err)
	}
	files, err := fs.Glob(d.cfg.Manifests, "manifests/*.yaml")
	if err != nil {
		return 0, fmt.Errorf("read manifests: %w", err)
	}
	for _, file := range files {
		text, err := fs.ReadFile(d.cfg.Manifests, file)
		if err != nil {
			return 0, fmt.Errorf("read manifests: %w", err)
		}
		if err := d.put(filepath.Base(file), string(text)); err != nil {
			return 0, err
		}
	}
	return len(files), nil
}

// put writes one manifest as an author should: whole, by rename.
func (d *demo) put(name, text string) error {
	var pairs []string
	for from, to := range d.ports {
		pairs = append(pairs, strconv.Itoa(from), strconv.Itoa(to))
	}
	text = strings.NewReplacer(pairs...).Replace(text)
	temporary := filepath.Join(d.dir, name)
	if err := os.WriteFile(temporary, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	if err := os.Rename(temporary, filepath.Join(d.manifests(), name)); err != nil {
		return fmt.Errorf("write manifest: %w", err)
	}
	return nil
}

// freePorts asks the kernel for loopback ports that nobody uses; all are held until the last is known.
func freePorts(n int) ([]int, error) {
	var out []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find free port: %w", err)
		}
		defer l.Close()
		out = append(out, l.Addr().(*net.TCPAddr).Port)
	}
	return out, nil
}

// tryAll makes the table.
func (d *demo) tryAll(ctx context.Context) ([]Row, error) {
	var rows []Row
	for _, s := range d.shows() {
		d.progress("%s", s.what)
		seen, pass, err := s.try(ctx)
		if ctx.Err() != nil {
			return nil, errors.New("interrupted")
		}
		if err != nil {
			seen, pass = err.Error(), false
		}
		rows = append(rows, Row{What: s.what, Request: s.request, Expected: s.expected, Seen: seen, Pass: pass})
	}
	return rows, nil
}

// stop ends the server, then the Envoy.
func (d *demo) stop(cancel context.CancelFunc) error {
	cancel()
	var err error
	if d.done != nil {
		err = <-d.done
	}
	if d.envoy != nil {
		err = errors.Join(err, d.envoy.Stop(2*time.Second))
	}
	return err
}
