package integration_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	xds "github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	"fairlead.io/fairlead/pkg/source"
)

// maxEnvoy500 is what a node's Envoy may hold resident with 500 services of ten endpoints in its scope, in bytes.
const maxEnvoy500 = 200 << 20

// TestEnvoyMemory holds the promise. docs/envoy-memory.md has the figures and where they come from.
func TestEnvoyMemory(t *testing.T) {
	m := measureEnvoy(t, 500)
	if m.resident > maxEnvoy500 {
		t.Errorf("Envoy holds %d MB with 500 services, at most %d MB are promised", m.resident>>20, maxEnvoy500>>20)
	}
}

// TestStatsThatStay looks what a node still counts: the bootstrap leaves out what nobody can use.
func TestStatsThatStay(t *testing.T) {
	srv := serveObjects(t, syntheticServices(1))
	e := envoy.Start(t, envoy.Options{Config: bootstrap.Config{XDS: srv.XDS()}})
	eventually(t, func() error { return warm(srv, e, 1) })
	stats, err := e.Stats("")
	if err != nil {
		t.Fatal(err)
	}
	const host = "svc/team-0/service-0.team-0.svc.cluster.local/80."
	for name, stays := range map[string]bool{
		"cluster." + host + "membership_healthy":               true,
		"cluster." + host + "circuit_breakers.default.rq_open": true,
		"cluster." + host + "update_rejected":                  true,
		"http.outbound.rds." + host + "update_rejected":        true,
		"cluster_manager.cds.update_success":                   true,
		"listener_manager.lds.update_success":                  true,
		"cluster." + host + "update_success":                   false,
		"http.outbound.rds." + host + "update_success":         false,
		"cluster." + host + "lb_subsets_active":                false,
		"cluster." + host + "circuit_breakers.high.rq_open":    false,
	} {
		if _, ok := stats[name]; ok != stays {
			t.Errorf("%s is there: %v, want %v", name, ok, stays)
		}
	}
}

// BenchmarkEnvoyMemory is the price of a whole large mesh on one node: why nodes have a scope.
func BenchmarkEnvoyMemory(b *testing.B) {
	m := measureEnvoy(b, 5000)
	for b.Loop() { //nolint:revive // what is measured does not depend on how often one looks
	}
	b.ReportMetric(float64(m.resident)/(1<<20), "resident-MB")
	b.ReportMetric(float64(m.allocated)/(1<<20), "allocated-MB")
}

// envoyMemory is what an Envoy holds, in bytes: of the kernel (VmRSS), and of its allocator that is in use.
type envoyMemory struct{ resident, allocated uint64 }

// measureEnvoy starts the whole line with n services and one Envoy, and looks when all is warm.
func measureEnvoy(t testing.TB, n int) envoyMemory {
	t.Helper()
	srv := serveObjects(t, syntheticServices(n))
	e := envoy.Start(t, envoy.Options{Config: bootstrap.Config{XDS: srv.XDS()}})
	if err := e.WaitReady(2 * time.Minute); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error { return warm(srv, e, n) })
	m := memoryOf(t, e)
	t.Logf("%d services of 10 endpoints: %.1f MB resident, %.1f MB allocated", n, float64(m.resident)/(1<<20), float64(m.allocated)/(1<<20))
	return m
}

// warm tells what is missing until Envoy has acknowledged everything, n clusters are active and none is warming.
func warm(srv *server.Server, e *envoy.Envoy, n int) error {
	latest, clients := srv.Flow().Source.Latest(), srv.Push().Clients()
	if latest == nil || len(clients) != 1 || clients[0].Settled != latest.Seq() {
		return fmt.Errorf("%d clients, the server is at %v", len(clients), latest)
	}
	if err := routesThere(clients[0], n); err != nil {
		return err
	}
	stats, err := e.Stats(`^cluster_manager\.(active|warming)_clusters$`)
	if err != nil {
		return err
	}
	if stats["cluster_manager.warming_clusters"] > 0 || stats["cluster_manager.active_clusters"] < int64(n) {
		return fmt.Errorf("%v, want %d active", stats, n)
	}
	return nil
}

