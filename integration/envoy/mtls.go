package envoy

import "fmt"

// MTLS is YAML for --config-yaml by which Envoys speak by mTLS, with their certificates from SDS: "in" takes TLS 1.3 for one
// workload and answers 200 "web", "out" takes plain requests and sends each over a connection of its own to the cluster "web".
type MTLS struct {
	// Port is that of "in", on this machine.
	Port int
	// Server and Client are SPIFFE IDs, of which the certificates are asked for.
	Server, Client string
	// Secrets is where they are asked for; see Secrets.
	Secrets string
	// Exact lets the two speak with each other alone, and not with whoever is trusted.
	Exact bool
	// OnDemand asks for the client's certificate when it is needed.
	OnDemand bool
}

// Secrets is a source of secrets: a cluster, by DELTA_GRPC or GRPC. more is added to its grpc_service.
func Secrets(cluster, protocol, more string) string {
	return fmt.Sprintf("{resource_api_version: V3, initial_fetch_timeout: 0s, api_config_source: {api_type: %s, transport_api_version: V3, "+
		"grpc_services: [{envoy_grpc: {cluster_name: %s%s}}]}}", protocol, cluster, more)
}

const (
	tlsParams = "tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}"

	listenerYAML = `{name: %[1]s, address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}, filter_chains: [{filters: [{name: http, typed_config: {
  "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: %[1]s,
  route_config: {virtual_hosts: [{name: v, domains: ["*"], routes: [{match: {prefix: /}, %[3]s}]}]},
  http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]}}]%[4]s}]}`

	downstreamYAML = `, transport_socket: {name: tls, typed_config: {
  "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext, require_client_certificate: true,
  disable_stateless_session_resumption: true, disable_stateful_session_resumption: true,
  common_tls_context: {%s, tls_certificate_sds_secret_configs: [{name: in/%s, sds_config: %s}], %s}}}`

	clusterYAML = `{name: web, type: STATIC, connect_timeout: 5s,
  load_assignment: {cluster_name: web, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %d}}}}]}]},
  typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {
    "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions,
    common_http_protocol_options: {max_requests_per_connection: 1}, explicit_http_config: {http_protocol_options: {}}}},
  transport_socket: {name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext,
    common_tls_context: {%s, %s, %s}}}}`

	onDemandYAML = `custom_tls_certificate_selector: {name: on-demand, typed_config: {
  "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.cert_selectors.on_demand_secret.v3.Config, config_source: %s,
  certificate_mapper: {name: fixed, typed_config: {
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.cert_mappers.static_name.v3.StaticName, name: %s}}}}`
)

// Inbound is the listener "in".
func (m *MTLS) Inbound() string {
	tls := fmt.Sprintf(downstreamYAML, tlsParams, m.Server, m.Secrets, m.validation(m.Client))
	return fmt.Sprintf(listenerYAML, "in", m.Port, "direct_response: {status: 200, body: {inline_string: web}}", tls)
}

// Outbound is the listener "out", at a port of Envoy's choice.
func (m *MTLS) Outbound() string {
	return fmt.Sprintf(listenerYAML, "out", 0, "route: {cluster: web}", "")
}

// Cluster is the cluster "web".
func (m *MTLS) Cluster() string {
	certificate := fmt.Sprintf("tls_certificate_sds_secret_configs: [{name: %s, sds_config: %s}]", m.Client, m.Secrets)
	if m.OnDemand {
		certificate = fmt.Sprintf(onDemandYAML, m.Secrets, m.Client)
	}
	return fmt.Sprintf(clusterYAML, m.Port, tlsParams, certificate, m.validation(m.Server))
}

// validation is what the other end is verified with.
func (m *MTLS) validation(other string) string {
	bundles := fmt.Sprintf("validation_context_sds_secret_config: {name: fairlead/bundles, sds_config: %s}", m.Secrets)
	if !m.Exact {
		return bundles
	}
	return fmt.Sprintf(`combined_validation_context: {default_validation_context: {match_typed_subject_alt_names: [{san_type: URI, matcher: {exact: "%s"}}]}, %s}`, other, bundles)
}
