package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/integration/grpcclient"
	"fairlead.io/fairlead/integration/mesh"
	"fairlead.io/fairlead/pkg/bootstrap"
)

// worldEnvoy is merged into a node's bootstrap: the state-of-the-world protocol, and a listener that takes the routes of
// one service.
const worldEnvoy = `
dynamic_resources: {ads_config: {api_type: GRPC}}
static_resources:
  listeners:
  - name: front
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          rds:
            route_config_name: svc/default/a.default.svc.cluster.local/80
            config_source: {ads: {}, resource_api_version: V3}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
`

// TestEnvoyStateOfTheWorld runs an Envoy with api_type GRPC: clusters, listeners and scopes come as a whole, routes and
// endpoints by name; edits, additions and removals are followed, also over a restart of the server.
func TestEnvoyStateOfTheWorld(t *testing.T) {
	a, b := mesh.NewBackend(t, "a"), mesh.NewBackend(t, "b")
	service := func(name, address string) mesh.Service { return mesh.Service{Name: name, ClusterIP: address} }
	m := grpcclient.Start(t, service("a", "10.96.0.1").YAML(a.Address)+service("b", "10.96.0.2").YAML(b.Address)+service("none", "10.96.0.3").YAML())
	e := envoy.Start(t, envoy.Options{Config: bootstrap.Config{XDS: m.Server.XDS()}, Args: []string{"--config-yaml", worldEnvoy}})
	if dump, err := e.AdminGet("/config_dump?mask=bootstrap"); err != nil || !strings.Contains(string(dump), `"api_type": "GRPC"`) {
		t.Fatalf("not the state-of-the-world protocol: %v, %s", err, dump)
	}
	if err := e.WaitReady(mesh.Patience); err != nil {
		t.Fatal(err)
	}
	front, err := e.WaitListener("front", mesh.Patience)
	if err != nil {
		t.Fatal(err)
	}
	served := func(by string) {
		t.Helper()
		mesh.Eventually(t, func() error {
			res, err := http.Get("http://" + front + "/")
			if err != nil {
				return err
			}
			defer res.Body.Close()
			var got mesh.Echo
			if err := json.NewDecoder(res.Body).Decode(&got); err != nil || got.Backend != by {
				return fmt.Errorf("%s from %q, want %q: %v", res.Status, got.Backend, by, err)
			}
			return nil
		})
	}
	clusters := func(services int) {
		t.Helper()
		mesh.Eventually(t, func() error {
			stats, err := e.Stats("cluster_manager.(active|warming)_clusters")
			const fixed = 3 // that of the control plane, and what every node has
			if n := stats["cluster_manager.active_clusters"]; err != nil || n != int64(services+fixed) || stats["cluster_manager.warming_clusters"] != 0 {
				return fmt.Errorf("%v, want %d: %w", stats, services+fixed, err)
			}
			return nil
		})
	}
	served("a")
	clusters(3)
	m.Apply("vs", virtualService("a", "  - route: [{destination: {host: b}}]\n"))
	served("b")
	m.Apply("start", service("a", "10.96.0.1").YAML(a.Address)+service("b", "10.96.0.2").YAML(a.Address)+service("more", "10.96.0.4").YAML(b.Address)+
		service("none", "10.96.0.3").YAML())
	served("a")
	clusters(4)
	m.Stop()
	served("a")
	m.Apply("start", service("a", "10.96.0.1").YAML(a.Address)+service("b", "10.96.0.2").YAML(b.Address))
	m.Serve()
	served("b")
	clusters(2)
	m.Apply("vs", "")
	served("a")
	if n, names, err := e.UpdateRejected(); err != nil || n > 0 {
		t.Errorf("envoy refused %d updates: %v, %v", n, names, err)
	}
}