// routesThere tells what is missing until the client has acknowledged n route tables.
func routesThere(c push.ClientInfo, n int) error {
	tables, refused := 0, ""
	for _, typ := range c.Types {
		if typ.InFlight || typ.Pending > 0 {
			return fmt.Errorf("%s is in flight", typ.Type)
		}
		if refused += typ.LastNack; typ.Type == xds.RouteType {
			tables = typ.Resources
		}
	}
	if tables < n {
		return fmt.Errorf("%d of %d route tables; refusal: %q", tables, n, refused)
	}
	return nil
}

func memoryOf(t testing.TB, e *envoy.Envoy) envoyMemory {
	t.Helper()
	body, err := e.AdminGet("/memory")
	if err != nil {
		t.Fatal(err)
	}
	var page struct{ Allocated string }
	if err := json.Unmarshal(body, &page); err != nil {
		t.Fatal(err)
	}
	var m envoyMemory
	if m.allocated, err = strconv.ParseUint(page.Allocated, 10, 64); err != nil {
		t.Fatal(err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.Pid()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			if m.resident, err = strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kb), "kB")), 10, 64); err != nil {
				t.Fatal(err)
			}
			m.resident <<= 10
		}
	}
	if m.resident == 0 {
		t.Fatal("no VmRSS in /proc/PID/status")
	}
	return m
}

// objects is a source that knows everything from the start.
type objects []source.Update

func (o objects) Run(ctx context.Context, sink source.Sink) error {
	sink.Apply(o, source.Position{Seen: 1, Complete: 1})
	sink.Synced()
	<-ctx.Done()
	return nil
}

// serveObjects runs a server with one stub listener until the end of the test.
func serveObjects(t testing.TB, o objects) *server.Server {
	t.Helper()
	cfg := resolve.DefaultConfig()
	stub := webStub
	stub.Address = freePort(t)
	cfg.Stubs = []resolve.Stub{stub}
	dir, err := os.MkdirTemp("", "memory-") // t.TempDir is too long for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	srv, err := server.New(server.Config{
		Mesh: cfg, Source: o, XDS: "unix:" + filepath.Join(dir, "xds"), Admin: "unix:" + filepath.Join(dir, "admin"),
		Version: "test", Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return srv
}

// freePort is a loopback port that nobody has; the stub's own chain in the outbound listener needs its number.
func freePort(t testing.TB) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return netip.MustParseAddrPort(l.Addr().String())
}

// syntheticServices are n Services with an HTTP port and ten endpoints each, in namespaces of fifty.
func syntheticServices(n int) objects {
	var out objects
	add := func(kind, group, ns, name string, fill func(model.Meta) any) {
		ref := model.Ref{Group: group, Kind: kind, Namespace: ns, Name: name}
		out = append(out, source.Update{Ref: ref, Object: fill(model.Meta{Ref: ref, UID: kind + name, Generation: 1, ResourceVersion: "1"})})
	}
	for i := range n {
		ns, name := fmt.Sprintf("team-%d", i/50), fmt.Sprintf("service-%d", i)
		add("Service", "", ns, name, func(m model.Meta) any {
			return &model.Service{
				Meta: m, Type: "ClusterIP", Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 97, byte(i / 250), byte(1 + i%250)})},
				Selector: map[string]string{"app": name}, Ports: []model.ServicePort{{Name: "http", Number: 80, Protocol: "TCP", Target: "8080"}},
			}
		})
		add("EndpointSlice", "discovery.k8s.io", ns, name+"-1", func(m model.Meta) any {
			s := &model.EndpointSlice{Meta: m, Service: name, Ports: []model.EndpointPort{{Name: "http", Number: 8080, Protocol: "TCP"}}}
			for k := range 10 {
				s.Endpoints = append(s.Endpoints, model.Endpoint{
					Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, byte(16 + i/2500), byte(i / 10 % 250), byte(1 + i%10*10 + k)})},
					Ready:     true, Serving: true, Node: fmt.Sprintf("node-%d", k),
				})
			}
			return s
		})
	}
	return out
}

// eventually polls for up to a minute, and fails with what the condition said last.
func eventually(t testing.TB, fn func() error) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := fn()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-tick.C
	}
}
