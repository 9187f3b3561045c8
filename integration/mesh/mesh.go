// Package mesh runs a whole Fairlead in a test: a folder of manifests (or another source), the server of pkg/server with its
// default wiring, and real Envoys that are subscribed to it; beside them, backends that tell what they saw.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {Envoy, shim} → ACK/NACK
//
// Nothing of the line is replaced. Each Mesh has a loopback address of its own, so that the ports of manifests are fixed and
// many tests may run at once.
package mesh

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/report"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	"fairlead.io/fairlead/pkg/source/files"
	"fairlead.io/fairlead/pkg/source/schema"
)

// Patience is how long a test waits for what must come; a busy machine needs most of it, an idle one milliseconds.
const Patience = 40 * time.Second

// Options are what a test may choose. The zero value is an empty folder and one Envoy.
type Options struct {
	// Manifests are applied before the start, as "start.yaml"; see Apply.
	Manifests string
	// Config edits the configuration of the mesh.
	Config func(*resolve.Config)
	// Source replaces the folder.
	Source server.Source
	// Conditions are where conditions are written; nil with a folder.
	Conditions *server.Conditions
	// Nodes is the number of Envoys; default 1.
	Nodes int
	// MayReject leaves out the check at the end that no Envoy has refused an update.
	MayReject bool
}

// Mesh is a running server with its Envoys.
type Mesh struct {
	// Address is where gateways listen; no other test has it.
	Address netip.Addr
	// Stub is where mesh clients of namespace default, labelled app=client, enter.
	Stub netip.AddrPort
	// Envoys are the nodes, node-0 first.
	Envoys []*envoy.Envoy
	// Server is what they are subscribed to.
	Server *server.Server

	t   testing.TB
	dir string
	run string
	log *syncBuffer
}

