// Package grpcclient runs a Fairlead and gRPC's own xDS client against it, without any Envoy between: the client resolves,
// routes and balances by itself, as a proxyless program in the mesh does.
//
//	source → table → resolve → {translate, verdict} → snapshot → push → {gRPC client} → ACK/NACK
package grpcclient

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/xds"

	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/server"
	"fairlead.io/fairlead/pkg/source/files"
	"fairlead.io/fairlead/pkg/source/schema"
)

// Mesh is a folder of manifests and the server that serves it, which may be stopped and started again.
type Mesh struct {
	// Server is the present one.
	Server *server.Server

	t    testing.TB
	dir  string
	xds  string
	stop func()
}

// Start serves a folder until the end of t.
func Start(t testing.TB, manifests string) *Mesh {
	t.Helper()
	run, err := os.MkdirTemp("", "grpc-") // not t.TempDir: its long names do not fit into a Unix socket's 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(run) })
	m := &Mesh{t: t, dir: t.TempDir(), xds: "unix:" + filepath.Join(run, "xds")}
	m.Apply("start", manifests)
	m.Serve()
	t.Cleanup(func() { m.Stop() })
	return m
}

// Serve starts a server.
func (m *Mesh) Serve() {
	m.t.Helper()
	log := slog.New(slog.DiscardHandler)
	s, err := server.New(server.Config{
		Mesh: resolve.DefaultConfig(), Source: files.New(files.Config{Dir: m.dir, Schemas: schema.New(), Log: log}),
		XDS: m.xds, Admin: "127.0.0.1:0", Version: "test", Log: log,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	m.Server = s
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	m.stop = func() {
		cancel()
		if err := <-done; err != nil {
			m.t.Error(err)
		}
	}
}

// Stop ends the server; clients are left with what they have.
func (m *Mesh) Stop() {
	if m.stop != nil {
		m.stop()
		m.stop = nil
	}
}

// Apply writes manifests as one file of the folder.
func (m *Mesh) Apply(name, manifests string) {
	m.t.Helper()
	path := filepath.Join(m.dir, name+".yaml")
	if err := os.WriteFile(path+"~", []byte(manifests), 0o600); err != nil {
		m.t.Fatal(err)
	}
	if err := os.Rename(path+"~", path); err != nil {
		m.t.Fatal(err)
	}
}

// Client is a gRPC channel to a name of the mesh.
type Client struct{ health healthpb.HealthClient }

// Dial makes a client of a namespace (empty: it does not say) for "xds:///"+name, with the bootstrap that docs/grpc.md shows.
func (m *Mesh) Dial(t testing.TB, node, namespace, name string) *Client {
	t.Helper()
	identity := map[string]any{"id": node}
	if namespace != "" {
		identity["metadata"] = map[string]any{"NAMESPACE": namespace}
	}
	bootstrap, err := json.Marshal(map[string]any{
		"node": identity,
		"xds_servers": []any{map[string]any{
			"server_uri": m.xds, "channel_creds": []any{map[string]any{"type": "insecure"}}, "server_features": []string{"xds_v3"},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	resolver, err := xds.NewXDSResolverWithConfigForTesting(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///"+name, grpc.WithResolvers(resolver), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &Client{healthpb.NewHealthClient(conn)}
}

// Call makes one call with headers (name, value, …), and gives the address of the server that answered.
func (c *Client) Call(ctx context.Context, headers ...string) (string, error) {
	var from peer.Peer
	_, err := c.health.Check(metadata.AppendToOutgoingContext(ctx, headers...), &healthpb.HealthCheckRequest{}, grpc.Peer(&from))
	if err != nil {
		return "", err
	}
	return from.Addr.String(), nil
}
