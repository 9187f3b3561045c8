package integration_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/source/files"
	"fairlead.io/fairlead/pkg/source/schema"
)

// meshRig is the whole line: a folder of manifests, the server, and a node's Envoy with a stub listener for each client.
// Its pods live on loopback addresses of its own, and all their HTTP servers listen on one port.
type meshRig struct {
	t     *testing.T
	dir   string
	srv   *server.Server
	envoy *envoy.Envoy
	// prefix are the first three numbers of the pods' addresses; port is that of their HTTP servers.
	prefix string
	port   uint16
	pods   map[int]*mesh.Backend
	fences int
	stubs  map[string]netip.AddrPort
}

// nets gives each rig addresses of its own within the process; the process id keeps two test binaries apart.
var nets atomic.Uint32

// meshOptions are what a test may choose.
type meshOptions struct {
	stubs    []resolve.Stub // their addresses are filled in
	named    bool           // also serve hosts by :authority
	locality model.Locality // of the node
	first    string         // manifests that are there from the start
}

func newMeshRig(t *testing.T, o meshOptions) *meshRig {
	t.Helper()
	m := newMeshServer(t, o)
	m.envoy = envoy.Start(t, envoy.Options{Config: bootstrap.Config{
		XDS: m.srv.XDS(), Region: o.locality.Region, Zone: o.locality.Zone, SubZone: o.locality.SubZone,
	}})
	t.Cleanup(m.nothingRefused)
	if err := m.envoy.WaitReady(2 * time.Minute); err != nil {
		t.Fatal(err)
	}
	for name := range m.stubs {
		if _, err := m.envoy.WaitListener(name, 60*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	m.settled()
	return m
}

// newMeshServer is a rig without Envoy.
func newMeshServer(t *testing.T, o meshOptions) *meshRig {
	t.Helper()
	n := uint32(os.Getpid())*31 + nets.Add(1)
	m := &meshRig{
		t: t, dir: t.TempDir(), pods: map[int]*mesh.Backend{}, stubs: map[string]netip.AddrPort{},
		prefix: fmt.Sprintf("127.%d.%d", 1+n/250%60, n%250),
	}
	m.pod(1) // chooses the port
	cfg := resolve.DefaultConfig()
	cfg.HostTable = o.named
	for i, s := range o.stubs {
		s.Address = m.freeAddress(200 + i)
		m.stubs[s.Name] = s.Address
		cfg.Stubs = append(cfg.Stubs, s)
	}
	if o.first != "" {
		m.write("first.yaml", m.expand(o.first))
	}
	m.serve(cfg)
	return m
}

// serve runs the server until the end of the test.
func (m *meshRig) serve(cfg resolve.Config) {
	m.t.Helper()
	var err error
	m.srv, err = server.New(server.Config{
		Mesh: cfg, XDS: "127.0.0.1:0", Admin: "127.0.0.1:0", Version: "test",
		Source: files.New(files.Config{Dir: m.dir, Schemas: schema.New()}), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.srv.Run(ctx) }()
	m.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
	})
}

// nothingRefused ends every test.
func (m *meshRig) nothingRefused() {
	if n, names, err := m.envoy.UpdateRejected(); err != nil || n != 0 {
		m.t.Errorf("envoy refused %d updates (%v, %v)", n, names, err)
		for _, c := range m.srv.Push().Clients() {
			for _, ty := range c.Types {
				if ty.LastNack != "" {
					m.t.Errorf("%s: %s", ty.Type, ty.LastNack)
				}
			}
		}
	}
}

func (m *meshRig) ip(n int) string { return m.prefix + "." + strconv.Itoa(n) }

// freeAddress is an address of this rig with a port that nobody has there.
func (m *meshRig) freeAddress(n int) netip.AddrPort {
	m.t.Helper()
	l, err := net.Listen("tcp", m.ip(n)+":0")
	if err != nil {
		m.t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// pod runs the HTTP server (HTTP/1, h2c) of a pod at ip(n), once. Its name in echoes is the number.
func (m *meshRig) pod(n int) *mesh.Backend {
	m.t.Helper()
	if u := m.pods[n]; u != nil {
		return u
	}
	l, err := net.Listen("tcp", m.ip(n)+":"+strconv.Itoa(int(m.port)))
	if err != nil {
		m.t.Fatal(err)
	}
	if m.port == 0 {
		m.port = netip.MustParseAddrPort(l.Addr().String()).Port()
	}
	u := mesh.NewHandler(strconv.Itoa(n))
	u.Address = netip.MustParseAddrPort(l.Addr().String())
	s := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-proto", r.Proto)
		u.ServeHTTP(w, r)
	})}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	m.t.Cleanup(func() { _ = s.Close(); <-done })
	m.pods[n] = u
	return u
}