// Start runs a mesh until the end of t. It returns when the server is ready and every Envoy is live.
func Start(t testing.TB, o Options) *Mesh {
	t.Helper()
	m := &Mesh{t: t, Address: ownAddress(), dir: t.TempDir(), log: &syncBuffer{}}
	var err error
	// Not t.TempDir: its long names do not fit into a Unix socket's 107 bytes.
	if m.run, err = os.MkdirTemp("", "mesh-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(m.run) })
	m.Stub = netip.AddrPortFrom(m.Address, 15001)
	if o.Manifests != "" {
		m.Apply("start", o.Manifests)
	}
	m.serve(o)
	for i := range max(o.Nodes, 1) {
		m.addNode("node-"+strconv.Itoa(i), o)
	}
	for _, e := range m.Envoys {
		if err := e.WaitReady(Patience); err != nil {
			t.Fatal(err)
		}
	}
	Eventually(t, m.settled)
	return m
}

// settled tells which node has not acknowledged all of the newest snapshot. Being live is less: route tables of hosts may
// still come.
func (m *Mesh) settled() error {
	clients := m.Server.Push().Clients()
	if len(clients) < len(m.Envoys) {
		return fmt.Errorf("%d of %d nodes are connected", len(clients), len(m.Envoys))
	}
	for _, c := range clients {
		if c.Settled < c.Latest {
			return fmt.Errorf("%s is through with snapshot %d of %d", c.Node.ID, c.Settled, c.Latest)
		}
		for _, typ := range c.Types {
			if typ.InFlight || typ.Pending > 0 {
				return fmt.Errorf("%s has not acknowledged all of %s", c.Node.ID, typ.Type)
			}
		}
	}
	return nil
}

// ownAddress is a loopback address that nobody else is likely to have: of 127.64.0.0/10, four million.
func ownAddress() netip.Addr {
	n := rand.Uint32N(1 << 22)
	return netip.AddrFrom4([4]byte{127, byte(64 + n>>16), byte(n >> 8), byte(n)})
}

func (m *Mesh) serve(o Options) {
	m.t.Helper()
	cfg := resolve.DefaultConfig()
	cfg.GatewayAddress = m.Address
	cfg.HostTable = true
	cfg.Stubs = []resolve.Stub{{Name: "stub/default", Address: m.Stub, Namespace: "default", ServiceAccount: "client", Labels: map[string]string{"app": "client"}}}
	if o.Config != nil {
		o.Config(&cfg)
	}
	log := slog.New(slog.NewTextHandler(m.log, nil))
	if o.Source == nil {
		o.Source = files.New(files.Config{Dir: m.dir, Schemas: schema.New(), Log: log})
	}
	s, err := server.New(server.Config{
		Mesh: cfg, Source: o.Source, XDS: "unix:" + filepath.Join(m.run, "xds"), Admin: "unix:" + filepath.Join(m.run, "admin"),
		Conditions: o.Conditions, Version: "test", Why: true, Log: log,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.Server = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	m.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
		if m.t.Failed() {
			m.t.Logf("log of the server:\n%s", m.log.String())
		}
	})
}

func (m *Mesh) addNode(id string, o Options) {
	m.t.Helper()
	e := envoy.Start(m.t, envoy.Options{Config: bootstrap.Config{NodeID: id, XDS: m.Server.XDS()}})
	m.Envoys = append(m.Envoys, e)
	if o.MayReject {
		return
	}
	m.t.Cleanup(func() {
		switch n, names, err := e.UpdateRejected(); {
		case err != nil:
			m.t.Error(err)
		case n > 0:
			m.t.Errorf("%s refused %d updates: %s; rejections: %v", id, n, names, m.Rejections())
		}
	})
}

// Apply writes manifests as one file of the folder, in the way that editors do: a rename over the former file. What is
// between double braces is replaced: {{address}} by Address.
func (m *Mesh) Apply(name, manifests string) {
	m.t.Helper()
	manifests = strings.ReplaceAll(manifests, "{{address}}", m.Address.String())
	path := filepath.Join(m.dir, name+".yaml")
	if err := os.WriteFile(path+".new", []byte(manifests), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		m.t.Fatal(err)
	}
}

// Delete removes a file that Apply wrote.
func (m *Mesh) Delete(name string) {
	m.t.Helper()
	if err := os.Remove(filepath.Join(m.dir, name+".yaml")); err != nil {
		m.t.Fatal(err)
	}
}

// Status is what the author of an object is told; ok is false while the server does not know the object.
func (m *Mesh) Status(kind, namespace, name string) (o report.Object, ok bool) {
	for _, o := range m.Server.Status().Objects {
		if o.Kind == kind && o.Namespace == namespace && o.Name == name {
			return o, true
		}
	}
	return report.Object{}, false
}

// WaitFinding waits until the author of an object (or of a file that holds none) is told something that contains text, or that is about a
// field of that name. The
// object is "Kind namespace/name", or empty for a problem of a file.
func (m *Mesh) WaitFinding(t testing.TB, object, text string) report.Finding {
	t.Helper()
	var found report.Finding
	Eventually(t, func() error {
		page := m.Server.Status()
		findings := page.Findings()
		for _, f := range findings {
			if (object == "" || f.Object.String() == object) && strings.Contains(f.Path+": "+f.Message, text) {
				found = f
				return nil
			}
		}
		return fmt.Errorf("%s is not told %q; findings: %+v", object, text, findings)
	})
	return found
}

// WaitNoFinding waits until nothing bad is said about an object.
func (m *Mesh) WaitNoFinding(t testing.TB, object string) {
	t.Helper()
	Eventually(t, func() error {
		page := m.Server.Status()
		for _, f := range page.Findings() {
			if f.Object.String() == object {
				return fmt.Errorf("%s is still told: %+v", object, f)
			}
		}
		return nil
	})
}

// Rejections lists the refusals of Envoys that stand, one a line.
func (m *Mesh) Rejections() []string {
	var out []string
	for _, o := range m.Server.Status().Objects {
		if o.Programmed == nil {
			continue
		}
		for _, r := range o.Programmed.Rejected {
			out = append(out, o.Ref.String()+": "+r.Type+" "+r.Resource+": "+r.Message)
		}
	}
	return out
}

// Eventually polls until check gives nil, and fails t with its last error when Patience is over.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v still: %v", Patience, err)
		}
		<-tick.C
	}
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
