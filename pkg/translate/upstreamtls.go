package translate

import (
	"net/netip"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyprotocolv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawbufferv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"fairlead.io/fairlead/pkg/model"
)

// systemRoots are the authorities that Envoy's machine trusts, where Debian, Alpine and the distroless images have them.
// Where the file is missing, Envoy refuses the cluster: nothing goes out unverified.
const systemRoots = "/etc/ssl/certs/ca-certificates.crt"

// transport secures the connections and puts a PROXY header before them.
func transport(out *clusterv3.Cluster, c *model.Cluster) {
	var inner *corev3.TransportSocket
	if secured(c) {
		inner = upstreamTLS(c)
	}
	if c.Policy.PROXY == 0 {
		out.TransportSocket = inner
		return
	}
	if inner == nil {
		inner = &corev3.TransportSocket{
			Name:       "envoy.transport_sockets.raw_buffer",
			ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&rawbufferv3.RawBuffer{})},
		}
	}
	version := corev3.ProxyProtocolConfig_V1
	if c.Policy.PROXY == 2 {
		version = corev3.ProxyProtocolConfig_V2
	}
	out.TransportSocket = &corev3.TransportSocket{
		Name: "envoy.transport_sockets.upstream_proxy_protocol",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&proxyprotocolv3.ProxyProtocolUpstreamTransport{
			Config: &corev3.ProxyProtocolConfig{Version: version}, TransportSocket: inner,
		})},
	}
}

func secured(c *model.Cluster) bool {
	return c.Policy.TLS != nil && c.Policy.TLS.Mode != model.TLSDisable
}

// autoSNI tells whether the server name is taken from each request.
func autoSNI(c *model.Cluster) bool {
	return secured(c) && c.Policy.TLS.SNI == "" && c.Protocol.IsHTTP()
}

// upstreamTLS verifies the server: its chain, and one of the names. They are the rule's, or the server name that is asked
// for. Both bounds of the version are set, as Envoy's default maximum for clients is 1.2. No ALPN is set: Envoy's HTTP
// pools offer what they speak, and a TCP stream has none of ours.
func upstreamTLS(c *model.Cluster) *corev3.TransportSocket {
	t := c.Policy.TLS
	common := &tlsv3.CommonTlsContext{TlsParams: &tlsv3.TlsParameters{
		TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2,
		TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3,
	}}
	if t.Mode == model.TLSMutual {
		if t.CertificateName != "" {
			common.TlsCertificateSdsSecretConfigs = []*tlsv3.SdsSecretConfig{sds(t.CertificateName)}
		} else {
			common.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: file(t.CertificateFile), PrivateKey: file(t.KeyFile)}}
		}
	}
	serverValidation(common, t)
	return &corev3.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: pack(&tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: t.SNI})},
	}
}

func serverValidation(common *tlsv3.CommonTlsContext, t *model.UpstreamTLS) {
	v := &tlsv3.CertificateValidationContext{}
	if t.InsecureNoVerify {
		v.TrustChainVerification = tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED
		common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
		return
	}
	names := t.SubjectAltNames
	if len(names) == 0 && t.SNI != "" {
		names = []string{t.SNI}
	}
	for _, n := range names {
		v.MatchTypedSubjectAltNames = append(v.MatchTypedSubjectAltNames, subjectAltName(n))
	}
	if t.CRLFile != "" {
		v.Crl = file(t.CRLFile)
	}
	if t.ValidationName != "" {
		common.ValidationContextType = &tlsv3.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tlsv3.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext: v, ValidationContextSdsSecretConfig: sds(t.ValidationName),
			},
		}
		return
	}
	v.TrustedCa = file(systemRoots)
	if t.CAFile != "" {
		v.TrustedCa = file(t.CAFile)
	}
	common.ValidationContextType = &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: v}
}

// subjectAltName matches one name by its look: a URI (SPIFFE), an address, or a DNS name, for which a wildcard of the
// certificate counts; "*.example.com" asks for any name below.
func subjectAltName(name string) *tlsv3.SubjectAltNameMatcher {
	kind := tlsv3.SubjectAltNameMatcher_DNS
	if strings.Contains(name, "://") {
		kind = tlsv3.SubjectAltNameMatcher_URI
	} else if _, err := netip.ParseAddr(name); err == nil {
		kind = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
	}
	m := &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}}
	if suffix, ok := strings.CutPrefix(name, "*."); ok {
		m.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: "." + suffix}
	}
	return &tlsv3.SubjectAltNameMatcher{SanType: kind, Matcher: m}
}
