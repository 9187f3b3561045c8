package translate

import (
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"fairlead.io/fairlead/pkg/model"
	"fairlead.io/fairlead/pkg/resolve"
	"fairlead.io/fairlead/pkg/snapshot"
	"fairlead.io/fairlead/pkg/table"
)

// ScopeType is the type URL of scoped routes; go-control-plane names no constant for it.
const ScopeType = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"

func (o *Outputs) declareClusters() {
	t := o.res.Clusters.Table
	fixed := fixedClusters()
	names := make([]string, len(fixed))
	for i, c := range fixed {
		names[i] = c.Name
	}
	grpc := table.NewIndex(t, "clusters for grpc clients", func(name string, c *model.Cluster) []string {
		if fitsGRPCCluster(c) {
			return nil
		}
		return grpcRows(name, nil)
	})
	o.declare(resource.ClusterType, "xds clusters", func(r *table.Reader, key string) (*snapshot.Resource, bool) {
		name, variant, grpc := strings.Cut(key, " ")
		for _, c := range fixed {
			if c.Name == name {
				return encode(r, name, c, nil)
			}
		}
		c, ok := table.Get(r, t, name)
		if !ok {
			return nil, false
		}
		if grpc {
			return encodeVariant(r, name, variant, grpcCluster(c), c.Origins)
		}
		audience := c.Audience
		if led, ok := table.Get(r, o.res.Audiences.Clusters, name); ok {
			audience = resolve.JoinAudiences(audience, led)
		}
		return encodeFor(r, audience, name, Cluster(c), c.Origins)
	}, []table.Trigger{t, grpc, o.res.Fixed(o.engine, "fixed clusters", names)})
}

func (o *Outputs) declareScopes() {
	t := o.res.Outbound.Scopes
	o.declare(ScopeType, "xds scopes", func(r *table.Reader, address string) (*snapshot.Resource, bool) {
		s, ok := table.Get(r, t, address)
		if !ok {
			return nil, false
		}
		return encodeFor(r, s.Audience, address, Scope(address, s.Table, model.MeshTag, address), []model.Ref{s.Origin})
	}, []table.Trigger{t})
}

// declareSecrets publishes the Secrets and ConfigMaps that a server or a cluster names, and no other.
func (o *Outputs) declareSecrets() {
	servers := table.NewIndex(o.res.Servers.Ports, "secrets of servers", func(_ string, p *resolve.Port) []string {
		var names []string
		for i := range p.Servers {
			if t := p.Servers[i].TLS; t != nil {
				names = appendNames(names, append(t.Certificates, t.ValidationName)...)
			}
		}
		return names
	})
	clusters := table.NewIndex(o.res.Clusters.Table, "secrets of clusters", func(_ string, c *model.Cluster) []string {
		if t := c.Policy.TLS; t != nil {
			return appendNames(nil, t.CertificateName, t.ValidationName)
		}
		return nil
	})
	o.declare(resource.SecretType, "xds secrets", func(r *table.Reader, name string) (*snapshot.Resource, bool) {
		s, ref, ok := o.secret(r, name)
		if !ok {
			return nil, false
		}
		return encode(r, name, s, []model.Ref{ref})
	}, []table.Trigger{servers, clusters})
}

func appendNames(names []string, more ...string) []string {
	for _, n := range more {
		if n != "" {
			names = append(names, n)
		}
	}
	return names
}

// secret reads the object that an SDS name stands for. Material that does not check is not served: the gateway's
// condition says so, and its listener is not there either (Gateway API, InvalidCertificateRef).
func (o *Outputs) secret(r *table.Reader, name string) (*tlsv3.Secret, model.Ref, bool) {
	kind, key, ca := resolve.ParseSecretName(name)
	if kind == "ConfigMap" {
		c, ok := table.Get(r, o.res.Inputs.ConfigMaps, key)
		if !ok || resolve.CheckCABundle([]byte(c.Data["ca.crt"])) != nil {
			return nil, model.Ref{}, false
		}
		return validation(name, []byte(c.Data["ca.crt"])), c.Ref, true
	}
	s, ok := table.Get(r, o.res.Inputs.Secrets, key)
	if !ok {
		return nil, model.Ref{}, false
	}
	if ca {
		bundle := resolve.CABundle(s)
		return validation(name, bundle), s.Ref, resolve.CheckCABundle(bundle) == nil
	}
	cert, private := resolve.KeyPair(s)
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
		CertificateChain: inline(cert), PrivateKey: inline(private),
	}}}, s.Ref, resolve.CheckKeyPair(cert, private) == nil
}

func validation(name string, bundle []byte) *tlsv3.Secret {
	return &tlsv3.Secret{Name: name, Type: &tlsv3.Secret_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
		TrustedCa: inline(bundle),
	}}}
}

func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}
