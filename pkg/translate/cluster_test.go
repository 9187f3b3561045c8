package translate_test

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/yaml"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/translate"
)

func ptr[T any](v T) *T { return &v }

// diff are the lines that a cluster has more often than a plain one of its kind ("+"), or less often ("-").
func diff(t *testing.T, c *model.Cluster) string {
	t.Helper()
	plain := &model.Cluster{ID: c.ID, Protocol: c.Protocol, Discovery: c.Discovery}
	count := map[string]int{}
	for _, l := range strings.Split(text(t, translate.Cluster(plain)), "\n") {
		count[l]--
	}
	var out []string
	for _, l := range strings.Split(text(t, translate.Cluster(c)), "\n") {
		if count[l]++; count[l] > 0 {
			out = append(out, "+"+strings.TrimSpace(l))
		}
	}
	for l, n := range count {
		if n < 0 {
			out = append(out, "-"+strings.TrimSpace(l))
		}
	}
	return strings.Join(out, "\n")
}

func text(t *testing.T, m proto.Message) string {
	t.Helper()
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			t.Errorf("Envoy would refuse it: %v", err)
		}
	}
	js, err := protojson.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	y, err := yaml.JSONToYAML(js)
	if err != nil {
		t.Fatal(err)
	}
	return string(y)
}

