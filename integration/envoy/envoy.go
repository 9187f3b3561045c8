// Package envoy runs the pinned Envoy for tests, with the bootstrap that fairlead's nodes use, and asks its admin interface.
//
// It is the {Envoy} end of the line source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} →
// ACK/NACK: what a test sees here is what a node would have done.
package envoy

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"fairlead.io/fairlead/integration/process"
	"fairlead.io/fairlead/pkg/bootstrap"
)

// Version is the Envoy that hack/tools/versions.sh pins.
const Version = bootstrap.EnvoyVersion

// startTimeout is how long an Envoy may take until its admin interface answers: 0.1 s alone, much more on a busy machine.
const startTimeout = 30 * time.Second

// Options are what a test may choose. The zero value with an XDS address is a working Envoy.
type Options struct {
	bootstrap.Config          // XDS is required; NodeID defaults to "test-node", Admin to a random loopback port
	LogLevel         string   // Envoy's --log-level; default "warning"
	Args             []string // more command-line arguments
}

// Envoy is one Envoy process, with a folder of its own for bootstrap and log.
type Envoy struct {
	path    string
	dir     string
	args    []string
	admin   *admin
	process *process.Process
}

// Find returns the path of the pinned Envoy in the cache, else of an envoy in PATH; the error says how to install it.
func Find() (string, error) { return process.Find("envoy-"+Version, "envoy") }

// Start runs an Envoy until the end of t and waits until its admin interface answers. When t fails, its log is shown.
func Start(t testing.TB, o Options) *Envoy {
	t.Helper()
	e, err := Run(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of envoy %s:\n%s", e.dir, e.Log())
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// Run is Start for a TestMain, where one Envoy serves a whole package; the caller closes it.
func Run(o Options) (*Envoy, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	// Not t.TempDir: its long names do not fit into a Unix socket's 107 bytes.
	dir, err := os.MkdirTemp("", "envoy-")
	if err != nil {
		return nil, fmt.Errorf("start envoy: %w", err)
	}
	e := &Envoy{path: path, dir: dir, admin: newAdmin()}
	if err := e.configure(o); err != nil {
		return nil, cleanUp(err, dir)
	}
	if err := e.start(); err != nil {
		return nil, cleanUp(err, dir)
	}
	return e, nil
}

func cleanUp(err error, dir string) error {
	if rm := os.RemoveAll(dir); rm != nil {
		return fmt.Errorf("%w (and remove %s: %w)", err, dir, rm)
	}
	return err
}

func (e *Envoy) configure(o Options) error {
	if o.NodeID == "" {
		o.NodeID = "test-node"
	}
	if o.Admin == "" {
		o.Admin = "127.0.0.1:0"
	}
	if o.LogLevel == "" {
		o.LogLevel = "warning"
	}
	data, err := bootstrap.Bootstrap(o.Config)
	if err != nil {
		return err
	}
	file := filepath.Join(e.dir, "bootstrap.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return fmt.Errorf("start envoy: %w", err)
	}
	e.args = append([]string{
		"-c", file, "--admin-address-path", e.adminFile(), "--log-level", o.LogLevel,
		"--disable-hot-restart", // tests run many Envoys at once; hot restart's shared memory would join them
		"--concurrency", "1",
	}, o.Args...)
	return nil
}

func (e *Envoy) adminFile() string { return filepath.Join(e.dir, "admin-address") }

func (e *Envoy) start() error {
	if err := os.Remove(e.adminFile()); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("start envoy: %w", err)
	}
	p, err := process.Start("envoy", e.dir, e.path, e.args...)
	if err != nil {
		return err
	}
	e.process = p
	err = p.Wait(startTimeout, func() error {
		// Envoy writes the address that it really got, so port 0 needs no guess.
		address, err := os.ReadFile(e.adminFile())
		if err != nil {
			return err
		}
		e.admin.setAddress(string(address))
		_, err = e.AdminGet("/server_info")
		return err
	})
	if err != nil {
		if kill := p.Stop(0); kill != nil {
			return fmt.Errorf("%w (and %w)", err, kill)
		}
	}
	return err
}

// Pid is Envoy's process id; a restart changes it.
func (e *Envoy) Pid() int { return e.process.Pid() }

// Log returns the end of what Envoy wrote, restarts included.
func (e *Envoy) Log() string { return e.process.Log(64 << 10) }

// Stop ends the process and keeps its folder: Restart starts it again.
func (e *Envoy) Stop() error {
	e.admin.client.CloseIdleConnections()
	return e.process.Stop(5 * time.Second)
}

// Restart stops Envoy and starts a fresh one with the same bootstrap; with a random admin port, that one changes.
func (e *Envoy) Restart() error {
	if err := e.Stop(); err != nil {
		return err
	}
	return e.start()
}

// Close stops Envoy and removes its folder.
func (e *Envoy) Close() error {
	if err := e.Stop(); err != nil {
		return err
	}
	return os.RemoveAll(e.dir)
}

// WaitReady waits until Envoy is LIVE: every listener and cluster of the first answers has been warmed.
func (e *Envoy) WaitReady(timeout time.Duration) error {
	return e.process.Wait(timeout, func() error {
		_, err := e.AdminGet("/ready")
		return err
	})
}

// WaitListener waits until a listener has the name and listens, and returns its address; see ListenerAddr.
func (e *Envoy) WaitListener(name string, timeout time.Duration) (string, error) {
	var address string
	err := e.process.Wait(timeout, func() (err error) {
		address, err = e.ListenerAddr(name)
		return err
	})
	return address, err
}