// expand fills in $IP (the first three numbers of a pod's address) and $PORT.
func (m *meshRig) expand(yaml string) string {
	return strings.NewReplacer("$IP", m.prefix, "$PORT", strconv.Itoa(int(m.port))).Replace(yaml)
}

func (m *meshRig) write(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.WriteFile(path+"~", []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		m.t.Fatal(err)
	}
}

// apply writes a manifest file and waits until Envoy has acknowledged what comes of it. What the file holds beside the
// test's objects, a Service whose port counts up, tells when it has been read.
func (m *meshRig) apply(name, yaml string) {
	m.t.Helper()
	m.fences++
	port := strconv.Itoa(20000 + m.fences)
	m.write(name+".yaml", m.expand(yaml)+"\n---\napiVersion: v1\nkind: Service\nmetadata: {name: "+name+", namespace: fence}\n"+
		"spec: {clusterIP: None, ports: [{name: tcp, port: "+port+"}]}\n")
	fence := snapshot.Key{Type: xds.ClusterType, Name: "svc/fence/" + name + ".fence.svc.cluster.local/" + port}
	until(m.t, "the server reads "+name, func() error {
		if s := m.srv.Flow().Source.Latest(); s == nil || s.Get(fence) == nil {
			return fmt.Errorf("no %s; problems: %+v", fence.Name, m.srv.Status().Problems)
		}
		return nil
	})
	m.settled()
}

func (m *meshRig) settled() {
	m.t.Helper()
	within(m.t, 2*time.Minute, "the client acknowledges", func() error {
		latest := m.srv.Flow().Source.Latest()
		clients := m.srv.Push().Clients()
		if len(clients) != 1 || latest == nil || clients[0].Settled != latest.Seq() {
			return fmt.Errorf("%+v, the server is at %v", clients, latest)
		}
		return nil
	})
}

// within is until with a deadline of its own, for what takes long on a busy machine.
func within(t *testing.T, d time.Duration, what string, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(d)
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// conditions are the texts of the conditions of one object, false ones and warnings.
func (m *meshRig) conditions(kind, key string) []string {
	var out []string
	m.srv.Flow().EachStatus(func(s *model.ObjectStatus) {
		if s.Ref.Kind != kind || s.Ref.Key() != key {
			return
		}
		for _, c := range s.Conditions {
			if !c.Status || c.Warning {
				out = append(out, c.Path+": "+c.Reason+": "+c.Message)
			}
		}
	})
	return out
}

// accepted fails the test when an object of the rig has a false condition that no test asked for.
func (m *meshRig) accepted(except ...string) {
	m.t.Helper()
	m.srv.Flow().EachStatus(func(s *model.ObjectStatus) {
		for _, c := range s.Conditions {
			if !c.Status && !slices.Contains(except, s.Ref.String()) {
				m.t.Errorf("%s: %s is false at %s: %s", s.Ref, c.Type, c.Path, c.Message)
			}
		}
	})
}

// dialer reaches an original destination ("10.96.0.1:80") through a stub, by a PROXY header; an empty one connects to the
// stub alone. From is the client's address, "" for 127.0.0.1.
type dialer struct {
	stub      netip.AddrPort
	to, from  string
	mu        sync.Mutex
	connected int
}

func (d *dialer) DialContext(ctx context.Context, _, _ string) (net.Conn, error) {
	var nd net.Dialer
	c, err := nd.DialContext(ctx, "tcp", d.stub.String())
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.connected++
	d.mu.Unlock()
	if d.to == "" {
		return c, nil
	}
	to, from := netip.MustParseAddrPort(d.to), "127.0.0.1"
	if d.from != "" {
		from = d.from
	}
	family := "TCP4"
	if to.Addr().Is6() {
		family, from = "TCP6", "::1"
	}
	if _, err := fmt.Fprintf(c, "PROXY %s %s %s 40000 %d\r\n", family, from, to.Addr(), to.Port()); err != nil {
		return nil, err
	}
	return c, nil
}

// dial connects to a VIP through a stub.
func (m *meshRig) dial(stub, to string) (net.Conn, error) {
	d := &dialer{stub: m.stub(stub), to: to}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := d.DialContext(ctx, "", "")
	if err == nil {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	}
	return c, err
}

func (m *meshRig) stub(name string) netip.AddrPort {
	a, ok := m.stubs[name]
	if !ok {
		m.t.Fatalf("no stub %q", name)
	}
	return a
}