// TestClusterPolicies: what each part of a policy adds to a cluster.
func TestClusterPolicies(t *testing.T) {
	second := time.Second
	for name, c := range map[string]struct {
		protocol model.Protocol
		policy   model.TrafficPolicy
		want     []string // lines that appear; "!" before one that must not
	}{
		"round robin":  {model.ProtoTCP, model.TrafficPolicy{LB: model.LoadBalancer{Kind: model.LBRoundRobin}}, []string{"-lbPolicy: LEAST_REQUEST"}},
		"random":       {model.ProtoTCP, model.TrafficPolicy{LB: model.LoadBalancer{Kind: model.LBRandom}}, []string{"lbPolicy: RANDOM"}},
		"passthrough":  {model.ProtoTCP, model.TrafficPolicy{LB: model.LoadBalancer{Kind: model.LBPassthrough}}, []string{"type: ORIGINAL_DST", "lbPolicy: CLUSTER_PROVIDED", "-type: EDS"}},
		"ring":         {model.ProtoHTTP, model.TrafficPolicy{LB: model.LoadBalancer{Kind: model.LBRingHash, RingMinimum: 2048, Hash: &model.HashPolicy{Header: "x-user"}}}, []string{"lbPolicy: RING_HASH", `minimumRingSize: "2048"`, "headerName: x-user"}},
		"maglev":       {model.ProtoHTTP, model.TrafficPolicy{LB: model.LoadBalancer{Kind: model.LBMaglev, MaglevTable: 251, Hash: &model.HashPolicy{SourceIP: true}}}, []string{"lbPolicy: MAGLEV", `tableSize: "251"`, "sourceIp: true"}},
		"warmup":       {model.ProtoTCP, model.TrafficPolicy{LB: model.LoadBalancer{Warmup: &model.Warmup{Duration: 10 * second, MinimumPercent: 20, Aggression: 2}}}, []string{"leastRequestLbConfig:", "slowStartWindow: 10s", "value: 20", "defaultValue: 2"}},
		"distribution": {model.ProtoTCP, model.TrafficPolicy{LB: model.LoadBalancer{Locality: &model.LocalityLB{Enabled: true, Distribute: []model.LocalityDistribute{{From: "*"}}}}}, []string{"localityWeightedLbConfig: {}"}},
		"limits": {
			model.ProtoHTTP,
			model.TrafficPolicy{Pool: model.ConnectionPool{MaxConnections: ptr(uint32(1)), MaxPending: ptr(uint32(2)), MaxRequests: ptr(uint32(3)), MaxRetries: ptr(uint32(4))}},
			[]string{"maxConnections: 1", "maxPendingRequests: 2", "maxRequests: 3", "maxRetries: 4"},
		},
		"retry budget": {model.ProtoHTTP, model.TrafficPolicy{RetryBudget: &model.RetryBudget{Percent: 30, MinConcurrency: 4, Interval: second}}, []string{"retryBudget:", "value: 30", "minRetryConcurrency: 4", "budgetInterval: 1s"}},
		"connections": {
			model.ProtoHTTP,
			model.TrafficPolicy{Pool: model.ConnectionPool{
				ConnectTimeout: &second, IdleTimeout: ptr(2 * second), MaxDuration: ptr(3 * second), MaxRequestsPerConnection: ptr(uint32(5)),
				Keepalive: &model.Keepalive{Probes: 3, Time: 1500 * time.Millisecond, Interval: second},
			}},
			[]string{"connectTimeout: 1s", "idleTimeout: 2s", "maxConnectionDuration: 3s", "maxRequestsPerConnection: 5", "keepaliveProbes: 3", "keepaliveTime: 2", "keepaliveInterval: 1"},
		},
		"upgrade":         {model.ProtoHTTP, model.TrafficPolicy{Pool: model.ConnectionPool{H2Upgrade: ptr(true), MaxConcurrentStreams: ptr(uint32(9))}}, []string{"http2ProtocolOptions:", "maxConcurrentStreams: 9"}},
		"no upgrade":      {model.ProtoHTTP, model.TrafficPolicy{Pool: model.ConnectionPool{H2Upgrade: ptr(false)}}, []string{"!http2ProtocolOptions"}},
		"client's choice": {model.ProtoHTTP, model.TrafficPolicy{Pool: model.ConnectionPool{UseClientProtocol: true}}, []string{"useDownstreamProtocolConfig:", "http2ProtocolOptions: {}", "-explicitHttpConfig:"}},
		"pings":           {model.ProtoGRPC, model.TrafficPolicy{Pool: model.ConnectionPool{HTTP2Keepalive: &model.HTTP2Keepalive{Interval: 10 * second}}}, []string{"connectionKeepalive:", "interval: 10s", "timeout: 5s"}},
		"ejection": {
			model.ProtoHTTP,
			model.TrafficPolicy{Outlier: &model.Outlier{Consecutive5xx: ptr(uint32(0)), ConsecutiveGateway: ptr(uint32(3)), Interval: second, BaseEjection: 400 * second, MaxEjectionPercent: ptr(uint32(50)), MinHealthPercent: 30, ErrorCodes: []uint32{429, 503}}},
			[]string{"enforcingConsecutive5xx: 0", "consecutiveGatewayFailure: 3", "enforcingConsecutiveGatewayFailure: 100", "interval: 1s", "baseEjectionTime: 400s", "maxEjectionTime: 400s", "maxEjectionPercent: 50", "value: 30", `exact: "429"`, "orMatch:", "enforcingSuccessRate: 0", "!consecutiveLocalOriginFailure"},
		},
		"local failures": {model.ProtoTCP, model.TrafficPolicy{Outlier: &model.Outlier{SplitLocal: true, ConsecutiveLocal: ptr(uint32(2))}}, []string{"consecutiveLocalOriginFailure: 2", "enforcingConsecutiveLocalOriginFailure: 100"}},
		"one code":       {model.ProtoHTTP, model.TrafficPolicy{Outlier: &model.Outlier{ErrorCodes: []uint32{429}}}, []string{`exact: "429"`, "!orMatch:"}},
		"PROXY":          {model.ProtoTCP, model.TrafficPolicy{PROXY: 2}, []string{"name: envoy.transport_sockets.upstream_proxy_protocol", "version: V2", "name: envoy.transport_sockets.raw_buffer"}},
		"plaintext":      {model.ProtoTCP, model.TrafficPolicy{TLS: &model.UpstreamTLS{Mode: model.TLSDisable}}, []string{"!transportSocket"}},
		"TLS, system roots, name by request": {
			model.ProtoHTTP,
			model.TrafficPolicy{TLS: &model.UpstreamTLS{Mode: model.TLSSimple}},
			[]string{"filename: /etc/ssl/certs/ca-certificates.crt", "autoSni: true", "autoSanValidation: true", "tlsMaximumProtocolVersion: TLSv1_3", "!sni:"},
		},
		"TLS, names of the rule": {
			model.ProtoHTTP,
			model.TrafficPolicy{TLS: &model.UpstreamTLS{Mode: model.TLSSimple, SubjectAltNames: []string{"a.test", "spiffe://x/y", "192.0.2.1", "*.b.test"}}},
			[]string{"autoSni: true", "!autoSanValidation", "exact: a.test", "sanType: URI", "sanType: IP_ADDRESS", "suffix: .b.test"},
		},
		"TLS, name that is asked for": {model.ProtoTCP, model.TrafficPolicy{TLS: &model.UpstreamTLS{Mode: model.TLSSimple, SNI: "c.test"}}, []string{"sni: c.test", "exact: c.test", "!autoSni"}},
		"TLS by SDS": {
			model.ProtoTCP,
			model.TrafficPolicy{TLS: &model.UpstreamTLS{Mode: model.TLSMutual, SNI: "c.test", CertificateName: "secret/a/b", ValidationName: "ca/Secret/a/b", CRLFile: "/crl"}},
			[]string{"name: secret/a/b", "name: ca/Secret/a/b", "filename: /crl", "!ca-certificates.crt"},
		},
		"TLS by files": {
			model.ProtoTCP,
			model.TrafficPolicy{TLS: &model.UpstreamTLS{Mode: model.TLSMutual, SNI: "c.test", CertificateFile: "/c", KeyFile: "/k", CAFile: "/ca"}},
			[]string{"filename: /c", "filename: /k", "filename: /ca"},
		},
		"TLS, unverified":  {model.ProtoHTTP, model.TrafficPolicy{TLS: &model.UpstreamTLS{Mode: model.TLSSimple, InsecureNoVerify: true, SubjectAltNames: []string{"a.test"}}}, []string{"trustChainVerification: ACCEPT_UNTRUSTED", "!matchTypedSubjectAltNames", "!autoSanValidation"}},
		"TLS behind PROXY": {model.ProtoTCP, model.TrafficPolicy{PROXY: 1, TLS: &model.UpstreamTLS{Mode: model.TLSSimple, SNI: "c.test"}}, []string{"name: envoy.transport_sockets.upstream_proxy_protocol", "name: envoy.transport_sockets.tls"}},
		"refused":          {model.ProtoHTTP, model.TrafficPolicy{Refused: "no identity", TLS: &model.UpstreamTLS{Mode: model.TLSMesh}}, []string{"type: STATIC", "refused: no identity", "-edsClusterConfig:", "!loadAssignment"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := diff(t, &model.Cluster{ID: model.ClusterID{Namespace: "n", Host: "h", Port: 80}, Protocol: c.protocol, Discovery: model.Discovery{Resolution: model.ResolveEDS}, Policy: c.policy})
			for _, w := range c.want {
				want, absent := strings.TrimPrefix(w, "!"), strings.HasPrefix(w, "!")
				if strings.Contains(got, want) == absent {
					t.Errorf("%q: wanted absent %v, in\n%s", want, absent, got)
				}
			}
		})
	}
}

