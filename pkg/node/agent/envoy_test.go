package agent

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"

	"fairlead.io/fairlead/integration/envoy"
	"fairlead.io/fairlead/pkg/bootstrap"
	"fairlead.io/fairlead/pkg/node/nodetest"
	"fairlead.io/fairlead/pkg/push"
	"fairlead.io/fairlead/pkg/snapshot"
)

// listeners of an Envoy: one that takes mTLS as pod a, and one that reaches it as pod b, with a new connection each time.
const meshEnvoy = `
static_resources:
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}
    filter_chains:
    - filters: [{name: http, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
        stat_prefix: in, route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]},
        http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]
      transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext,
        require_client_certificate: true, disable_stateless_session_resumption: true, common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_3},
        tls_certificate_sds_secret_configs: [{name: in/spiffe://cluster.local/ns/shop/sa/sa-a, sds_config: &sds {resource_api_version: V3, initial_fetch_timeout: 0s,
          api_config_source: {api_type: DELTA_GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: sds,
            retry_policy: {retry_back_off: {base_interval: 0.1s, max_interval: 1s}}}}]}}}],
        validation_context_sds_secret_config: {name: fairlead/bundles, sds_config: *sds}}}}
  - name: out
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters: [{name: http, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager,
        stat_prefix: out, route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: a}}]}]},
        http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]
  clusters:
  - name: a
    type: STATIC
    connect_timeout: 3s
    load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}}}]}]}
    typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions,
      common_http_protocol_options: {max_requests_per_connection: 1}, explicit_http_config: {http_protocol_options: {}}}}
    transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext,
      common_tls_context: {tls_params: {tls_maximum_protocol_version: TLSv1_3}, validation_context_sds_secret_config: {name: fairlead/bundles, sds_config: *sds},
      custom_tls_certificate_selector: {name: on-demand, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.cert_selectors.on_demand_secret.v3.Config,
        config_source: *sds, certificate_mapper: {name: fixed, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.cert_mappers.static_name.v3.StaticName,
          name: spiffe://cluster.local/ns/shop/sa/sa-b}}}}}}}
  - name: sds
    type: STATIC
    connect_timeout: 1s
    load_assignment: {cluster_name: sds, endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %[1]s}}}}]}]}
    typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions,
      explicit_http_config: {http2_protocol_options: {}}}}
`

// startEnvoy gives the address of the plaintext listener of an Envoy that has its secrets from the agent.
func (r *rig) startEnvoy(t *testing.T) (out string, e *envoy.Envoy) {
	t.Helper()
	xds := filepath.Join(r.dir, "x")
	l, err := net.Listen("unix", xds)
	if err != nil {
		t.Fatal(err)
	}
	empty := snapshot.NewStatic()
	empty.Update(1, nil)
	g := grpc.NewServer(push.ServerOptions()...)
	push.New(push.Config{Source: empty}).Register(g)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	_ = free.Close()
	e = envoy.Start(t, envoy.Options{Config: bootstrap.Config{XDS: "unix:" + xds}, Args: []string{"--config-yaml", fmt.Sprintf(meshEnvoy, r.cfg.SDSSocket, port)}})
	if out, err = e.WaitListener("out", patience); err != nil {
		t.Fatal(err)
	}
	eventually(t, "first request", func() error { return get(out) })
	return out, e
}

func get(address string) error {
	c := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
	res, err := c.Get("http://" + address + "/")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return err
}

// Certificates of six seconds, for twenty, each request on a new mTLS connection: no request fails while SVIDs are renewed, the
// authority is rotated, the server restarts, and the agent is away and comes again.
func TestNoRequestFails(t *testing.T) {
	r := newRig(t)
	r.server.Set("good", 6*time.Second, nil, false)
	r.server.Run(pods("a", "b")...)
	r.start(t)
	out, e := r.startEnvoy(t)
	stop, result := make(chan struct{}), make(chan error, 1)
	requests := 0
	go func() {
		for {
			select {
			case <-stop:
				result <- nil
				return
			default:
			}
			if err := get(out); err != nil {
				result <- fmt.Errorf("request %d: %w", requests, err)
				return
			}
			requests++
		}
	}()
	hold := func(d time.Duration) {
		t.Helper()
		select {
		case err := <-result:
			t.Fatal(err)
		case <-time.After(d):
		}
	}
	hold(5 * time.Second)
	next := r.server.CA.Trust()
	r.server.PublishTrust()
	eventually(t, "the bundle is acknowledged", func() error { return r.acknowledged(nodetest.Domain.Name()) })
	r.server.CA.Sign(next)
	r.server.PublishTrust()
	hold(4 * time.Second)
	r.server.Stop()
	hold(time.Second)
	r.server.Start()
	hold(4 * time.Second)
	r.stop()
	hold(time.Second)
	r.cfg.TrustHash, r.cfg.TrustBundle = "", bundle(t, r.server.CA, filepath.Join(r.dir, "roots"))
	r.start(t)
	s := r.valid(t, "sa-a", "sa-b")
	hold(6 * time.Second)
	close(stop)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	if s.Identities[1].Authority != next {
		t.Error("the authority was not rotated")
	}
	_, metrics := r.page(t, "/metrics")
	t.Logf("%d requests; sa-a was signed %d times", requests, r.server.Signed("spiffe://cluster.local/ns/shop/sa/sa-a"))
	for _, line := range lines(metrics, "fairlead_node_svid_acknowledged_seconds") {
		t.Log(line)
	}
	if n, names, err := e.UpdateRejected(); err != nil || n > 0 {
		t.Errorf("envoy refused %d updates: %v, %v", n, names, err)
	}
	if requests == 0 {
		t.Error(errors.New("no request was made"))
	}
}