func TestDiscovery(t *testing.T) {
	ends := []model.ClusterEndpoint{{Address: "a.test", Port: 80, Weight: 3, Locality: model.Locality{Region: "r"}}, {Address: "192.0.2.1", Port: 81}}
	for _, c := range []struct {
		d    model.Discovery
		want clusterv3.Cluster_DiscoveryType
		text string
	}{
		{model.Discovery{Resolution: model.ResolveEDS}, clusterv3.Cluster_EDS, "initialFetchTimeout: 0s"},
		{model.Discovery{Resolution: model.ResolveDNS, DNS: ends}, clusterv3.Cluster_STATIC, "address: a.test"},
		{model.Discovery{Resolution: model.ResolveDNSRoundRobin, DNS: ends[:1]}, clusterv3.Cluster_STATIC, "allAddressesInSingleEndpoint: true"},
		{model.Discovery{Resolution: model.ResolveDNSRoundRobin}, clusterv3.Cluster_STATIC, "name: svc/n/h/80"},
		{model.Discovery{Resolution: model.ResolveNone, UpstreamPort: 443}, clusterv3.Cluster_ORIGINAL_DST, "upstreamPortOverride: 443"},
	} {
		got := translate.Cluster(&model.Cluster{ID: model.ClusterID{Namespace: "n", Host: "h", Port: 80}, Discovery: c.d})
		if y := text(t, got); got.GetType() != c.want || !strings.Contains(y, c.text) {
			t.Errorf("%s: want %s with %q:\n%s", c.d.Resolution, c.want, c.text, y)
		}
	}
}
